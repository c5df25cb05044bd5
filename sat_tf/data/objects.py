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


class VisibleObjects(NamedTuple):
    """What of the objects that a word mentions lies in the crop.

    indices: of the objects of which a part does.
    cells: bool [rows, columns], the cells of the grid whose centres lie in one of their boxes. An
      object too small to contain the centre of a cell has none.
    """

    indices: list[int]
    cells: np.ndarray


@dataclasses.dataclass(frozen=True)
class ObjectBoxes:
    """The objects of an image, and which words of any caption mention them.

    Attributes:
      height: of the upright image, pixels.
      width: of the upright image, pixels.
      objects: inside and outside of the crop.
      mentions: see `Mentions`.
      crop: the part of the image that the encoder sees, see `sat_tf.data.images.crop_objects`.
    """

    height: int
    width: int
    objects: Sequence[NamedBox]
    mentions: Mentions = dataclasses.field(compare=False)
    crop: Box = dataclasses.field(default=WHOLE, kw_only=True)

    def area(self, index: int) -> float:
        """Return the area of an object's box, in pixels of the upright image."""
        box = self.objects[index].box
        return (box.bottom - box.top) * self.height * (box.right - box.left) * self.width

    def visible_mentions(
        self, words: Sequence[str], grid: tuple[int, int]
    ) -> dict[int, VisibleObjects]:
        """Return the mentions of objects of which a part lies in the crop.

        Args:
          words: of a caption.
          grid: rows and columns over the crop.

        Returns:
          For the index of each word that mentions such objects, these.
        """
        visible = {}
        for word, indices in self.mentions(words).items():
            seen = [i for i in indices if intersect(self.objects[i].box, self.crop)]
            if seen:
                boxes = [self.objects[i].box for i in seen]
                visible[word] = VisibleObjects(seen, cells_inside(boxes, grid, self.crop))
        return visible


def cells_inside(boxes: Iterable[Box], grid: tuple[int, int], crop: Box = WHOLE) -> np.ndarray:
    """Return whether the centre of each cell of a grid over the crop lies in one of the boxes.

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
