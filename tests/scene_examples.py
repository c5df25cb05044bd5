"""Scenes whose scores are known, and captions with attention."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sat_tf.shapes import language
from sat_tf.shapes.scenes import Background, Scene, SceneObject

# That a caption can contain.
EVERY_WORD = {word for of in language._MEANINGS.values() for phrase in of for word in phrase}

GRAY = Background("flat", (120, 120, 120), (120, 120, 120), 0.0, 0.2, 0)


def scene_of(*objects: tuple[str, str, str, tuple[int, int, int, int]]) -> Scene:
    """A scene of 80 pixels; objects as (size, colour, shape, box)."""
    return Scene(
        80,
        GRAY,
        tuple(
            SceneObject(shape, colour, size, (0, 0, 0), box) for size, colour, shape, box in objects
        ),
    )


# On a grid of 4 rows and 5 columns a cell is 20 pixels high and 16 wide.
GRID = (4, 5)
LEFT_CIRCLE = ("small", "red", "circle", (0, 20, 16, 40))  # the cell (1, 0) alone
RIGHT_CIRCLE = ("large", "red", "circle", (50, 40, 78, 68))  # the centres of (2, 3) and (2, 4)
STAR = ("small", "blue", "star", (16, 0, 48, 20))  # the cells (0, 1) and (0, 2)
TWO = scene_of(LEFT_CIRCLE, STAR)
BOTH_CIRCLES = scene_of(LEFT_CIRCLE, RIGHT_CIRCLE)


class AttendedCaption(NamedTuple):
    """A caption with its attention: alphas [T, rows, columns], betas [T]."""

    words: Sequence[str]
    alphas: np.ndarray
    betas: Sequence[float] = ()


def attending(caption: str, *cells: tuple[int, int]) -> AttendedCaption:
    """A caption whose nouns attend to `cells` in turn, other words uniformly: [T, 4, 5]."""
    words = caption.split()
    alphas = np.full((len(words), *GRID), 1 / 20)
    nouns = [i for i, word in enumerate(words) if word in ("circle", "circles", "star")]
    for noun, cell in zip(nouns, cells, strict=True):
        alphas[noun] = 0.01
        alphas[noun][cell] = 0.81
    return AttendedCaption(words, alphas)
