"""How sure a score is: the same score of images drawn again, with replacement (Koehn, 2004)."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sat_tf.metrics.metric import Metric

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


def intervals(measures: Mapping[str, Metric], seed: int = 0) -> dict[str, Interval]:
    """A 95 % interval of each score.

    Args:
      measures: of the same images.
      seed: of the draws.
    """
    return {name: _interval(drawn) for name, drawn in _resampled(measures, seed).items()}


def differences(
    first: Mapping[str, Metric], second: Mapping[str, Metric], seed: int = 0
) -> dict[str, Difference]:
    """The difference of each score that both have: a paired bootstrap.

    Args:
      first: scores of one system.
      second: of another, on the same images in the same order.
      seed: of the draws; both are scored on the same ones.
    """
    both = [name for name in first if name in second]
    ours, theirs = (
        _resampled({name: system[name] for name in both}, seed) for system in (first, second)
    )
    found = {}
    for name in both:
        drawn = theirs[name] - ours[name]
        difference = second[name].score - first[name].score
        as_far = np.abs(drawn - drawn.mean()) >= abs(difference)
        p = (1 + int(as_far.sum())) / (1 + RESAMPLES)
        found[name] = Difference(difference, _interval(drawn), p)
    return found


def _resampled(measures: Mapping[str, Metric], seed: int) -> dict[str, np.ndarray]:
    """Each score of each resample, all of the same resamples: float64 [R]."""
    images = {len(measure.sums) for measure in measures.values()}
    sums: dict[str, list[np.ndarray]] = {name: [] for name in measures}
    for counts in _draws(images.pop(), seed) if images else ():
        for name, measure in measures.items():
            sums[name].append(counts @ measure.sums)
    # [R, S] -> [R]
    return {name: measure.value(np.concatenate(sums[name])) for name, measure in measures.items()}


def _draws(images: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is drawn: float64 [_AT_A_TIME, N] each."""
    random = np.random.default_rng(seed)
    shares = np.full(images, 1.0 / images)
    for _ in range(0, RESAMPLES, _AT_A_TIME):
        yield random.multinomial(images, shares, size=_AT_A_TIME).astype(np.float64)


def _interval(drawn: np.ndarray) -> Interval:
    low, high = np.percentile(drawn, _CONFIDENCE)
    return Interval(float(low), float(high))
