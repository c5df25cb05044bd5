"""Objects of an image: their boxes, the words that mention them, and their cells of the grid."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A part of an upright image, as fractions of its height and width from the upper left corner.

    The lower and the right edge are exclusive.
    """

    top: float
    left: float
    bottom: float
    right: float


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


class NamedBox(NamedTuple):
    """An object of an image: its name and its box."""

    name: str
    box: Box


# Words of a caption -> for the index of each word that mentions objects of the image, the indices
# of the objects it may refer to.
Mentions = Callable[[Sequence[str]], Mapping[int, Sequence[int]]]


@dataclasses.dataclass(frozen=True)
class ObjectBoxes:
    """The objects of an image, and which words of any caption mention them.

    Attributes:
      height: of the upright image, pixels.
      width: of the upright image, pixels.
      objects: inside and outside of the crop that the encoder sees.
      mentions: see `Mentions`.
    """

    height: int
    width: int
    objects: Sequence[NamedBox]
    mentions: Mentions = dataclasses.field(compare=False)

    def area(self, index: int) -> float:
        """Return the area of an object's box, in pixels of the upright image."""
        box = self.objects[index].box
        return (box.bottom - box.top) * self.height * (box.right - box.left) * self.width

    def visible_mentions(self, words: Sequence[str], crop: Box = WHOLE) -> dict[int, list[int]]:
        """Return the mentions of objects of which a part lies in the crop.

        Args:
          words: of a caption.
          crop: the part of the image that the encoder sees, see
            `sat_tf.data.images.visible_box`.

        Returns:
          For the index of each word that mentions such objects, their indices.
        """
        return {
            word: visible
            for word, indices in self.mentions(words).items()
            if (visible := [i for i in indices if intersect(self.objects[i].box, crop)])
        }

    def regions(
        self, words: Sequence[str], grid: tuple[int, int], crop: Box = WHOLE
    ) -> dict[int, np.ndarray]:
        """Return the grid cells of the objects that each word mentions.

        Words are those of `visible_mentions`. An object too small to contain the centre of a cell
        has no cell, and its words are still listed.

        Args:
          words: of a caption.
          grid: rows and columns.
          crop: the part of the image under the grid.

        Returns:
          For the index of each word, bool [rows, columns].
        """
        return {
            word: cells_inside((self.objects[i].box for i in indices), grid, crop)
            for word, indices in self.visible_mentions(words, crop).items()
        }


def cells_inside(boxes: Iterable[Box], grid: tuple[int, int], crop: Box = WHOLE) -> np.ndarray:
    """Return whether the centre of each cell lies in one of the boxes.

    Args:
      boxes: of an image.
      grid: rows and columns.
      crop: the part of the image under the grid.

    Returns:
      bool [rows, columns].
    """
    rows, columns = grid
    y = crop.top + (np.arange(rows)[:, None] + 0.5) / rows * (crop.bottom - crop.top)
    x = crop.left + (np.arange(columns)[None, :] + 0.5) / columns * (crop.right - crop.left)
    inside = np.zeros(grid, bool)
    for box in boxes:
        inside |= (box.top <= y) & (y < box.bottom) & (box.left <= x) & (x < box.right)
    return inside


def intersect(box: Box, other: Box = WHOLE) -> Box | None:
    """Return the intersection of two boxes; None if it has no area."""
    part = Box(*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
    return part if part.top < part.bottom and part.left < part.right else None
