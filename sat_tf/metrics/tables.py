"""Tables of scores as text."""

from collections.abc import Mapping

from sat_tf.metrics.bootstrap import Difference, Interval
from sat_tf.metrics.registry import left_out


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
