"""Checks of a run for silent training bugs: faults that its scores do not reveal."""

import dataclasses
import enum
import math
from collections.abc import Mapping


class Status(enum.StrEnum):
    """Outcome of a check: SKIP if it does not apply to the run, ERROR if it could not be made."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    ERROR = "error"


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """Result of a check."""

    status: Status
    evidence: str  # what was measured, in words
    advice: str = ""  # what to do about a failure or an error
    # The measurements by name; None is NaN or infinite.
    values: Mapping[str, float | None] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the check passed or does not apply."""
        return self.status in (Status.PASS, Status.SKIP)


def fail_if(
    failed: bool, evidence: str, advice: str = "", values: Mapping[str, float] | None = None
) -> CheckResult:
    """Return a failure with its advice, or a pass without; NaN and infinities always fail."""
    # JSON has no NaN and no infinity.
    numbers = {name: x if math.isfinite(x) else None for name, x in (values or {}).items()}
    if failed or None in numbers.values():
        return CheckResult(Status.FAIL, evidence, advice, numbers)
    return CheckResult(Status.PASS, evidence, values=numbers)


def skip(reason: str) -> CheckResult:
    """Return the result of a check that does not apply to the run."""
    return CheckResult(Status.SKIP, reason)
