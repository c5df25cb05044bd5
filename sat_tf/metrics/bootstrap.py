"""Bootstrap intervals and differences of scores, and tables of them (Koehn, 2004)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from sat_tf.metrics.registry import Metric, left_out

RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)  # of a 95 % interval
_CHUNK = 100  # resamples at a time, so that the counts of a large split take little memory


class Interval(NamedTuple):
    """The percentile interval of a score at 95 %."""

    low: float
    high: float


class Difference(NamedTuple):
    """The second of two systems' scores on the same images less the first."""

    difference: float
    interval: Interval
    # Two-sided p-value, the share of resamples whose difference deviates from the mean of all by as
    # much as the difference itself does from 0 (as sacrebleu defines it).
    p: float


def intervals(metrics: Mapping[str, Metric]) -> dict[str, Interval]:
    """Compute the 95 % interval of each score that can be resampled, all of the same images."""
    return {name: _interval(values) for name, values in _resample(metrics).items()}


def differences(first: Mapping[str, Metric], second: Mapping[str, Metric]) -> dict[str, Difference]:
    """Compare the scores that two systems share and that can be resampled: a paired bootstrap.

    Both are of the same images in the same order.
    """
    resampled_first, resampled_second = (
        _resample({name: system[name] for name in first if name in second})
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


def _resample(metrics: Mapping[str, Metric]) -> dict[str, np.ndarray]:
    """Compute each score that can be resampled of the same resamples: float64 [R]."""
    metrics = {name: metric for name, metric in metrics.items() if metric.can_resample}
    if not metrics:
        return {}
    (size,) = {len(metric.statistics) for metric in metrics.values()}
    random = np.random.default_rng(0)
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


def score_table(scores: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    """Format one score a line, with the 95 % intervals of those that have one.

    Below them, scores that this installation cannot compute are named with the reason.
    """
    width = max(map(len, scores))
    lines = []
    for name, value in scores.items():
        line = f"{name:<{width}}  {value:8.2f}"
        if name in intervals:
            low, high = intervals[name]
            line += f"  [{low:.2f}, {high:.2f}]"
        lines.append(line)
    lines += [f"left out: {name} {reason}" for name, reason in left_out().items()]
    return "\n".join(lines)


def difference_table(
    first: Mapping[str, float],
    second: Mapping[str, float],
    differences: Mapping[str, Difference],
) -> str:
    """Format the scores that two systems share, and their differences where these are known."""
    shared = [name for name in first if name in second]
    width = max(map(len, shared))
    lines = [f"{'':<{width}}{'first':>10}{'second':>10}{'difference':>12}  {'95 %':<20}{'p':>6}"]
    for name in shared:
        line = f"{name:<{width}}{first[name]:>10.3f}{second[name]:>10.3f}"
        if name in differences:
            difference, (low, high), p = differences[name]
            interval = f"[{low:+.3f}, {high:+.3f}]"
            line += f"{difference:>+12.3f}  {interval:<20}{p:>6.3f}"
        lines.append(line)
    return "\n".join(lines)
