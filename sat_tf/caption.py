"""Caption image files with a run, or score a sentence as their caption."""

import dataclasses
import json
import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError, printable
from sat_tf.progress import activity, progress_bar
from sat_tf.storage import BEST, check_target, split_paths, write_json, write_text
from sat_tf.vocabulary import tokenize

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner
    from sat_tf.inspection.attention_record import AttentionRecord
    from sat_tf.model.generation import Caption

USAGE = """python -m sat_tf.caption --workdir=RUN [--figure=FILE] [--text=SENTENCE] IMAGE ...
       python -m sat_tf.caption --workdir=RUN --captions=FILE IMAGE ...

Prints a line for each image: its path, a tab and its caption; with --num_return_sequences=N up to N
lines, each with its log probability after another tab. An IMAGE is a file, a folder, for all images
in it, or a quoted pattern such as 'photos/**/*.jpg'; --images_from=FILE reads paths from a file, or
from standard input (-). With --text it prints the sentence's log probability and the probability of
each of its words. Errors in images are printed to standard error, and the exit status is then 1.

--captions writes the captions to a file in COCO's results format instead. It appears when all
images are captioned; if the command is interrupted before, the same command resumes it.
--image_info=FILE names COCO's list of the images of a split, for their ids. --figure draws the
attention at each word; with several images OUT.png becomes OUT-1.png, OUT-2.png and so on. --report
writes one HTML file of all images. --workdir=RUN_A,RUN_B averages the words' probabilities over
runs of one vocabulary; figure and report then show the attention of the first run."""

# Flags that --captions leaves no meaning.
_NOT_WITH_CAPTIONS = ("figure", "report", "text", "num_return_sequences")


def main(argv: list[str]) -> int:
    """Caption all images that can be read; return exit status 1 if one can't."""
    options, overrides = flags.FLAGS, flags.overrides()
    workdirs, text = split_paths(options.workdir), options.text
    # Before the work, so that a mistake costs none of it.
    from sat_tf.datasets.image_list import find_images
    from sat_tf.datasets.results import image_ids

    paths = find_images(argv[1:], options.images_from)
    if options["text"].present and not tokenize(text):
        raise UserError(f"--text={text}: has no word")
    for name in _NOT_WITH_CAPTIONS if options.captions else ():
        if options[name].present:
            raise UserError(f"--{name} is not for --captions: give two commands")
    if options.image_info and not options.captions:
        raise UserError("--image_info is for --captions")
    for name in ("captions", "report", "figure"):
        check_target(getattr(options, name), name)
    if options.figure:
        from sat_tf.inspection.figures import check_figure_path

        check_figure_path(options.figure)
    configs = [override(Config.load(workdir), **overrides) for workdir in workdirs]
    decoding = configs[0].decoding
    if options.num_return_sequences > decoding.num_captions:
        needed = "beam_size" if decoding.search == "beam" else "num_samples"
        raise UserError(
            f"--num_return_sequences={options.num_return_sequences} needs as large a --{needed} "
            f"(here {decoding.num_captions})"
        )
    ids = image_ids(paths, options.image_info) if options.captions else {}
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner

    with activity(f"loading {' and '.join(workdirs)}"):
        captioner = Captioner.load(*workdirs, **overrides)
    if options.captions:
        search = search_of(workdirs, configs)
        return write_captions(captioner, ids, options.captions, search, options.decode_batch_size)
    for word in tokenize(text):
        if word not in captioner.vocabulary:
            print(f"warning: --text: {word} is not in the vocabulary: <unk>", file=sys.stderr)
    return print_captions(captioner, paths)


def print_captions(captioner: "Captioner", paths: Sequence[str]) -> int:
    """Print captions, with the figures and the report asked for; return the exit status."""
    from sat_tf.inspection.figures import save_figure
    from sat_tf.inspection.report import write_report

    options, captioned = flags.FLAGS, 0

    def shown() -> Iterator["AttentionRecord"]:
        nonlocal captioned
        for record in caption_files(captioner, paths, options.text, options.decode_batch_size):
            captioned += 1
            for caption in record.captions[: options.num_return_sequences]:
                line = _line(caption, bool(options.text), options.num_return_sequences > 1)
                print(f"{record.image_id}\t{line}", flush=True)
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
    captioner: "Captioner",
    paths: Sequence[str],
    text: str = "",
    batch_size: int = 64,
    *,
    prints: bool = True,
) -> Iterator["AttentionRecord"]:
    """Yield each image with its captions; print an error for one that can't be read.

    A bar shows the progress, unless the caller prints captions on a terminal.
    """
    from sat_tf.inspection.attention_record import AttentionRecord

    shows_bar = len(paths) > batch_size and not (prints and sys.stdout.isatty())
    found = captioner.caption_files(paths, text, batch_size)
    with progress_bar(
        zip(paths, found, strict=True),
        total=len(paths),
        desc="captioning",
        unit="image",
        delay=0,
        disable=not shows_bar,
    ) as bar:
        for path, (image, captions) in bar:
            if isinstance(image, UserError):
                bar.write(f"error: {printable(image)}", file=sys.stderr)
            else:
                yield AttentionRecord(path, image.thumbnail, captions)


