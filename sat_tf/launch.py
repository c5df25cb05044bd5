"""Start the workers of a training on this machine, and all of them again when one fails."""

import contextlib
import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import TextIO

from sat_tf import flags
from sat_tf.errors import UserError

USAGE = """python -m sat_tf.launch [--workers=N] [--max_restarts=R] -- MODULE [ARGUMENT ...]

Runs N processes of `python -m MODULE [ARGUMENT ...]`, such as -- sat_tf.train --flagfile=FILE, as
the workers of one training on this machine: TF_CONFIG in the environment of each names all of them
and its own place. It is for trials, for tests and for a machine of many cores. A machine with
several GPUs needs no workers: one process of sat_tf.train uses them all.

When a worker is killed or fails, the others are given a minute to end by themselves and are killed
after it; then all are started again. After an error of the user (exit status 1 or 2) they are not;
exit status 75 means that --max_restarts were not enough. Ctrl-C and SIGTERM let the workers save
their state; a second one kills them. Lines of every worker but the first start with its number.
Each has its share of the cores; TF_NUM_INTRAOP_THREADS and OMP_NUM_THREADS in the environment set
another number of threads."""

# Statuses of a user's error and of a wrong command line, which come again however often it starts.
_LASTING_ERRORS = (1, 2)
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Seconds.
_POLL = 0.1
# A worker takes up to half a minute to find out which other one is lost, and to end.
_GRACE = 60.0
_AFTER_SIGTERM = 10.0
_LONGEST_PAUSE = 30.0
# Supervisors may send a signal both to a process and to its group; that is one request.
_ONE_REQUEST = 1.0

_printing = threading.Lock()


def main(argv: list[str]) -> int:
    """Run the workers; return their exit status."""
    command = _command(argv[1:])
    requests = StopRequests()
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, requests.add)
    return launch(command, flags.FLAGS.workers, flags.FLAGS.max_restarts, requests)


class StopRequests:
    """Signals that ask the launcher to stop.

    Attributes:
      received: their numbers; one that follows another within a second is dropped.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._last = -math.inf

    def add(self, number: int, frame: object = None) -> None:
        """Add a signal; a handler for `signal.signal`."""
        now = time.monotonic()
        if now - self._last > _ONE_REQUEST:
            self.received.append(number)
            self._last = now


def launch(command: Sequence[str], count: int, max_restarts: int, requests: StopRequests) -> int:
    """Run `count` workers, all again when one fails, and return the exit status.

    It is 0 if all workers ended with 0; that of a user's error; 75 if restarts are used up; 128
    and the number of the signal that asked to stop.
    """
    restarts = 0
    while not requests.received:
        failure = run_workers(command, count, requests)
        if requests.received:
            break
        if failure is None:
            return 0
        if failure.returncode in _LASTING_ERRORS:
            return int(failure.returncode)
        if restarts == max_restarts:
            _print_line(sys.stderr, f"{failure}; no restart is left of {max_restarts}")
            return os.EX_TEMPFAIL
        restarts += 1
        _print_line(sys.stderr, f"{failure}; restarting all ({restarts} of {max_restarts})")
        end = time.monotonic() + min(2 ** (restarts - 1), _LONGEST_PAUSE)
        while time.monotonic() < end and not requests.received:
            time.sleep(_POLL)
    return 128 + requests.received[0]


def run_workers(command: Sequence[str], count: int, requests: StopRequests) -> "Worker | None":
    """Run workers once; return the one that failed, None if all ended with 0.

    Of several it is one with a user's error, or the first that did not fail because of another
    one (status 75), or the first. No process is left.
    """
    addresses = free_addresses(count)
    workers: list[Worker] = []
    failed: list[Worker] = []
    stopped, deadline = 0, math.inf
    try:
        for index in range(count):
            workers.append(Worker(command, addresses, index))
        running = list(workers)
        while running and time.monotonic() < deadline:
            time.sleep(_POLL)
            ended = [worker for worker in running if worker.has_ended()]
            running = [worker for worker in running if worker not in ended]
            failed += (worker for worker in ended if worker.returncode)
            if len(requests.received) > stopped:
                stopped = len(requests.received)
                if stopped == 1:
                    _print_line(
                        sys.stderr, "stopping; the workers save their state (again: kill them)"
                    )
                for worker in running:
                    worker.terminate() if stopped == 1 else worker.kill()
            elif failed and not stopped:
                # Not after a request to stop: saving takes some workers longer than others.
                deadline = min(deadline, time.monotonic() + _GRACE)
    finally:
        _end(workers)
    likeliest_cause = {**dict.fromkeys(_LASTING_ERRORS, 0), os.EX_TEMPFAIL: 2}
    return min(failed, key=lambda one: likeliest_cause.get(one.returncode, 1), default=None)


def free_addresses(count: int) -> list[str]:
    """Return addresses of this machine with ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        # All are open at once, so that they differ.
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


