"""What a check finds."""

import dataclasses
import enum
import math
from collections.abc import Mapping


class Status(enum.StrEnum):
    """NOT_NEEDED: the run has nothing of the kind. NOT_CHECKED: something kept it from telling."""

    HEALTHY = "healthy"
    FAULT = "fault"
    NOT_NEEDED = "not needed"
    NOT_CHECKED = "not checked"


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What a check found.

    verdict: see `Status`.
    evidence: what was seen.
    advice: what to do about a fault, or about what kept a check from telling.
    figures: what the verdict rests on, by name; None is no number.
    """

    verdict: Status
    evidence: str
    advice: str = ""
    figures: Mapping[str, float | None] = dataclasses.field(default_factory=dict)


def judge(is_fault: bool, evidence: str, advice: str, **figures: float) -> CheckResult:
    """A fault with its advice, or a healthy finding without; what rests on NaN is not healthy."""
    is_fault = is_fault or not all(map(math.isfinite, figures.values()))
    # JSON has no NaN and no infinity.
    numbers = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    if is_fault:
        return CheckResult(Status.FAULT, evidence, advice, numbers)
    return CheckResult(Status.HEALTHY, evidence, figures=numbers)


def not_needed(reason: str) -> CheckResult:
    """A check of what the run does not have."""
    return CheckResult(Status.NOT_NEEDED, reason)
