"""Bootstrap confidence intervals: scores of images resampled with replacement (Koehn, 2004)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sat_tf.metrics.registry import Metric

RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)  # of a 95 % interval
_CHUNK = 100  # resamples at a time, so that the counts of a large split take little memory


class Interval(NamedTuple):
    """The percentile interval of a score at 95 %."""

    low: float
    high: float


class Difference(NamedTuple):
    """The difference between the scores of two systems on the same images.

    difference: the second's less the first's.
    interval: of the difference.
    p: two-sided p-value, the share of resamples whose difference deviates from the mean of all by
      as much as the difference itself does from 0 (as sacrebleu defines it).
    """

    difference: float
    interval: Interval
    p: float


def intervals(metrics: Mapping[str, Metric], seed: int = 0) -> dict[str, Interval]:
    """Compute the 95 % interval of each score that can be resampled.

    Args:
      metrics: of the same images.
      seed: of the resampling.
    """
    return {name: _interval(values) for name, values in _resample(metrics, seed).items()}


def differences(
    first: Mapping[str, Metric], second: Mapping[str, Metric], seed: int = 0
) -> dict[str, Difference]:
    """Compare the scores that two systems share and that can be resampled: a paired bootstrap.

    Args:
      first: scores of one system.
      second: of another, on the same images in the same order.
      seed: of the resampling, which both share.
    """
    resampled_first, resampled_second = (
        _resample({name: system[name] for name in first if name in second}, seed)
        for system in (first, second)
    )
    found = {}
    for name, values in resampled_first.items():
        resampled = resampled_second[name] - values
        difference = second[name].score - first[name].score
        is_as_far = np.abs(resampled - resampled.mean()) >= abs(difference)
        p = (1 + int(is_as_far.sum())) / (1 + RESAMPLES)
        found[name] = Difference(difference, _interval(resampled), p)
    return found


def _resample(metrics: Mapping[str, Metric], seed: int) -> dict[str, np.ndarray]:
    """Compute each score that can be resampled of the same resamples: float64 [R]."""
    metrics = {name: metric for name, metric in metrics.items() if metric.can_resample}
    if not metrics:
        return {}
    (size,) = {len(metric.statistics) for metric in metrics.values()}
    random = np.random.default_rng(seed)
    sums: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for _ in range(0, RESAMPLES, _CHUNK):
        # How often each image is in each resample: [_CHUNK, N]
        counts = random.multinomial(size, np.full(size, 1.0 / size), size=_CHUNK).astype(np.float64)
        for name, metric in metrics.items():
            sums[name].append(counts @ metric.statistics)
    # [R, S] -> [R]
    return {name: metric.compute(np.concatenate(sums[name])) for name, metric in metrics.items()}


def _interval(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, _PERCENTILES)
    return Interval(float(low), float(high))
