"""Scores as functions of what each image adds to them, so that images can be drawn again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Metric(NamedTuple):
    """A score of a split.

    sums: what each image adds, float64 [N, S].
    value: the score of a split, or of several, from its sums over the images: [..., S] -> [...].
    """

    sums: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]

    @property
    def score(self) -> float:
        """Of all images."""
        return float(self.value(self.sums.sum(axis=0)))  # sum over N -> [S]


def ratio(parts: Sequence[float], wholes: Sequence[float], scale: float = 1.0) -> Metric:
    """`scale` times the sum of the parts over that of the wholes, one of each an image.

    0 where there is nothing to count.
    """

    def value(sums: np.ndarray) -> np.ndarray:
        part, whole = sums[..., 0], sums[..., 1]
        return scale * np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    return Metric(np.stack([parts, wholes], axis=1).astype(np.float64), value)


def mean(values: Sequence[float]) -> Metric:
    """The mean over the images of a score that each has by itself."""
    return ratio(values, [1.0] * len(values))
