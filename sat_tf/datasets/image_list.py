"""Images without captions: files, folders, patterns and lists."""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sat_tf.data.image_bytes import SUFFIXES
from sat_tf.errors import UserError, in_current_folder


def find_images(arguments: Sequence[str], images_from: str = "") -> list[str]:
    """Return the paths of images, each once, in the order of the arguments.

    Args:
      arguments: files; folders, for the images in them; patterns such as `photos/**/*.jpg`. What
        exists is no pattern, and a path that is none need not exist.
      images_from: a file with the path of an image a line, or "-" for standard input.

    Raises:
      UserError: there is no image, in all or in a folder or pattern, or the list can't be read.
    """
    found = [path for argument in arguments for path in _expand(argument)]
    listed = _read_list(images_from) if images_from else []
    if images_from and not listed:
        raise UserError(f"--images_from={images_from}: names no image")
    if not found and not listed:
        raise UserError(
            "no image given: name files, folders or quoted patterns after the flags, or a list of "
            "files with --images_from"
        )
    return [*dict.fromkeys((*found, *listed))]


def _expand(argument: str) -> list[str]:
    if os.path.isdir(argument):
        # Hidden files are none: those that macOS adds to `a.jpg` are called `._a.jpg`.
        names = [name for name in os.listdir(argument) if not name.startswith(".")]
        names = sorted(name for name in names if name.lower().endswith(SUFFIXES))
        if not names:
            pattern = os.path.join(argument, "**", "*.jpg")
            raise UserError(
                f"{argument}: holds no image ({', '.join(SUFFIXES)}); those of its folders are "
                f"named by a pattern such as '{pattern}'"
            )
        return [os.path.normpath(os.path.join(argument, name)) for name in names]
    if os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matching = sorted(filter(os.path.isfile, glob.iglob(argument, recursive=True)))
    if not matching:
        where = in_current_folder(argument)
        raise UserError(f"{argument}: no such file{where}, and as a pattern it matches none")
    return matching


def _read_list(path: str) -> list[str]:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        where = in_current_folder(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"--images_from={path}: can't be read: {error.strerror}{where}") from None
    if b"\0" in content:
        raise UserError(f"--images_from={path}: must be text in UTF-8, one path a line")
    # File names need not be UTF-8: as Python has them.
    lines = map(os.fsdecode, content.removeprefix(b"\xef\xbb\xbf").splitlines())
    return [line for line in lines if line.strip()]
