"""Where in the image a word's objects are, as boxes and as cells of the encoder's grid."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sat_tf.data.records import Problem


class Box(NamedTuple):
    """A part of an upright image: fractions of its height and width, from its upper left corner.

    Its lower and its right edge lie outside.
    """

    top: float
    left: float
    bottom: float
    right: float


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class NamedBox(NamedTuple):
    """A thing in an image: what it is called, and where it is."""

    name: str
    box: Box


# The words of a caption -> for the index of each word that names objects which are in the image,
# the indices of those that it may mean.
NamedBy = Callable[[Sequence[str]], Mapping[int, Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class ObjectBoxes:
    """The objects of an image, and the words of any caption that name them.

    Attributes:
      objects: seen by the encoder or not.
      named_by: see `NamedBy`.
      seen: the part of the image that the encoder sees, over which its grid lies.
    """

    objects: Sequence[NamedBox]
    named_by: NamedBy
    seen: Box = WHOLE

    def visible_mentions(self, words: Sequence[str]) -> dict[int, list[int]]:
        """For the index of each word that names an object, the indices of what it may mean.

        Objects that lie outside of what the encoder sees are left out, and words that name no
        other.
        """
        return {
            word: seen
            for word, named in self.named_by(words).items()
            if (seen := [one for one in named if intersect(self.objects[one].box, self.seen)])
        }

    def regions(self, words: Sequence[str], grid: tuple[int, int]) -> dict[int, np.ndarray]:
        """For the index of each word that names an object, the cells of what it may mean.

        Words are those of `visible_mentions`. An object too small to hold the centre of a cell has
        no cell, and is still there to be named.

        Args:
          words: of a caption.
          grid: rows and columns.

        Returns:
          bool [rows, columns] each.
        """
        return {
            word: cells_inside((self.objects[one].box for one in named), grid, self.seen)
            for word, named in self.visible_mentions(words).items()
        }


class AnnotatedImage(NamedTuple):
    """What a file of boxes tells of an image.

    height, width: of the upright image, in pixels.
    objects: those that lie in it.
    named_by: see `NamedBy`.
    """

    height: int
    width: int
    objects: Sequence[NamedBox]
    named_by: NamedBy


class AnnotatedImages(NamedTuple):
    """Images by name, as far as nothing is wrong with them, and every problem found."""

    images: dict[str, AnnotatedImage]
    problems: list[Problem]


def cells_inside(boxes: Iterable[Box], grid: tuple[int, int], seen: Box = WHOLE) -> np.ndarray:
    """Whether a cell's centre lies in one of these boxes.

    Args:
      boxes: of the image.
      grid: rows and columns.
      seen: the part of the image over which the grid lies.

    Returns:
      bool [rows, columns].
    """
    rows, columns = grid
    y = seen.top + (np.arange(rows)[:, None] + 0.5) / rows * (seen.bottom - seen.top)
    x = seen.left + (np.arange(columns)[None, :] + 0.5) / columns * (seen.right - seen.left)
    inside = np.zeros(grid, bool)
    for box in boxes:
        inside |= (box.top <= y) & (y < box.bottom) & (box.left <= x) & (x < box.right)
    return inside


def intersect(box: Box, other: Box = WHOLE) -> Box | None:
    """What of a box lies inside another, the whole image say; None if it has no area."""
    part = Box(*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
    return part if part.top < part.bottom and part.left < part.right else None
