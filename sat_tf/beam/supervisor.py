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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sat_tf.beam.manifest import Manifest
from sat_tf.beam.shards import attempted, finished
from sat_tf.errors import UserError, printable, reason
from sat_tf.progress import progress_bar

LOG_FILE = "workers.log"
_POLL_SECONDS = 0.5
# To find an image that kills takes five.
_MOST_DEATHS = 10
# Listing the finished shards may take long: it gets one part in so many of the time.
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
    manifest: Manifest,
    arguments: Sequence[Any],
    beam_flags: Sequence[str],
    log: Path,
    what: str,
    advice: str,
) -> tuple[Counter[str], dict[int, str]]:
    """Run pipelines, each in a process, until all shards of a manifest are finished or have failed.

    Args:
      function: see `sat_tf.beam.pipeline.run_pipeline`.
      manifest: the first argument of the function.
      arguments: further ones.
      beam_flags: of the runner.
      log: file for what processes print.
      what: is done, for the progress bar.
      advice: what to do if processes die whatever they work on.

    Returns:
      The sum of Beam's counters, and the error of each shard that has failed.

    Raises:
      UserError: see `run_in_child`; or processes die one after the other without progress.
    """
    output, counters, failed = manifest.output, Counter[str](), dict[int, str]()

    def remaining() -> tuple[list[int], Sequence[str]]:
        """The shards of the next pipeline, and its flags; those to be tried alone come last."""
        done, alone = finished(output), []
        for shard, attempts in attempted(output).items():
            if shard in done:  # its process died after the commit
                attempts.path.unlink()
                continue
            if attempts.error:
                failed[shard] = attempts.error
            if attempts.in_progress or attempts.error:
                attempts.end(died=attempts.in_progress)
            if attempts.is_alone:
                alone.append(shard)
        left = [i for i in range(manifest.num_shards) if i not in done and i not in failed]
        together = [shard for shard in left if shard not in alone]
        return (together, beam_flags) if together else (left, ())

    def update_bar() -> None:
        bar.update(sum(map(manifest.size, finished(output))) - bar.n)

    def state() -> tuple[int, list[int]]:
        """What changes when an image has not ended its process."""
        update_bar()
        return bar.n, [attempts.passed for attempts in attempted(output).values()]

    deaths, initial = 0, sum(map(manifest.size, finished(output)))
    with progress_bar(total=manifest.num_images, initial=initial, desc=what, unit="image") as bar:
        try:
            before = state()
            while (todo := remaining())[0]:
                if deaths == _MOST_DEATHS:
                    raise UserError(
                        f"{deaths} processes died one after the other before an image was "
                        f"finished: is there memory enough? {advice}. {log} may tell more"
                    )
                pipeline = ("sat_tf.beam.pipeline:run_pipeline", function, *todo, manifest)
                found = run_in_child(*pipeline, *arguments, log=log, poll=update_bar)
                now = state()
                if found is None:
                    deaths = deaths + 1 if now == before else 0
                    bar.write(f"a process died ({log} may tell why); restarting", file=sys.stderr)
                counters.update(found or {})
                before = now
        except BaseException:  # Ctrl-C too: what was in progress did not end its process
            for attempts in attempted(output).values():
                attempts.end(died=False)
            bar.write(
                f"stopped after {bar.n:,} of {bar.total:,} images, which are kept: give the same "
                "command again to resume",
                file=sys.stderr,
            )
            raise
    return counters, failed


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
