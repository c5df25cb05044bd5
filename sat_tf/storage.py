"""The files of a run, and atomic writes: a file appears complete or not at all."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sat_tf.errors import UserError

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


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; move it to `path` on success.

    The body may write a file or a folder. If it raises, the temporary is removed and `path` stays
    unchanged.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the move stays within one file system.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


def check_target(path: str, flag: str) -> None:
    """Raise `UserError`, naming the flag, if `path` is not empty and can't be written as a file."""
    if not path:
        return
    if Path(path).is_dir():
        raise UserError(f"--{flag}={path}: is a folder; name a file")
    _check_writable(path, flag)


def check_new_folder(path: str, flag: str) -> None:
    """Raise `UserError`, naming the flag, if no folder can be created at `path`."""
    if os.path.lexists(path):
        raise UserError(f"--{flag}={path}: is there already; name a new folder")
    _check_writable(path, flag)


def _check_writable(path: str, flag: str) -> None:
    """Raise `UserError` if the nearest existing folder above `path` is not writable."""
    above = next(folder for folder in Path(path).absolute().parents if os.path.lexists(folder))
    try:
        # Not by permissions: some file systems reject everybody.
        with tempfile.TemporaryDirectory(dir=above, prefix=".writing-"):
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: nothing can be written there: {error.strerror}"
        ) from None


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON; raise `ValueError` for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read JSON from `path`; raise `UserError`, calling the file `what`, if it can't be read."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file ({what})") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read as {what}: {error}") from None
