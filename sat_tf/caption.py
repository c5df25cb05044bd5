"""Captions image files with a run, or scores a sentence as their caption."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError
from sat_tf.storage import check_target
from sat_tf.vocabulary import tokenize

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner, Image
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.model.generation import Caption

USAGE = """python -m sat_tf.caption --workdir=RUN [--figure=FILE] [--text=SENTENCE] IMAGE ...

Prints a line for each image: its path, a tab, its caption; with --num_return_sequences=N up to N of
them, each with its log probability after another tab. With --text it prints the sentence's log
probability and the probability of each of its words. An image that can't be read is named on
standard error, and the exit status is then 1. --figure draws, word by word, where it looked; with
several images OUT.png becomes OUT-1.png, OUT-2.png and so on. --report writes one HTML file to
look at them in. --workdir=RUN_A,RUN_B averages the words' probabilities over runs of one
vocabulary; figure and report are then of the first one's attention."""


def main(argv: list[str]) -> int:
    """Captions what can be read; exit status 1 if something could not."""
    paths, options = argv[1:], flags.FLAGS
    # Before the work, so that a mistake costs none of it.
    if not paths:
        raise UserError("no image given: name one file or more after the flags")
    if flags.FLAGS["text"].present and not tokenize(options.text):
        raise UserError(f"--text={options.text}: has no word")
    check_target(options.report, "report")
    if options.figure:
        from sat_tf.inspection.figures import check_figure_path

        check_target(options.figure, "figure")
        check_figure_path(options.figure)
    workdirs, changes = options.workdir.split(","), flags.overrides()
    config = [override(Config.load(workdir), **changes) for workdir in workdirs]
    decoding = config[0].decoding
    if options.num_return_sequences > decoding.num_captions:
        needed = "beam_size" if decoding.search == "beam" else "num_samples"
        raise UserError(
            f"--num_return_sequences={options.num_return_sequences} needs as large a --{needed} "
            f"(here {decoding.num_captions})"
        )
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner
    from sat_tf.inspection.report import write_report

    captioner = Captioner.load(*workdirs, **changes)
    _warn_of_unknown_words(captioner, options.text)
    unreadable: list[str] = []
    captioned = _caption(captioner, paths, unreadable)
    if options.report:
        write_report(options.report, captioned, "Captions", options.workdir)
    else:
        for _ in captioned:
            pass
    return 1 if unreadable else 0


def _caption(
    captioner: "Captioner", paths: list[str], unreadable: list[str]
) -> Iterator["AttentionRecord"]:
    """Captions images, prints and draws what was found; notes the paths that can't be read."""
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.inspection.figures import attention_figure, save_figure

    options, drawn = flags.FLAGS, 0
    for start in range(0, len(paths), options.decode_batch_size):
        batch = paths[start : start + options.decode_batch_size]
        images = _read_images(captioner, batch, unreadable)
        found = _find(captioner, [image for _, image in images], options.text)
        for (path, image), captions in zip(images, found, strict=True):
            for caption in captions[: options.num_return_sequences]:
                print(f"{path}\t{_line(caption)}", flush=True)
            if options.figure:
                drawn += 1
                best, (picture, box) = captions[0], image.thumbnail
                figure = attention_figure(picture, best.words, best.alphas, best.betas, box=box)
                save_figure(figure, _figure_path(options.figure, drawn, len(paths)))
            yield AttentionRecord(path, image.thumbnail, captions)


def _read_images(
    captioner: "Captioner", paths: list[str], unreadable: list[str]
) -> list[tuple[str, "Image"]]:
    """Those that can be read; the others are noted, and named on standard error."""
    images = []
    for path in paths:
        try:
            images.append((path, captioner.read_image(path)))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            unreadable.append(path)
    return images


def _find(
    captioner: "Captioner", images: list["Image"], text: str
) -> Sequence[Sequence["Caption"]]:
    """Of each image the captions that were found, or the one that was given."""
    if not images:
        return []
    if text:
        return [[caption] for caption in captioner.read_text(images, text)]
    return captioner.caption_images(images)


def _line(caption: "Caption") -> str:
    """A caption as it is printed after the image's path."""
    options = flags.FLAGS
    if options.text:
        words = (*caption.words, "<end>")
        each = (
            f"{word} {math.exp(log_probability):.3f}"
            for word, log_probability in zip(words, caption.log_probs, strict=True)
        )
        return f"{caption.log_prob:.3f}\t{', '.join(each)}"
    if options.num_return_sequences > 1:
        return f"{caption}\t{caption.log_prob:.3f}"
    return caption.text


def _warn_of_unknown_words(captioner: "Captioner", text: str) -> None:
    unknown = [word for word in tokenize(text) if word not in captioner.vocabulary]
    if unknown:
        print(
            f"warning: --text: the run does not know {', '.join(unknown)}: read as <unk>",
            file=sys.stderr,
        )


def _figure_path(path: str, number: int, of: int) -> Path:
    """Where the picture of image `number` goes."""
    return Path(path) if of == 1 else Path(path).with_stem(f"{Path(path).stem}-{number}")


if __name__ == "__main__":
    flags.define_command_flags(
        "workdir", "figure", "report", "text", "num_return_sequences", "decode_batch_size"
    )
    flags.define_overrides("caption")
    flags.run(main, USAGE, takes_arguments=True)
