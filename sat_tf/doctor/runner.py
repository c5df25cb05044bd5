"""All checks of a run, in the order in which they build on each other."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sat_tf.doctor.alignment import alignment
from sat_tf.doctor.attention import attention
from sat_tf.doctor.consistency import data, encoder, feature_cache, files, perplexity, vocabulary
from sat_tf.doctor.curves import diverging
from sat_tf.doctor.grid import grid_order
from sat_tf.doctor.overfitting import overfitting
from sat_tf.doctor.pixels import channel_order, pixel_range
from sat_tf.doctor.results import CheckResult, Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.doctor.words import caption_diversity, oov_rate, truncation
from sat_tf.errors import UserError


class Check(NamedTuple):
    """A check by name; `is_needed`: without it, the others can't look."""

    name: str
    find: Callable[[RunContext], CheckResult]
    is_needed: bool = False


CHECKS = (
    Check("files of the run", files, is_needed=True),
    Check("training curves", diverging),
    Check("data set", data, is_needed=True),
    Check("vocabulary", vocabulary),
    Check("unknown words", oov_rate),
    Check("pixel range", pixel_range),
    Check("channel order", channel_order),
    Check("grid order", grid_order),
    Check("encoder", encoder),
    Check("feature cache", feature_cache),
    Check("perplexity", perplexity),
    Check("attention on h", attention),
    Check("captions alike", caption_diversity),
    Check("captions cut", truncation),
    Check("images and references", alignment),
    Check("overfits 16 captions", overfitting),
)


def examine(patient: RunContext) -> Iterator[tuple[str, CheckResult]]:
    """The name and the finding of each of `CHECKS`, as soon as it is there."""
    missing = ""
    for check in CHECKS:
        if missing:
            finding = CheckResult(Status.NOT_CHECKED, f"needs the {missing}")
        else:
            try:
                finding = check.find(patient)
            except (UserError, OSError) as error:
                finding = CheckResult(Status.NOT_CHECKED, str(error), "mend that and look again")
        if check.is_needed and not missing and finding.verdict is not Status.HEALTHY:
            missing = check.name
        yield check.name, finding


def is_clean(verdict: Status) -> bool:
    """Whether nothing speaks against the run."""
    return verdict in (Status.HEALTHY, Status.NOT_NEEDED)
