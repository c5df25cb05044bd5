"""Run a pipeline in a process of its own, which may be killed without this one."""

import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
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
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, log, function, arguments))
    process.start()
    sender.close()
    try:
        found = None
        while not receiver.poll(_POLL_SECONDS):
            poll()
        try:
            found, message = receiver.recv()
        except (EOFError, OSError):
            return None
        finally:
            poll()
        if message:
            raise UserError(message)
        return found
    finally:
        if process.pid:
            _kill_group(process.pid)
        process.join()


def _kill_group(pid: int) -> None:
    """Kill a process that leads its group, and the group; it may not lead it yet."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _child(sender: Connection, log: Path, function: str, arguments: tuple[Any, ...]) -> None:
    os.setsid()
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent:
            parent.join()
        os.killpg(0, signal.SIGKILL)

    def end_with_worker(args: threading.ExceptHookArgs) -> None:
        # The runner starts each worker from a thread, which raises when the worker dies. Without
        # this, the pipeline would wait for the worker forever.
        if "Worker subprocess exited" in str(args.exc_value):
            os._exit(_WORKER_DIED)

    threading.excepthook = end_with_worker
    threading.Thread(target=end_with_parent, daemon=True).start()
    module, _, name = function.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)(*arguments)
        sender.send((found, ""))
    except UserError as error:
        sender.send(({}, str(error)))
    except Exception as error:
        # With the name of its class, which tells much about errors of other packages.
        sender.send(({}, f"the pipeline failed: {type(error).__name__}: {reason(error)}"))
    sender.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
