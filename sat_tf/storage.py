"""The files of a run, and atomic writes: a file appears complete or not at all."""

import contextlib
import errno
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sat_tf.errors import UserError, in_current_folder, why_not_json

# Names in the folder of a run, beside `config.json`.
VOCABULARY_FILE = "vocabulary.json"
# The encoder at the start of the run, so that the run needs no other file.
ENCODER_FILE = "encoder.keras"
# Names of the images that can't be read and that the run does without, by split, if there are any.
LEFT_OUT_FILE = "left_out_images.json"
LAST, BEST, EPOCHS = "checkpoints", "best", "epochs"
METRICS_FILE = "metrics.jsonl"
SCORES_FILE = "scores.json"
FIGURE_FILE = "attention.png"
TENSORBOARD = "tensorboard"
LOCK_FILE = ".lock"

_TEMPORARY = ".writing-"
# Seconds in which a temporary folder gets its lock; younger ones are left alone.
_LOCKED_WITHIN = 5.0
_NO_SPACE = os.strerror(errno.ENOSPC)
_IN_PATTERNS = re.compile(r"[\[\\*?]")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; move it to `path` on success.

    The body may write a file or a folder. If it raises, the temporary is removed and `path` stays
    unchanged.

    Raises:
      OSError: it can't be written; names `path`.
    """
    path = Path(path).absolute()
    with writing(path), temporary_folder(path.parent) as folder:
        temporary = folder / path.name
        yield temporary
        os.replace(temporary, path)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder in `parent`, and remove it at the end.

    It lies beside what it will replace, so that a move stays within one file system. Such folders
    that killed processes have left in `parent` are removed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LOCKED_WITHIN:
                with exclusive_lock(left / LOCK_FILE):
                    shutil.rmtree(left)
    temporary = tempfile.TemporaryDirectory(dir=parent, prefix=_TEMPORARY)
    with temporary as folder, contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # of a file system without locks
            held.enter_context(exclusive_lock(Path(folder, LOCK_FILE)))
        yield Path(folder)


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock, which ends with the process that has it, however that ends.

    Raises:
      BlockingIOError: another process holds it.
      OSError: the file can't be opened, or the file system has no locks.
    """
    import portalocker  # imports asyncio, which takes a tenth of a second

    try:
        with portalocker.Lock(path, fail_when_locked=True):
            yield
    except portalocker.AlreadyLocked:
        raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(path)) from None
    except portalocker.LockException as error:
        raise OSError(errno.ENOLCK, str(error), str(path)) from None


@contextlib.contextmanager
def sole_writer(folder: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of a folder, if its file system has locks.

    Raises:
      UserError: another process holds it; says `refusal`.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(folder / LOCK_FILE))
        except BlockingIOError:
            raise UserError(refusal) from None
        except OSError as error:
            if error.errno != errno.ENOLCK:
                raise
        yield


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn errors in writing `path`, those of TensorFlow and NumPy too, into an `OSError`.

    It names `path`. Errors of the file system that name another file stay as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # A full disk is an error of their own in TensorFlow, tensorflow-datasets and NumPy.
        is_full = _NO_SPACE in str(error) or " requested and " in str(error)
        number = errno.ENOSPC if is_full else getattr(error, "errno", None)
        name = getattr(error, "filename", None)
        if not number or (name and _TEMPORARY not in str(name)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def is_pattern(path: Path) -> bool:
    """Return whether TensorFlow's readers take the path for a pattern of file names."""
    return bool(_IN_PATTERNS.search(path.as_posix()))


@contextlib.contextmanager
def path_for_tensorflow(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a path to the same place that TensorFlow's readers do not take for a pattern."""
    path = Path(path)
    if not is_pattern(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "link"
        link.symlink_to(path.parent.absolute())
        yield str(link / path.name)


def split_paths(value: str) -> list[str]:
    """Return the paths of a comma-separated list; a path that exists may itself have commas."""
    parts, paths = value.split(","), []
    while parts:
        counts = range(len(parts), 1, -1)
        count = next((n for n in counts if os.path.lexists(",".join(parts[:n]))), 1)
        paths.append(",".join(parts[:count]))
        parts = parts[count:]
    return paths


def check_target(path: str, flag: str, kind: str = "file") -> None:
    """Raise `UserError` if the value of a flag, unless it is empty, is no place to write to.

    A "file" and a "folder" may be there already, a "new folder" may not.
    """
    if not path:
        return
    is_there, is_folder = os.path.lexists(path), os.path.isdir(path)
    wrong = {
        "file": is_folder and "is a folder; name a file",
        "folder": is_there and not is_folder and "is no folder; name a folder",
        "new folder": is_there and "is there already; name a new folder",
    }
    if wrong[kind]:
        raise UserError(f"--{flag}={path}: {wrong[kind]}")
    folders = Path(path, "file" if kind == "folder" else "").absolute().parents
    above = next(folder for folder in folders if os.path.lexists(folder))
    try:
        # Not by permissions: some file systems reject everybody.
        with tempfile.TemporaryDirectory(dir=above, prefix=_TEMPORARY):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: nothing can be written there: {error.strerror}"
        ) from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8; unpaired surrogates, as of odd file names, as JSON's escapes."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON; raise `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read JSON from `path`; raise `UserError`, calling the file `what`, if it can't be read.

    NaN and infinities, which are not JSON, are None; see `finite_or_none`.
    """
    try:
        # Of bytes, it finds the encoding, and drops a byte order mark.
        return json.loads(
            Path(path).read_bytes(), parse_constant=finite_or_none, parse_float=finite_or_none
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file{in_current_folder(path)} ({what})") from None
    except OSError as error:
        raise UserError(f"{path}: can't be read as {what}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: can't be read as {what}: {why_not_json(error)}") from None


def finite_or_none(text: str) -> float | None:
    """Return the number that a JSON document has as `text`; None for NaN, Infinity or 1e999."""
    number = float(text)
    return number if math.isfinite(number) else None
