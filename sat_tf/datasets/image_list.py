"""Images without captions: files, folders, patterns and lists; their ids in COCO's results."""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sat_tf.data.image_bytes import SUFFIXES
from sat_tf.data.records import Problems, raise_if_problems
from sat_tf.datasets.parsing import ID, NAME, JsonDocument
from sat_tf.datasets.source import coco_id
from sat_tf.errors import UserError, in_current_folder

_LISTED = 5  # images that a message names


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


def image_ids(paths: Sequence[str], image_info: str = "") -> dict[str, int | str]:
    """Return the id of each image in COCO's results, by its path.

    Args:
      paths: of the images.
      image_info: COCO's list of the images of a split, such as image_info_test2014.json, which
        gives their ids. Without it an id is COCO's number in the name of the file if all images
        have one, else the path.

    Returns:
      The ids, with `image_info` of the images that it lists.

    Raises:
      UserError: the list can't be read, an image of it is not given, or two images have one id.
    """
    ids: dict[str, int | str] = {}
    if image_info:
        known = _read_image_info(Path(image_info))
        ids = {path: known[name] for path in paths if (name := os.path.basename(path)) in known}
        if missing := known.keys() - map(os.path.basename, ids):
            raise UserError(
                f"--image_info={image_info}: {len(missing):,} of its {len(known):,} images are not "
                f"given, {', '.join(sorted(missing)[:_LISTED])}: COCO's server wants all"
            )
    else:
        ids.update((path, own) for path in paths if (own := coco_id(path)) is not None)
        if len(ids) < len(paths):
            ids.update((path, path) for path in paths)
    first: dict[int | str, str] = {}
    for path, number in ids.items():
        if first.setdefault(number, path) != path:
            raise UserError(
                f"{path}: has the image_id {number} of {first[number]}: --captions takes one "
                "caption an id"
            )
    return ids


def _read_image_info(path: Path) -> dict[str, int | str]:
    problems = Problems()
    document = JsonDocument(path, {"images": {"id": ID, "file_name": NAME}}, problems)
    known = {entry["file_name"]: entry["id"] for _, entry in document.entries("images")}
    raise_if_problems(problems)
    return known
