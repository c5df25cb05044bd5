"""How sure a score is: the same score of images drawn again, with replacement (Koehn, 2004)."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sat_tf.evaluation.measures import Measure

RESAMPLES = 1000
_CONFIDENCE = (2.5, 97.5)  # percentiles of a 95 % interval
_AT_A_TIME = 100  # resamples, so that their counts of a large split take little memory


class Interval(NamedTuple):
    """The middle 95 % of a score's resamples."""

    low: float
    high: float


class Difference(NamedTuple):
    """Of one system's score and another's on the same images.

    difference: the second's less the first's.
    interval: of the difference.
    p: how often resamples differ by as much from their own mean, as would happen if the systems
      were equally good (two-sided; as sacrebleu has it).
    """

    difference: float
    interval: Interval
    p: float


def intervals(measures: Mapping[str, Measure], seed: int = 0) -> dict[str, Interval]:
    """A 95 % interval of each score.

    Args:
      measures: of the same images.
      seed: of the draws.
    """
    return {name: _interval(_resampled(measure, seed)) for name, measure in measures.items()}


def differences(
    first: Mapping[str, Measure], second: Mapping[str, Measure], seed: int = 0
) -> dict[str, Difference]:
    """The difference of each score that both have: a paired bootstrap.

    Args:
      first: scores of one system.
      second: of another, on the same images in the same order.
      seed: of the draws; both are scored on the same ones.
    """
    found = {}
    for name in first:
        if name in second:
            drawn = _resampled(second[name], seed) - _resampled(first[name], seed)
            difference = second[name].score - first[name].score
            as_far = np.abs(drawn - drawn.mean()) >= abs(difference)
            p = (1 + int(as_far.sum())) / (1 + RESAMPLES)
            found[name] = Difference(difference, _interval(drawn), p)
    return found


def _resampled(measure: Measure, seed: int) -> np.ndarray:
    """The score of each resample: float64 [R]."""
    sums = [counts @ measure.sums for counts in _draws(len(measure.sums), seed)]
    return measure.value(np.concatenate(sums))  # [R, S] -> [R]


def _draws(images: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn: float64 [_AT_A_TIME, N] each."""
    random = np.random.default_rng(seed)
    shares = np.full(images, 1.0 / images)
    for _ in range(0, RESAMPLES, _AT_A_TIME):
        yield random.multinomial(images, shares, size=_AT_A_TIME).astype(np.float64)


def _interval(drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, _CONFIDENCE)
    return Interval(float(low), float(high))
