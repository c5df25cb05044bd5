"""Run pipelines in processes of their own, which may be killed without this one.

Run as a program, this file is such a process: it receives what to call by standard input and sends
the result by standard output. Not by `multiprocessing`, whose helper process warns on standard
error of what killed processes have left.
"""

import contextlib
import importlib
import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sat_tf.errors import UserError, printable, reason

LOG_FILE = "workers.log"
_POLL_SECONDS = 0.5
# Progress is looked for in a folder that may take long to list, for one of so many parts of time.
_POLL_SHARE = 50
# The status of a process that ends because a worker of its runner has.
_WORKER_DIED = 70


def check_beam_flags(arguments: list[str]) -> list[str]:
    """Return the flags for Beam, which stand after `--`.

    Raises:
      UserError: Beam is not installed, or one is no flag.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise UserError("needs Apache Beam: pip install 'sat_tf[beam]'")
    for argument in arguments:
        if not argument.startswith("--"):
            raise UserError(
                f"unexpected argument {printable(argument)!r}: flags are written --name=value, "
                "and those of Beam stand after --"
            )
    return arguments


def run_pipelines(
    function: str,
    remaining: Callable[[], tuple[Any, ...] | None],
    progress: Callable[[], Any],
    folder: Path,
    bar: Any,
    most_deaths: int,
    advice: str,
) -> Counter[str]:
    """Run pipelines until nothing is left to do, each in a process; return the sum of counters.

    Args:
      function: see `run_in_child`.
      remaining: returns the arguments of the function for what is left to do; None if nothing is.
      progress: updates the bar and returns what has been done, for a comparison.
      folder: of the output, which gets the log.
      bar: of the images.
      most_deaths: processes that may die one after the other without progress.
      advice: what to do if more do.

    Raises:
      UserError: see `run_in_child`; or that many have died.
    """
    counters, deaths, before = Counter[str](), 0, progress()
    try:
        while arguments := remaining():
            if deaths == most_deaths:
                raise UserError(
                    f"{deaths} processes died one after the other before an image was finished: "
                    f"{advice}. {folder / LOG_FILE} may tell more"
                )
            found = run_in_child(function, *arguments, log=folder / LOG_FILE, poll=progress)
            done = progress()
            if found is None:
                deaths = deaths + 1 if done == before else 0
                why = f"{folder / LOG_FILE} may tell why"
                bar.write(f"a process died ({why}); restarting", file=sys.stderr)
            counters.update(found or {})
            before = done
    except BaseException:  # Ctrl-C too
        bar.write(
            f"stopped after {bar.n:,} of {bar.total:,} images, which are kept in {folder}: give "
            "the same command again to resume",
            file=sys.stderr,
        )
        raise
    return counters


def run_in_child(
    function: str, *arguments: Any, log: Path, poll: Callable[[], Any] = lambda: None
) -> dict[str, int] | None:
    """Call a function in a new process; return its result, or None if the process was killed.

    All processes that it has started end with it, and all of them with this one.

    Args:
      function: "module:name"; imported there alone, since Beam takes a while to import.
      *arguments: of the function.
      log: file for what the process and its workers print: the runner's notices are of no interest
        before something fails.
      poll: called about twice a second while it runs.

    Raises:
      UserError: the function raised an exception; has the first line of its message.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sat_tf.beam.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # also a group of processes, to be killed as one
        )
    assert process.stdin and process.stdout
    try:
        with contextlib.suppress(BrokenPipeError):  # it was killed already
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
        pause = _POLL_SECONDS
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pause)
            started = time.monotonic()
            poll()
            pause = max(_POLL_SECONDS, _POLL_SHARE * (time.monotonic() - started))
        if process.returncode:
            return None
        found, message = pickle.load(process.stdout)
        if message:
            raise UserError(message)
        return dict(found)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _main() -> None:
    """Call the function that `run_in_child` sends; send its result or an error."""
    # Not inherited by workers, so that its end is that of this process.
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    function, arguments = pickle.load(sys.stdin.buffer)

    def end_with_command() -> None:
        sys.stdin.buffer.read()  # until the command has gone, which closes it
        os.killpg(0, signal.SIGKILL)

    def end_with_worker(args: threading.ExceptHookArgs) -> None:
        # The runner starts each worker from a thread, which raises when the worker dies. Without
        # this, the pipeline would wait for the worker forever.
        if "Worker subprocess exited" in str(args.exc_value):
            os._exit(_WORKER_DIED)
        threading.__excepthook__(args)

    threading.excepthook = end_with_worker
    threading.Thread(target=end_with_command, daemon=True).start()
    module, _, name = function.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(*arguments), ""
    except UserError as error:
        answer = {}, str(error)
    except Exception as error:
        # With the name of its class, which tells much about errors of other packages.
        answer = {}, f"the pipeline failed: {type(error).__name__}: {reason(error)}"
    pickle.dump(answer, result)
    result.close()
    sys.stdout.flush()
    # Threads of the runner may never end.
    os._exit(0)


if __name__ == "__main__":
    _main()
