"""Examines a run for what its scores do not tell."""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tqdm import tqdm

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.errors import UserError
from sat_tf.storage import check_target, write_json

if TYPE_CHECKING:
    from sat_tf.doctor.results import CheckResult

USAGE = """python -m sat_tf.doctor --workdir=RUN [--output=FILE]

Looks at a run, its data and its cache for faults that cost days: pixels and channels as the encoder
expects them, the grid's order, parts that do not belong together, dead attention, captions that
are cut, alike, unknown or of other images, and whether the model can learn at all. Of each it
tells what it saw and what to do. Exit status 0 only if nothing is wrong."""

_WIDTH, _NAME = 100, 24


def main(argv: list[str]) -> int:
    """Prints the findings as they come; 1 if one is a fault, or could not be looked for."""
    options, changes = flags.FLAGS, flags.overrides()
    check_target(options.output, "output")
    if "," in options.workdir:
        raise UserError(f"--workdir={options.workdir}: one run at a time")
    config = override(Config.load(options.workdir), **changes)
    flags.quiet_tensorflow()
    # TensorFlow takes seconds to import: not for `--help` or a wrong flag.
    from sat_tf.doctor.run_context import RunContext
    from sat_tf.doctor.runner import CHECKS, examine, is_clean

    findings: dict[str, CheckResult] = {}
    patient = RunContext(options.workdir, config)
    # Shown on terminals.
    for name, finding in tqdm(
        examine(patient), desc="checks", total=len(CHECKS), leave=False, disable=None
    ):
        findings[name] = finding
        tqdm.write(_text(name, finding))
    clean = all(is_clean(finding.verdict) for finding in findings.values())
    print("nothing is wrong" if clean else _summary(findings))
    if options.output:
        document = {
            "workdir": options.workdir,
            "healthy": clean,
            "settings": dataclasses.asdict(config),
            "findings": {name: dataclasses.asdict(each) for name, each in findings.items()},
        }
        write_json(options.output, document)
    return 0 if clean else 1


def _text(name: str, finding: "CheckResult") -> str:
    """A finding as it is printed: name, verdict, evidence and, of a fault, what to do."""
    verdict = finding.verdict.upper() if finding.verdict == "fault" else finding.verdict
    parts = [f"{verdict}: {finding.evidence}"] + [f"-> {finding.advice}"] * bool(finding.advice)
    indent = " " * _NAME
    wrapper = textwrap.TextWrapper(
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        # Paths and flags stay whole, to be copied.
        break_long_words=False,
        break_on_hyphens=False,
    )
    return name.ljust(_NAME) + "\n".join(map(wrapper.fill, parts))[_NAME:]


def _summary(findings: "Mapping[str, CheckResult]") -> str:
    by_verdict: dict[str, list[str]] = {}
    for name, finding in findings.items():
        by_verdict.setdefault(finding.verdict, []).append(name)
    return "; ".join(
        f"{verdict}: {', '.join(by_verdict[verdict])}"
        for verdict in ("fault", "not checked")
        if verdict in by_verdict
    )


if __name__ == "__main__":
    flags.define_command_flags("workdir", "output")
    flags.define_overrides("doctor")
    flags.run(main, USAGE)
