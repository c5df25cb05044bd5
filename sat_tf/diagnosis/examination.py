"""All checks of a run, in the order in which they build on each other."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sat_tf.diagnosis.alignment import alignment
from sat_tf.diagnosis.attention import attention
from sat_tf.diagnosis.belonging import data, encoder, feature_cache, files, perplexity, vocabulary
from sat_tf.diagnosis.curves import diverging
from sat_tf.diagnosis.findings import Finding, Verdict
from sat_tf.diagnosis.grid import grid_order
from sat_tf.diagnosis.overfitting import overfitting
from sat_tf.diagnosis.patient import Patient
from sat_tf.diagnosis.pixels import channel_order, pixel_range
from sat_tf.diagnosis.words import captions_alike, captions_cut, unknown_words
from sat_tf.errors import UserError


class Check(NamedTuple):
    """A check by name; `is_needed`: without it, the others can't look."""

    name: str
    find: Callable[[Patient], Finding]
    is_needed: bool = False


CHECKS = (
    Check("files of the run", files, is_needed=True),
    Check("training curves", diverging),
    Check("data set", data, is_needed=True),
    Check("vocabulary", vocabulary),
    Check("unknown words", unknown_words),
    Check("pixel range", pixel_range),
    Check("channel order", channel_order),
    Check("grid order", grid_order),
    Check("encoder", encoder),
    Check("feature cache", feature_cache),
    Check("perplexity", perplexity),
    Check("attention on h", attention),
    Check("captions alike", captions_alike),
    Check("captions cut", captions_cut),
    Check("images and references", alignment),
    Check("overfits 16 captions", overfitting),
)


def examine(patient: Patient) -> Iterator[tuple[str, Finding]]:
    """The name and the finding of each of `CHECKS`, as soon as it is there."""
    missing = ""
    for check in CHECKS:
        if missing:
            finding = Finding(Verdict.NOT_CHECKED, f"needs the {missing}")
        else:
            try:
                finding = check.find(patient)
            except (UserError, OSError) as error:
                finding = Finding(Verdict.NOT_CHECKED, str(error), "mend that and look again")
        if check.is_needed and not missing and finding.verdict is not Verdict.HEALTHY:
            missing = check.name
        yield check.name, finding


def is_clean(verdict: Verdict) -> bool:
    """Whether nothing speaks against the run."""
    return verdict in (Verdict.HEALTHY, Verdict.NOT_NEEDED)
