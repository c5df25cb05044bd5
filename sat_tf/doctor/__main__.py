"""Check a run for silent training bugs."""

import dataclasses
import textwrap

from tqdm import tqdm

from sat_tf import flags
from sat_tf.config import Config, override
from sat_tf.doctor import CheckResult, Status
from sat_tf.errors import UserError, printable
from sat_tf.storage import check_target, split_paths, write_json

USAGE = """python -m sat_tf.doctor --workdir=RUN [--output=FILE]

Checks a run, its data and its feature cache for silent training bugs: pixel range and channel
order, order of the grid, parts that do not belong together, attention that ignores the state,
captions that are truncated, uniform, out of vocabulary or of other images, and whether the model
can learn at all. Prints the evidence of each check and what to do about a failure. The exit status
is 0 only if every check passes or does not apply."""

_WIDTH, _INDENT = 100, 20


def main(argv: list[str]) -> int:
    """Print the result of each check; return 1 if one failed or could not be made."""
    options, changes = flags.FLAGS, flags.overrides()
    check_target(options.output, "output")
    if len(split_paths(options.workdir)) > 1:
        raise UserError(f"--workdir={options.workdir}: one run at a time")
    config = override(Config.load(options.workdir), **changes)
    flags.import_tensorflow()
    # TensorFlow takes seconds to import, and is not needed for `--help` or a wrong flag.
    from sat_tf.doctor.checks import CHECKS, run_checks
    from sat_tf.doctor.run_context import RunContext

    results: dict[str, CheckResult] = {}
    checks = run_checks(RunContext(options.workdir, config))
    # The bar is shown on terminals only.
    for name, result in tqdm(checks, "checks", len(CHECKS), leave=False, disable=None):
        results[name] = result
        tqdm.write(_format(name, result))
    all_passed = all(result.passed for result in results.values())
    print("all checks passed" if all_passed else _summary(results))
    if options.output:
        document = {
            "workdir": options.workdir,
            "passed": all_passed,
            "config": dataclasses.asdict(config),
            "checks": {name: dataclasses.asdict(result) for name, result in results.items()},
        }
        write_json(options.output, document)
    return 0 if all_passed else 1


def _format(name: str, result: CheckResult) -> str:
    """Return name, status, evidence and advice as lines of text."""
    status = result.status.upper() if result.status is Status.FAIL else result.status
    text = f"{status}: {result.evidence}" + (f"\n-> {result.advice}" if result.advice else "")
    # Paths and flags stay whole, to be copied; problems of a data set have a line each.
    wrapper = textwrap.TextWrapper(_WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False)
    lines = [part for line in text.splitlines() for part in wrapper.wrap(printable(line))]
    return name.ljust(_INDENT) + f"\n{' ' * _INDENT}".join(lines)


def _summary(results: dict[str, CheckResult]) -> str:
    groups = {
        status: [name for name, result in results.items() if result.status is status]
        for status in (Status.FAIL, Status.ERROR)
    }
    return "; ".join(f"{status}: {', '.join(names)}" for status, names in groups.items() if names)


if __name__ == "__main__":
    flags.define_command_flags("workdir", "output")
    flags.define_settings("doctor")
    flags.run(main, USAGE)
