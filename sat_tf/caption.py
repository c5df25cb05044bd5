"""Caption image files with a run, or score a sentence as their caption."""

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError
from sat_tf.storage import check_target, split_paths
from sat_tf.vocabulary import tokenize

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.model.generation import Caption

USAGE = """python -m sat_tf.caption --workdir=RUN [--figure=FILE] [--text=SENTENCE] IMAGE ...

Prints a line for each image: its path, a tab and its caption; with --num_return_sequences=N up to N
lines, each with its log probability after another tab. With --text it prints the sentence's log
probability and the probability of each of its words. Errors in images are printed to standard
error, and the exit status is then 1. --figure draws the attention at each word; with several images
OUT.png becomes OUT-1.png, OUT-2.png and so on. --report writes one HTML file of all images.
--workdir=RUN_A,RUN_B averages the words' probabilities over runs of one vocabulary; figure and
report then show the attention of the first run."""


def main(argv: list[str]) -> int:
    """Caption all images that can be read; return exit status 1 if one can't."""
    options, overrides, paths = flags.FLAGS, flags.overrides(), argv[1:]
    workdirs, text = split_paths(options.workdir), options.text
    # Before the work, so that a mistake costs none of it.
    if not paths:
        raise UserError("no image given: name one file or more after the flags")
    if options["text"].present and not tokenize(text):
        raise UserError(f"--text={text}: has no word")
    check_target(options.report, "report")
    if options.figure:
        from sat_tf.inspection.figures import check_figure_path

        check_target(options.figure, "figure")
        check_figure_path(options.figure)
    configs = [override(Config.load(workdir), **overrides) for workdir in workdirs]
    decoding = configs[0].decoding
    if options.num_return_sequences > decoding.num_captions:
        needed = "beam_size" if decoding.search == "beam" else "num_samples"
        raise UserError(
            f"--num_return_sequences={options.num_return_sequences} needs as large a --{needed} "
            f"(here {decoding.num_captions})"
        )
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner
    from sat_tf.inspection.figures import save_figure
    from sat_tf.inspection.report import write_report

    captioner = Captioner.load(*workdirs, **overrides)
    for word in tokenize(text):
        if word not in captioner.vocabulary:
            print(f"warning: --text: {word} is not in the vocabulary: <unk>", file=sys.stderr)
    captioned = 0

    def shown() -> Iterator["AttentionRecord"]:
        nonlocal captioned
        for record in caption_files(captioner, paths, text, options.decode_batch_size):
            captioned += 1
            for caption in record.captions[: options.num_return_sequences]:
                with_log_prob = options.num_return_sequences > 1
                print(f"{record.image_id}\t{_line(caption, bool(text), with_log_prob)}", flush=True)
            if options.figure:
                path = Path(options.figure)
                numbered = path.with_stem(f"{path.stem}-{captioned}")
                save_figure(record.figure(), path if len(paths) == 1 else numbered)
            yield record

    if options.report:
        write_report(options.report, shown(), "Captions", options.workdir)
    else:
        deque(shown(), maxlen=0)
    return 0 if captioned == len(paths) else 1


def caption_files(
    captioner: "Captioner", paths: Sequence[str], text: str = "", batch_size: int = 64
) -> Iterator["AttentionRecord"]:
    """Yield each image with its captions; print an error for one that can't be read.

    Args:
      captioner: one run or an ensemble.
      paths: of the image files.
      text: a sentence to score as the caption of each image, in place of a search.
      batch_size: images captioned at a time.
    """
    from sat_tf.inspection.attention_record import AttentionRecord

    for start in range(0, len(paths), batch_size):
        images = []
        for path in paths[start : start + batch_size]:
            try:
                images.append((path, captioner.read_image(path)))
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
        if not images:
            continue
        batch = [image for _, image in images]
        found: Sequence[Sequence[Caption]] = (
            captioner.caption_images(batch)
            if not text
            else [(caption,) for caption in captioner.score_text(batch, text)]
        )
        for (path, image), captions in zip(images, found, strict=True):
            yield AttentionRecord(path, image.thumbnail, captions)


def _line(caption: "Caption", with_words: bool, with_log_prob: bool) -> str:
    """Return a caption as it is printed after the image's path."""
    if with_words:
        words = zip((*caption.words, "<end>"), caption.log_probs, strict=True)
        probabilities = (f"{word} {math.exp(log_prob):.3f}" for word, log_prob in words)
        return f"{caption.log_prob:.3f}\t{', '.join(probabilities)}"
    return f"{caption}\t{caption.log_prob:.3f}" if with_log_prob else caption.text


if __name__ == "__main__":
    flags.define_command_flags(
        "workdir", "figure", "report", "text", "num_return_sequences", "decode_batch_size"
    )
    flags.define_overrides("caption")
    flags.run(main, USAGE, takes_arguments=True)