class Worker(subprocess.Popen[str]):
    """A running worker, in a session of its own with the processes that it starts.

    The first worker writes to standard output and standard error as they are, so that a terminal
    shows its progress; lines of the others start with their index. Addresses are those of all
    workers, "host:port".
    """

    def __init__(self, command: Sequence[str], addresses: Sequence[str], index: int) -> None:
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        output = None if index == 0 else subprocess.PIPE
        self.index, self._started = index, time.monotonic()
        self._seconds: float | None = None  # until it was seen to have ended
        super().__init__(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**_defaults(len(addresses), index), **os.environ, "TF_CONFIG": config},
            encoding="utf-8",
            errors="backslashreplace",
            # Ctrl-C in the terminal must reach the launcher alone, which passes it on once.
            start_new_session=True,
        )
        streams = ((self.stdout, sys.stdout), (self.stderr, sys.stderr))
        self._relays = [
            threading.Thread(target=_relay, args=(source, target, index), daemon=True)
            for source, target in streams
            if source
        ]
        for thread in self._relays:
            thread.start()

    def __str__(self) -> str:
        status = self.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"worker {self.index} {how} after {self._seconds:,.0f} s"

    def has_ended(self) -> bool:
        """Return whether the worker has ended; kill what it has left running."""
        if self._seconds is None and self.poll() is not None:
            self._seconds = time.monotonic() - self._started
            self.kill()
            for thread in self._relays:
                thread.join(_AFTER_SIGTERM)
        return self._seconds is not None

    def kill(self) -> None:
        """Kill the worker and the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _command(arguments: Sequence[str]) -> list[str]:
    """Return the program and arguments of a worker from what stands behind `--`."""
    example = "-- sat_tf.train --flagfile=FILE"
    if not arguments:
        raise UserError(f"nothing to run: name a module and its arguments, such as {example}")
    module, *rest = arguments
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise UserError(f"{module}: no such Python module: write {example}")
    return [sys.executable, "-m", module, *rest]


def _defaults(count: int, index: int) -> dict[str, str]:
    """Return variables of a worker's environment that the launcher's own environment overrides."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    threads = str(max(1, cores // count))
    variables = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    # In a pipe Python holds back lines until it has 8 kB of them.
    return variables if index == 0 else {**variables, "PYTHONUNBUFFERED": "1"}


def _end(workers: Sequence[Worker]) -> None:
    """End workers that still run; SIGKILL ends those that SIGTERM does not, and stopped ones."""
    left = [worker for worker in workers if not worker.has_ended()]
    for worker in left:
        _print_line(sys.stderr, f"worker {worker.index} does not end by itself; killing it")
        worker.terminate()
    deadline = time.monotonic() + _AFTER_SIGTERM
    while not all([worker.has_ended() for worker in left]):
        if time.monotonic() > deadline:
            for worker in left:
                worker.kill()
        time.sleep(_POLL)


def _relay(source: TextIO, target: TextIO, index: int) -> None:
    """Print the lines of a worker."""
    with source:
        for line in source:
            _print_line(target, f"[worker {index}] {line.rstrip()}")


def _print_line(stream: TextIO, text: str) -> None:
    """Print a line; on a terminal it takes the place of the first worker's progress bar."""
    start = "\r\x1b[K" if stream.isatty() else ""
    with _printing:
        stream.write(f"{start}{text}\n")
        stream.flush()


if __name__ == "__main__":
    flags.define_command_flags("workers", "max_restarts")
    flags.run(main, USAGE, takes_arguments=True)
