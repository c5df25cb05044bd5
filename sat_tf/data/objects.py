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
    """What of the objects that a word mentions lies in the crop."""

    indices: list[int]  # of the objects of which a part does
    # Bool [rows, columns]: the cells whose centres lie in a box of these, none of a small one.
    cells: np.ndarray


@dataclasses.dataclass(frozen=True)
class ObjectBoxes:
    """The objects of an image, and which words of any caption mention them."""

    height: int  # of the upright image, pixels
    width: int
    objects: Sequence[NamedBox]  # inside and outside of the crop
    mentions: Mentions = dataclasses.field(compare=False)
    # The part of the image that the encoder sees, see `sat_tf.data.images.crop_objects`.
    crop: Box = dataclasses.field(default=WHOLE, kw_only=True)

    def area(self, index: int) -> float:
        """Return the area of an object's box, in pixels of the upright image."""
        box = self.objects[index].box
        return (box.bottom - box.top) * self.height * (box.right - box.left) * self.width

    def visible_mentions(
        self, words: Sequence[str], grid: tuple[int, int]
    ) -> dict[int, VisibleObjects]:
        """Return what the words of a caption mention of the objects in the crop, by their index.

        The grid, rows and columns, covers the crop.
        """
        visible = {}
        for word, indices in self.mentions(words).items():
            seen = [i for i in indices if intersect(self.objects[i].box, self.crop)]
            if seen:
                boxes = [self.objects[i].box for i in seen]
                visible[word] = VisibleObjects(seen, cells_inside(boxes, grid, self.crop))
        return visible


def cells_inside(boxes: Iterable[Box], grid: tuple[int, int], crop: Box = WHOLE) -> np.ndarray:
    """Return whether a box has the centre of each cell over the crop: bool [rows, columns]."""
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
