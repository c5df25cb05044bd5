"""Where in the image a word's object is, as cells of the encoder's grid."""

from collections.abc import Iterable, Sequence

import numpy as np

from sat_tf.data.shapes_grammar import judge
from sat_tf.data.shapes_scenes import Scene


def cells_inside(scene: Scene, objects: Iterable[int], grid: tuple[int, int]) -> np.ndarray:
    """Whether a cell's centre lies in the box of one of these objects.

    Args:
      scene: seen whole by the encoder.
      objects: their indices.
      grid: rows and columns.

    Returns:
      bool [rows, columns].
    """
    rows, columns = grid
    y = (np.arange(rows)[:, None] + 0.5) * scene.size / rows  # [rows, 1], pixels
    x = (np.arange(columns)[None, :] + 0.5) * scene.size / columns
    inside = np.zeros(grid, bool)
    for index in objects:
        left, top, right, bottom = scene.objects[index].box
        inside |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    return inside


def word_regions(words: Sequence[str], scene: Scene, grid: tuple[int, int]) -> np.ndarray:
    """The cells of each word's object: bool [words, rows * columns].

    All false for words that name no object.
    """
    regions = np.zeros((len(words), grid[0] * grid[1]), bool)
    for mention in judge(words, scene).mentions:
        regions[mention.word_index] = cells_inside(scene, mention.matches, grid).ravel()
    return regions