def search_of(workdirs: Sequence[str], configs: Sequence[Config]) -> dict[str, Any]:
    """Return what captions depend on beside the images, as JSON types."""
    return {
        "decoding": dataclasses.asdict(configs[0].decoding),
        "runs": [str(Path(workdir).absolute()) for workdir in workdirs],
        # Training may have found better weights since.
        "weights": [
            path.stat().st_mtime_ns for w in workdirs for path in (Path(w) / BEST).glob("*.index")
        ],
    }


def write_captions(
    captioner: "Captioner",
    ids: Mapping[str, int | str],
    target: str,
    search: Mapping[str, Any],
    batch_size: int,
) -> int:
    """Write captions in COCO's results format; return the exit status.

    Until all are made, they are kept in TARGET.partial, a text file with one JSON object a line:
    first what they depend on (`search_of`), then each image. `ids` are those of the images by path.
    """
    partial = Path(f"{target}.partial")
    captions = read_partial(partial, search)
    # Written anew, without a line that was cut when the computer failed.
    lines = [search, *({"image": p, "caption": c} for p, c in captions.items())]
    write_text(partial, "".join(json.dumps(line) + "\n" for line in lines))
    todo = [path for path in ids if path not in captions]
    try:
        with partial.open("a", encoding="ascii") as file:
            for record in caption_files(captioner, todo, batch_size=batch_size, prints=False):
                entry = {"image": record.image_id, "caption": record.captions[0].text}
                print(json.dumps(entry), file=file, flush=True)
                captions[record.image_id] = entry["caption"]
    except BaseException:  # Ctrl-C too
        print(
            f"stopped after {len(captions):,} captions, which are kept in {partial}: give the same "
            "command again to resume",
            file=sys.stderr,
        )
        raise
    made = [path for path in ids if path in captions]
    lacking = len(ids) - len(made)
    if made:
        write_json(target, [{"image_id": ids[path], "caption": captions[path]} for path in made])
        print(f"{target}: captions of {len(made):,} images")
    if made and lacking:
        print(
            f"warning: images that can't be read, and are not in it: {lacking:,}; once they can, "
            f"the same command captions them alone ({partial})",
            file=sys.stderr,
        )
    else:
        partial.unlink()
    return 1 if lacking else 0


def read_partial(path: Path, search: Mapping[str, Any]) -> dict[str, str]:
    """Return the captions of an unfinished file by the image's path; none of another search."""
    captions: dict[str, str] = {}
    if not path.exists():
        return captions
    with path.open(encoding="ascii", errors="replace") as lines:
        try:
            if json.loads(next(lines, "{}")) != search:
                print(f"{path}: of another run or search; not used", file=sys.stderr)
                return captions
            for line in lines:
                entry = json.loads(line)
                captions[entry["image"]] = entry["caption"]
        except (ValueError, KeyError, TypeError):
            pass  # cut here
    print(f"{path}: has {len(captions):,} captions; resuming", file=sys.stderr)
    return captions


def _line(caption: "Caption", with_words: bool, with_log_prob: bool) -> str:
    """Return a caption as it is printed after the image's path."""
    if with_words:
        words = zip((*caption.words, "<end>"), caption.log_probs, strict=True)
        probabilities = (f"{word} {math.exp(log_prob):.3f}" for word, log_prob in words)
        return f"{caption.log_prob:.3f}\t{', '.join(probabilities)}"
    return f"{caption}\t{caption.log_prob:.3f}" if with_log_prob else caption.text


if __name__ == "__main__":
    flags.define_command_flags(
        *("workdir", "images_from", "captions", "image_info", "figure", "report", "text"),
        *("num_return_sequences", "decode_batch_size"),
    )
    flags.define_settings("caption")
    flags.run(main, USAGE, takes_arguments=True, needs_stdout=True)
