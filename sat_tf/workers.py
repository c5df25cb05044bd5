"""The processes that train one run together, each by the same command, in shared folders.

A worker is a process of `tf.distribute.MultiWorkerMirroredStrategy`; the first one, the chief,
writes the run. A process without others is a group of one, whose methods return at once.
"""

import contextlib
import functools
import io
import itertools
import math
import os
import pickle
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from sat_tf.cluster import Task, find_workers
from sat_tf.errors import TryAgainError, UserError, reason
from sat_tf.progress import activity

# Seconds that a worker stays after it has found another one missing: TensorFlow's heartbeat takes
# 10 to tell all, and a worker that leaves before would be taken for the missing one.
_LINGER = 15.0
_ASSEMBLE = 10.0  # seconds within which the workers that still run find each other
# Seconds until all machines see what one has written: NFS looks for new files every 60.
_VISIBLE_WITHIN = 90.0
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
_NONE: Any = object()
_Value = TypeVar("_Value")


class Workers:
    """The workers of a run, as one of them sees them.

    All of them call the methods in the same order: `gather`, and what is built on it, returns when
    all have called it.

    Args:
      strategy: of the workers; None for a process without others.
      tasks: of the workers, the chief first.
      index: of this worker.
      timeout: seconds that it waits for the others.

    Attributes:
      index: of this worker.
      count: number of workers.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        tasks: tuple[Task, ...] = (),
        index: int = 0,
        timeout: float = 0.0,
    ) -> None:
        self._strategy, self._tasks, self._timeout = strategy, tasks, timeout
        self.index, self.count = index, max(1, len(tasks))

    @functools.cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """Where variables are created; alone, all GPUs of this machine if there are several."""
        if self._strategy:
            return self._strategy
        if len(tf.config.list_logical_devices("GPU")) > 1:
            return tf.distribute.MirroredStrategy()
        return tf.distribute.get_strategy()

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run."""
        return self.index == 0

    def gather(self, value: _Value) -> list[_Value]:
        """Return the values of all workers, in their order, once all have given theirs.

        They can be pickled.
        """
        if self.count == 1:
            return [value]
        # Collectives carry no strings: four bytes are an int32, and the last ones are filled up.
        content = pickle.dumps(value)
        ours = np.frombuffer(content + b"\0" * (-len(content) % 4), np.int32)
        everything = io.BytesIO(self._all_gather(ours).numpy().tobytes())
        values = []
        for _ in range(self.count):
            values.append(pickle.load(everything))
            everything.seek(-everything.tell() % 4, os.SEEK_CUR)
        return values

    @functools.cached_property
    def _all_gather(self) -> Callable[[np.ndarray], tf.Tensor]:
        """A function that concatenates arrays int32 [n] of all workers; n may differ."""
        strategy = self.strategy
        replicas = strategy.num_replicas_in_sync // self.count

        def share(values: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # Of a worker's GPUs the first one brings the values.
            is_first = tf.equal(context.replica_id_in_sync_group % replicas, 0)
            return context.all_gather(tf.cond(is_first, lambda: values, lambda: values[:0]), axis=0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
        def all_gather(values: tf.Tensor) -> tf.Tensor:
            return strategy.experimental_local_results(strategy.run(share, args=(values,)))[0]

        return all_gather

    def share(self, results: Iterable[_Value]) -> list[_Value]:
        """Return the results of work that the workers take turns with, in its order.

        Those of this worker, of items `index`, `index + count` and so on, are computed here.
        """
        with self.together():
            ours = list(results)
        turns = itertools.zip_longest(*self.gather(ours), fillvalue=_NONE)
        return [value for turn in turns for value in turn if value is not _NONE]

    def from_chief(self, value: _Value) -> _Value:
        """Return the chief's value."""
        values: list[Any] = self.gather(value if self.is_chief else None)
        return values[0]

    def any(self, value: bool) -> bool:
        """Return whether the value of any worker is true."""
        return any(self.gather(value))

    def barrier(self) -> None:
        """Wait until all workers are here."""
        self.gather(None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Leave the body when all workers leave theirs; a `UserError` of one is raised on all."""
        error: UserError | None = None
        try:
            yield
        except UserError as caught:
            if self.count == 1:
                raise
            error = caught
        errors = self.gather(str(error or ""))
        failed = [index for index, message in enumerate(errors) if message]
        if failed:
            first = errors[failed[0]]
            where = "" if len(failed) == self.count else f"{_names(self._tasks, failed[:1])}: "
            raise UserError(f"{where}{first}")

    def chief_first(self, function: Callable[[], _Value]) -> _Value:
        """Call a function on the chief and, when it has returned there, on the others.

        For what may be made when it is first used.
        """
        results: list[_Value] = []
        for has_turn in (self.is_chief, not self.is_chief):
            with self.together():
                if has_turn:
                    results.append(function())
        return results[0]

    def compare(self, facts: Mapping[str, str]) -> None:
        """Check that facts, named as in an error, are the same on all workers.

        Raises:
          UserError: workers differ; says in what, and which.
        """
        ours, *others = self.gather(dict(facts))
        lines = [
            f"  {_names(self._tasks, [index])} has other {name}{_values(theirs[name], ours[name])}"
            for index, theirs in enumerate(others, start=1)
            for name in ours
            if theirs[name] != ours[name]
        ]
        if lines:
            advice = "give all workers the same command, data and packages"
            raise UserError("\n".join(["the workers differ:", *lines, advice]))

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait for what another worker has written to be seen here; return whether it is."""
        end = time.monotonic() + (_VISIBLE_WITHIN if self.count > 1 else 0.0)
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return True

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Run the body, which works with the others.

        Raises:
          TryAgainError: another worker is missing; names it.
        """
        try:
            yield
        except tf.errors.OpError as error:
            if self.count == 1 or not is_of_another_worker(error):
                raise
            raise TryAgainError(
                f"{self._missing(error)}: training stops; give the same command again on all "
                "workers to resume",
                stay=_LINGER,
            ) from error

    def _missing(self, error: tf.errors.OpError) -> str:
        """Return which workers are missing, and how."""
        message, how = error.message, "has ended, or its machine can't be reached"
        if isinstance(error, tf.errors.DeadlineExceededError):
            message = self._barrier_error()
            within = f"within {self._timeout:.0f} s (--worker_timeout)"
            if not message:
                return f"the workers, though all are running, did not meet {within}"
            how = f"has not come {within}"
        elif "heartbeats" in message:
            how = "does not answer"
        found = {
            index
            for index, task in enumerate(self._tasks)
            if re.search(rf"/job:{task.job}/(replica:0/)?task:{task.number}\b", message)
        }
        # The chief is the one who knows of all: without it errors have no names.
        missing = sorted(found - {self.index}) or [0] * (not self.is_chief)
        return f"{_names(self._tasks, missing) or 'a worker'} {how}"

    def _barrier_error(self) -> str:
        """Return TensorFlow's message about the workers that do not come to a barrier."""
        # No public function tells who is missing.
        from tensorflow.python.eager import context

        try:
            context.context().wait_at_barrier("sat_tf_missing", int(1000 * _ASSEMBLE))
        except tf.errors.OpError as error:
            return error.message
        return ""


ALONE = Workers()


def join_workers(cluster: str, timeout: float) -> Workers:
    """Join the other workers of a run; wait until all are there.

    To be called before anything else of TensorFlow, which says so otherwise.

    Args:
      cluster: see `sat_tf.cluster.find_workers`.
      timeout: seconds that a worker waits for the others later.

    Raises:
      UserError: the cluster is not described as it should be.
      TryAgainError: the others do not come.
    """
    tasks, index = find_workers(cluster)
    if len(tasks) < 2:
        return Workers()
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=timeout)
    with activity(f"worker {index}: waiting for all {len(tasks)} workers"):
        _meet(tasks, index, timeout)
        # Nothing interrupts the strategy while it waits: the process is killed after that time.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(math.ceil(timeout))
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
        except tf.errors.OpError as error:
            raise TryAgainError(f"the workers have not come together: {reason(error)}") from error
        finally:
            signal.alarm(0)
    return Workers(strategy, tasks, index, timeout)


def _meet(tasks: Sequence[Task], index: int, seconds: float) -> None:
    """Wait until all workers take connections, as this one does meanwhile.

    TensorFlow would wait for them without a limit, and nothing could interrupt it.

    Raises:
      TryAgainError: some have not come, or this worker's port is in use.
    """
    port = int(tasks[index].address.rpartition(":")[2])
    try:
        listener = socket.create_server(("", port))
    except OSError as error:
        message = f"port {port} of worker {index}, this one, can't be used: {error.strerror}"
        raise TryAgainError(message) from None
    absent, end = set(range(len(tasks))) - {index}, time.monotonic() + seconds
    with listener:
        while absent := {i for i in absent if not _listens(tasks[i].address)}:
            if time.monotonic() > end:
                raise TryAgainError(
                    f"{_names(tasks, sorted(absent))} did not come within {seconds:.0f} s "
                    "(--worker_timeout): start all workers"
                )
            time.sleep(0.5)


def _listens(address: str) -> bool:
    """Return whether a process takes connections at "host:port"."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def is_of_another_worker(error: tf.errors.OpError) -> bool:
    """Return whether an error says that another worker is missing."""
    return isinstance(error, _LOST) or "Collective ops is aborted" in error.message


def _names(tasks: Sequence[Task], indices: Sequence[int]) -> str:
    """Return what errors call workers."""
    return " and ".join(f"worker {index} ({tasks[index].address})" for index in indices)


def _values(theirs: str, ours: str) -> str:
    """Return two values that differ, unless they are long, as digests are."""
    return f": {theirs}, the chief has {ours}" if max(map(len, (theirs, ours))) < 60 else ""
