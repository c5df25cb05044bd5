"""Caption image files with a run, or score a sentence as their caption."""

import concurrent.futures
import dataclasses
import json
import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError, printable
from sat_tf.progress import activity, progress_bar
from sat_tf.storage import BEST, check_target, split_paths, write_json, write_text
from sat_tf.vocabulary import tokenize

if TYPE_CHECKING:
    from sat_tf.captioner import Captioner, Image
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
    check_target(options.captions, "captions")
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
    ids = image_ids(paths, options.image_info) if options.captions else {}
    flags.import_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.captioner import Captioner

    with activity(f"loading {' and '.join(workdirs)}"):
        captioner = Captioner.load(*workdirs, **overrides)
    if options.captions:
        unfinished = UnfinishedCaptions(options.captions, search_of(workdirs, configs))
        return write_captions(captioner, ids, unfinished, options.decode_batch_size)
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

    Args:
      captioner: one run or an ensemble.
      paths: of the image files.
      text: a sentence to score as the caption of each image, in place of a search.
      batch_size: images captioned at a time.
      prints: whether captions are printed, which shows the progress on a terminal.
    """
    from sat_tf.inspection.attention_record import AttentionRecord

    def read(path: str) -> "Image | None":
        try:
            return captioner.read_image(path, compiled=len(paths) > batch_size)
        except UserError as error:
            tqdm.write(f"error: {printable(error)}", file=sys.stderr)
            return None

    shows_bar = len(paths) > batch_size and not (prints and sys.stdout.isatty())
    bar = progress_bar(
        total=len(paths), desc="captioning", unit="image", delay=0, disable=not shows_bar
    )
    with bar, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), batch_size):
            chosen = paths[start : start + batch_size]
            images = [
                (path, image)
                for path, image in zip(chosen, pool.map(read, chosen), strict=True)
                if image
            ]
            if images:
                batch = [image for _, image in images]
                found: Sequence[Sequence[Caption]] = (
                    captioner.caption_images(batch)
                    if not text
                    else [(caption,) for caption in captioner.score_text(batch, text)]
                )
                for (path, image), captions in zip(images, found, strict=True):
                    yield AttentionRecord(path, image.thumbnail, captions)
            bar.update(len(chosen))


class UnfinishedCaptions:
    """The captions made so far for `--captions`, kept in FILE.partial until all are made.

    A text file with one JSON object a line: first what the captions depend on, then each image.

    Args:
      target: FILE.
      search: what the captions depend on; those of another search are discarded.

    Attributes:
      target: FILE.
      path: FILE.partial.
      captions: by the path of the image.
    """

    def __init__(self, target: str, search: Mapping[str, Any]) -> None:
        self.target, self.path = target, Path(f"{target}.partial")
        self.captions: dict[str, str] = {}
        if self.path.exists():
            self._read(search)
        # Written anew, without a line that was cut when the computer failed.
        lines = [search, *({"image": p, "caption": c} for p, c in self.captions.items())]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = self.path.open("a", encoding="ascii")

    def _read(self, search: Mapping[str, Any]) -> None:
        with self.path.open(encoding="ascii", errors="replace") as lines:
            try:
                if json.loads(next(lines, "{}")) != search:
                    print(f"{self.path}: of another run or search; not used", file=sys.stderr)
                    return
                for line in lines:
                    entry = json.loads(line)
                    self.captions[entry["image"]] = entry["caption"]
            except (ValueError, KeyError, TypeError):
                pass  # cut here
        print(f"{self.path}: has {len(self.captions):,} captions; resuming", file=sys.stderr)

    def add(self, image: str, caption: str) -> None:
        """Add the caption of an image."""
        self.captions[image] = caption
        self._file.write(json.dumps({"image": image, "caption": caption}) + "\n")
        self._file.flush()

    def close(self, *, finished: bool) -> None:
        """Close the file, and remove it if all captions are made."""
        self._file.close()
        if finished:
            self.path.unlink()


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
    unfinished: UnfinishedCaptions,
    batch_size: int,
) -> int:
    """Write captions in COCO's results format; return the exit status.

    Args:
      captioner: one run or an ensemble.
      ids: of the images, by their paths.
      unfinished: the captions that are made already, and the file to write to.
      batch_size: images captioned at a time.
    """
    todo = [path for path in ids if path not in unfinished.captions]
    try:
        for record in caption_files(captioner, todo, batch_size=batch_size, prints=False):
            unfinished.add(record.image_id, record.captions[0].text)
    except BaseException:  # Ctrl-C too
        unfinished.close(finished=False)
        print(
            f"stopped after {len(unfinished.captions):,} captions, which are kept in "
            f"{unfinished.path}: give the same command again to resume",
            file=sys.stderr,
        )
        raise
    made = [path for path in ids if path in unfinished.captions]
    lacking = len(ids) - len(made)
    if made:
        results = [{"image_id": ids[p], "caption": unfinished.captions[p]} for p in made]
        write_json(unfinished.target, results)
        print(f"{unfinished.target}: captions of {len(made):,} images")
    unfinished.close(finished=not lacking or not made)
    if made and lacking:
        print(
            f"warning: images that can't be read, and are not in it: {lacking:,}; once they can, "
            f"the same command captions them alone ({unfinished.path})",
            file=sys.stderr,
        )
    return 1 if lacking else 0


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
