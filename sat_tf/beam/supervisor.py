"""Run a pipeline in a process of its own, which may be killed without this one.

Run as a program, this file is that process: it receives what to call by standard input and sends
the result by standard output. Not by `multiprocessing`, whose helper process warns on standard
error of what killed processes have left.
"""

import contextlib
import importlib
import importlib.util
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sat_tf.errors import UserError, printable, reason

_POLL_SECONDS = 0.5
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


def run_in_child(
    function: str, *arguments: Any, log: Path, poll: Callable[[], None] = lambda: None
) -> dict[str, int] | None:
    """Call a function in a new process; return its result, or None if the process was killed.

    All processes that it has started end with it, and all of them with this one.

    Args:
      function: "module:name"; imported there alone, since Beam takes a while to import.
      *arguments: of the function.
      log: file for what the process and its workers print: the runner's notices are of no interest
        before something fails.
      poll: called twice a second while it runs.

    Raises:
      UserError: the function raised an exception; has the first line of its message.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sat_tf.beam.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            start_new_session=True,  # also a group of processes, to be killed as one
        )
    assert process.stdin and process.stdout
    try:
        with contextlib.suppress(BrokenPipeError):  # it was killed already
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
        while not select.select([process.stdout], [], [], _POLL_SECONDS)[0]:
            poll()
        try:
            found, message = pickle.load(process.stdout)
        except (EOFError, pickle.UnpicklingError):
            return None
        finally:
            poll()
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
