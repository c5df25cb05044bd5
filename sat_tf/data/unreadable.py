"""Images that can't be read: found together before they are needed, listed, left out if wanted."""

import concurrent.futures
import contextlib
import functools
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from sat_tf.data.image_bytes import looks_whole, read_image
from sat_tf.data.records import MAX_LISTED_PROBLEMS, Record
from sat_tf.errors import UserError
from sat_tf.progress import progress_bar
from sat_tf.storage import LEFT_OUT_FILE, read_json, write_json, write_text

LIST_FILE = "unreadable_images.txt"
# Images of each split by name, as they are left out of a run.
LeftOut = Mapping[str, Sequence[str]]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
READERS = 16  # threads; most of their time goes into waiting for a disk or a network
_IMAGES_PER_TASK = 64  # of a thread


def find_unreadable(
    records: Sequence[Record],
    decode: bool = False,
    before_decoding: Callable[[], None] = lambda: None,
) -> dict[int, str]:
    """Return which images can't be read, by index, and an error message of each.

    Args:
      records: those with images in memory, which this package has made, are not checked.
      decode: whether to decode every image, rather than those alone whose first or last bytes are
        unusual. Either way only images that `decode_image` rejects are returned.
      before_decoding: called if an image is going to be decoded, which needs TensorFlow.
    """
    paths = {i: one.image for i, one in enumerate(records) if isinstance(one.image, str)}
    errors: dict[int, str | None] = dict.fromkeys(paths)
    if not decode:
        inspected = map_in_threads(_inspect, [*paths.values()], READERS, "checking")
        errors = dict(zip(paths, inspected, strict=True))
    if unknown := [i for i, error in errors.items() if error is None]:
        before_decoding()
        workers = os.cpu_count() or 1
        decoded = map_in_threads(_decoding_error, [paths[i] for i in unknown], workers, "decoding")
        errors |= zip(unknown, decoded, strict=True)
    return {i: error for i, error in errors.items() if error}


def describe_unreadable(
    errors: Sequence[str], total: int, advice: str, listing: Path | None = None
) -> str:
    """Return a message about images that can't be read, with a line of `errors` for each.

    Lines of more than 20 are written to `listing`, if there is a place for one.
    """
    lines = [f"  {error}" for error in errors[:MAX_LISTED_PROBLEMS]]
    if len(errors) > MAX_LISTED_PROBLEMS:
        lines.append(f"  ... and {len(errors) - MAX_LISTED_PROBLEMS:,} more")
        with contextlib.suppress(OSError):  # the first ones are printed all the same
            if listing:
                write_text(listing, "".join(f"{error}\n" for error in errors))
                lines[-1] += f": see {listing}"
    heading = f"{len(errors):,} of {total:,} images can't be read:"
    return "\n".join([heading, *lines, advice])


def check_images(
    records: Mapping[str, Sequence[Record]],
    skip: bool = False,
    *,
    left_out: LeftOut = types.MappingProxyType({}),
    decode: bool = False,
    listing: Path | None = None,
    advice: str = "repair them, or leave them out with --skip_unreadable",
) -> dict[str, tuple[Record, ...]]:
    """Return the records of splits whose images can be read; print how many are left out.

    Args:
      records: of each split.
      skip: whether to leave out images that can't be read (`--skip_unreadable`).
      left_out: images that are left out without being checked.
      decode: see `find_unreadable`.
      listing: see `describe_unreadable`.
      advice: what to do, ends the error.

    Raises:
      UserError: images can't be read and are not to be left out, or no image of a split is left;
        lists them.
    """
    kept = leave_out(records, left_out)
    errors: list[str] = []
    for split, of_split in kept.items():
        found = find_unreadable(of_split, decode)
        errors += found.values()
        if skip:
            kept[split] = tuple(record for i, record in enumerate(of_split) if i not in found)
    total = sum(map(len, records.values()))
    if errors and not skip:
        raise UserError(describe_unreadable(errors, total, advice, listing))
    for split, left in kept.items():
        count = len(records[split])
        if count and not left:
            none = f"no image of the split {split} is left"
            raise UserError(describe_unreadable(errors, total, none, listing))
        if dropped := count - len(left):
            print(
                f"{split}: {dropped:,} of {count:,} images are left out (--skip_unreadable)",
                file=sys.stderr,
                flush=True,
            )
    return kept


def leave_out(
    records: Mapping[str, Sequence[Record]], names: LeftOut
) -> dict[str, tuple[Record, ...]]:
    """Return the records without the images of these names."""
    dropped = {split: set(names.get(split, ())) for split in records}
    return {
        split: tuple(record for record in of_split if record.image_id not in dropped[split])
        for split, of_split in records.items()
    }


def names_left_out(
    records: Mapping[str, Sequence[Record]], kept: Mapping[str, Sequence[Record]]
) -> LeftOut:
    """Return the names of the images that are not kept, of the splits that have any."""
    names = {}
    for split, of_split in records.items():
        remaining = {record.image_id for record in kept[split]}
        if len(remaining) < len(of_split):
            names[split] = [r.image_id for r in of_split if r.image_id not in remaining]
    return names


def write_left_out(workdir: Path, names: LeftOut) -> None:
    """Write which images a run does without; no file if it has them all."""
    if names:
        write_json(workdir / LEFT_OUT_FILE, names)
    else:
        (workdir / LEFT_OUT_FILE).unlink(missing_ok=True)


def read_left_out(workdir: str | os.PathLike[str]) -> LeftOut:
    """Read what `write_left_out` wrote; raise `UserError` if the file is damaged."""
    path = Path(workdir) / LEFT_OUT_FILE
    if not path.exists():
        return {}
    names = read_json(path, "the images that a run does without")
    if not isinstance(names, dict) or not all(
        isinstance(of_split, list) and all(isinstance(name, str) for name in of_split)
        for of_split in names.values()
    ):
        raise UserError(f"{path}: must hold a list of image names for each split")
    return names


def map_in_threads(
    function: Callable[[_Item], _Result], items: Sequence[_Item], workers: int, what: str
) -> list[_Result]:
    """Return the results of a function for each item, in order, from several threads."""
    # A few at a time: a task takes longer to pass on than many images take to inspect.
    size = max(1, min(_IMAGES_PER_TASK, len(items) // (4 * workers)))
    tasks = [items[start : start + size] for start in range(0, len(items), size)]
    results: list[_Result] = []
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        progress_bar(desc=what, total=len(items), unit="image", leave=False) as bar,
    ):
        for found in pool.map(lambda task: [*map(function, task)], tasks):
            results += found
            bar.update(len(found))
    return results


def _inspect(path: str) -> str | None:
    """Return why an image can't be read; "" if it can; None if only decoding tells."""
    return "" if looks_whole(path) else _error(read_image, path) or None


def _decoding_error(path: str) -> str:
    """Return why an image can't be read; "" if it can."""
    from sat_tf.data.images import load_image  # imports TensorFlow, which takes seconds

    return _error(functools.partial(load_image, compiled=True), path)


def _error(read: Callable[[str], object], path: str) -> str:
    try:
        read(path)
    except UserError as error:
        return str(error)
    return ""
