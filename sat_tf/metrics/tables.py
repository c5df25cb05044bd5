"""Scores as text."""

from collections.abc import Mapping

from sat_tf.metrics import coco_metrics
from sat_tf.metrics.bootstrap import Difference, Interval


def score_table(scores: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    """The scores, one a line, aligned, with the 95 % intervals of those that have one."""
    width = max(map(len, scores))
    lines = []
    for name, value in scores.items():
        line = f"{name:<{width}}  {value:8.2f}"
        if name in intervals:
            low, high = intervals[name]
            line += f"  [{low:.2f}, {high:.2f}]"
        lines.append(line)
    return "\n".join(lines)


def missing_lines() -> str:
    """A line for each score that is left out because it can't be had here."""
    return "".join(f"left out: {name} {why}\n" for name, why in coco_metrics.missing().items())


def difference_table(
    first: Mapping[str, float],
    second: Mapping[str, float],
    differences: Mapping[str, Difference],
) -> str:
    """Scores that two systems share side by side, and whether they differ where that is known."""
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
