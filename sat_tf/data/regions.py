"""Where in the image a word's objects are, as boxes and as cells of the encoder's grid."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sat_tf.data.captions import Problem


class Box(NamedTuple):
    """A part of an upright image: fractions of its height and width, from its upper left corner.

    Its lower and its right edge lie outside.
    """

    top: float
    left: float
    bottom: float
    right: float


WHOLE = Box(0.0, 0.0, 1.0, 1.0)

# The words of a caption -> for the index of each word that names objects which are in the image,
# the boxes of those that it may mean.
NamedBy = Callable[[Sequence[str]], Mapping[int, Sequence[Box]]]


@dataclasses.dataclass(frozen=True)
class KnownObjects:
    """The objects of an image, as the words of any caption name them.

    Attributes:
      named_by: see `NamedBy`.
      seen: the part of the image that the encoder sees, over which its grid lies.
    """

    named_by: NamedBy
    seen: Box = WHOLE

    def regions(self, words: Sequence[str], grid: tuple[int, int]) -> dict[int, np.ndarray]:
        """For the index of each word that names an object, the cells of what it may mean.

        Words whose objects all lie outside of what the encoder sees are left out. An object too
        small to hold the centre of a cell has no cell, and is still there to be named.

        Args:
          words: of a caption.
          grid: rows and columns.

        Returns:
          bool [rows, columns] each.
        """
        return {
            index: cells_inside(visible, grid, self.seen)
            for index, boxes in self.named_by(words).items()
            if (visible := [box for box in boxes if _overlap(box, self.seen)])
        }


class AnnotatedImage(NamedTuple):
    """What a file of boxes tells of an image.

    height, width: of the upright image, in pixels.
    named_by: see `NamedBy`.
    """

    height: int
    width: int
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


def _overlap(one: Box, other: Box) -> bool:
    """Whether they have a point in common; a box of no area has none."""
    down = max(one.top, other.top) < min(one.bottom, other.bottom)
    return down and max(one.left, other.left) < min(one.right, other.right)
