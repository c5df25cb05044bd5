"""All checks, in an order in which each builds on those before."""

from collections.abc import Callable, Iterator

from sat_tf.doctor import CheckResult, Status, behaviour, inputs
from sat_tf.doctor.run_context import RunContext
from sat_tf.errors import UserError

_CHECKS: tuple[Callable[[RunContext], CheckResult], ...] = (
    inputs.files,
    behaviour.training_curves,
    inputs.dataset,
    inputs.vocabulary,
    inputs.oov_rate,
    inputs.pixel_range,
    inputs.channel_order,
    inputs.grid_order,
    inputs.encoder,
    inputs.feature_cache,
    behaviour.perplexity,
    behaviour.attention,
    behaviour.attention_maps,
    behaviour.caption_diversity,
    behaviour.truncation,
    behaviour.alignment,
    behaviour.overfit_batch,
)
CHECKS = {check.__name__: check for check in _CHECKS}
# Unless these pass, the checks after them can't be made.
_REQUIRED = ("files", "dataset")
_REPAIR = "repair this, then check again"


def run_checks(context: RunContext) -> Iterator[tuple[str, CheckResult]]:
    """Yield the name and the result of each check as soon as it is made."""
    failed = ""
    for name, check in CHECKS.items():
        if failed:
            result = CheckResult(Status.ERROR, f"needs the check {failed!r} to pass")
        else:
            try:
                result = check(context)
            except UserError as error:
                result = CheckResult(Status.ERROR, str(error), _REPAIR)
            except OSError as error:
                evidence = ": ".join(filter(None, (error.filename, error.strerror or str(error))))
                result = CheckResult(Status.ERROR, evidence, _REPAIR)
        if name in _REQUIRED and result.status is not Status.PASS:
            failed = failed or name
        yield name, result


def passed(result: CheckResult) -> bool:
    """Return whether a check passed or does not apply."""
    return result.status in (Status.PASS, Status.SKIP)
