"""Several workers: as one, refused where they differ, and resumed bit-exactly after a kill."""

import concurrent.futures
import json
import shutil
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf
import worker_processes
from tiny_run import assert_equal_states, metrics_without_seconds, saved_state

from sat_tf import workers
from sat_tf.cluster import Task
from sat_tf.errors import TryAgainError
from sat_tf.workers import ALONE, Workers, join_workers

TASKS = (Task("chief", 0, "a:1"), Task("worker", 0, "b:1"), Task("worker", 1, "c:1"))


def results(call, count=2):
    """What all workers return; they must end well."""
    outputs = worker_processes.run_workers(call, count)
    assert [status for status, _, _ in outputs] == [0] * count, outputs
    return [json.loads(stdout.splitlines()[-1]) for _, stdout, _ in outputs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of an uninterrupted run."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def both(folder):
    """What the two workers have exchanged, and how they have trained after it."""
    return results(f"exchange(w), p.train(w, {str(folder)!r})")


@pytest.fixture(scope="module")
def exchanged(both):
    return [of_worker[0] for of_worker in both]


@pytest.fixture(scope="module")
def uninterrupted(both):
    return [of_worker[1] for of_worker in both]


@pytest.mark.parametrize("index", [0, 1])
def test_workers_exchange_values(exchanged, index):
    found = exchanged[index]
    assert found["gathered"] == [{"index": 0, "text": ""}, {"index": 1, "text": "x"}]
    assert found["from chief"] == 5
    assert found["any"] == [True, False]
    assert found["shared"] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("index", [0, 1])
def test_an_error_of_one_is_raised_on_all(exchanged, index):
    error = exchanged[index]["one fails"]
    assert error.startswith("worker 1 (127.0.0.1:")
    assert error.endswith("): captions.json: no such file")
    assert exchanged[index]["all fail"] == "captions.json: no such file"


@pytest.mark.parametrize("index", [0, 1])
def test_workers_that_differ_are_refused(exchanged, index):
    first, seed, split, last = exchanged[index]["differ"].splitlines()
    assert first == "the workers differ:"
    assert seed.startswith("  worker 1 (127.0.0.1:")
    assert seed.endswith(") has other --seed: 1, the chief has 0")
    assert split.endswith(") has other dev split")
    assert last.startswith("give all workers the same")
    assert exchanged[index]["agree"] is None


@pytest.mark.parametrize("variant", ["soft", "hard", "self-critical", "trained encoder"])
def test_two_workers_train_as_one(exchanged, alone, variant):
    first, second = (of_worker["steps"][variant] for of_worker in exchanged)
    assert first == second
    for sums, expected in zip(first["sums"], alone[variant]["sums"], strict=True):
        assert sums == pytest.approx(expected, rel=1e-5, abs=1e-5)
    weights = alone[variant]["weights"]
    np.testing.assert_allclose(first["weights"], weights, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def alone():
    """The steps of one worker."""
    return worker_processes.steps(ALONE)


def test_the_chief_alone_writes(uninterrupted, folder):
    chief, other = uninterrupted
    assert chief["finished"] and other["finished"]
    assert chief["losses"] == other["losses"]
    assert chief["saved_at"] == other["saved_at"]  # where both call save
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert len([*(folder / "run" / "tensorboard").iterdir()]) == 1


def test_a_run_of_two_workers_is_that_of_one(uninterrupted, folder, tmp_path):
    chief, _ = uninterrupted
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.copytree(folder / "cache", tmp_path / "cache")
    losses = worker_processes.train(ALONE, tmp_path)["losses"]
    assert chief["losses"] == pytest.approx(losses, rel=1e-5)
    for both in zip(*map(metrics_without_seconds, (folder / "run", tmp_path / "run")), strict=True):
        assert both[0] == pytest.approx(both[1], rel=1e-5, abs=1e-5)
    states = saved_state(folder / "run"), saved_state(tmp_path / "run")
    for name, value in states[0].items():
        # The gradient of the bias of the scores is zero, but for rounding, which Adam enlarges.
        if name.startswith("optimizer") or "Sscore.Sbias" in name:
            continue
        np.testing.assert_allclose(value, states[1][name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_killed_worker_is_named_and_the_run_resumes_bit_exactly(uninterrupted, folder, tmp_path):
    chief, _ = uninterrupted
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.copytree(folder / "cache", tmp_path / "cache")
    first, killed = worker_processes.run_workers(f"train(w, {str(tmp_path)!r}, killed_after=3)")
    assert killed[0] == -9
    assert first[0] == 75
    (error,) = [line for line in first[2].splitlines() if line.startswith("error")]
    assert error.startswith("error: worker 1 (127.0.0.1:")
    assert "same command again on all workers" in error
    assert "Traceback" not in first[2]
    resumed, _ = results(f"train(w, {str(tmp_path)!r})")
    assert resumed["losses"] == chief["losses"][2:]  # saved after 2 steps, before a validation
    assert_equal_states(tmp_path / "run", folder / "run")
    assert metrics_without_seconds(tmp_path / "run") == metrics_without_seconds(folder / "run")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("from remote target /job:worker/replica:0/task:1 while", r"worker 2 \(c:1\) has ended"),
        ("tasks (heartbeats): /job:worker/task:0", r"worker 1 \(b:1\) does not answer"),
        ("Failed to send RPC", r"worker 0 \(a:1\) has ended"),
    ],
)
def test_the_missing_worker_is_named(message, expected):
    group = Workers(tasks=TASKS, index=2 if "task:0" in message else 1)
    error = tf.errors.UnavailableError(None, None, message)
    with pytest.raises(TryAgainError, match=expected), group.watched():
        raise error


def test_own_errors_stay():
    with pytest.raises(tf.errors.ResourceExhaustedError), Workers(tasks=TASKS).watched():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")
    with pytest.raises(tf.errors.UnavailableError), ALONE.watched():
        raise tf.errors.UnavailableError(None, None, "a pipeline's")


def test_one_worker_works_alone(monkeypatch):
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}, "task": task}))
    assert join_workers("tf_config", 5.0).count == 1


def test_absent_workers_are_named():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("", 0)) as own:
        present = f"127.0.0.1:{server.getsockname()[1]}"
        port = own.getsockname()[1]
        own.close()
        addresses = [present, f"127.0.0.1:{port}", "127.0.0.1:1"]
        tasks = [Task("worker", i, address) for i, address in enumerate(addresses)]
        absent = r"^worker 2 \(127.0.0.1:1\) did not come within 0 s \(--worker_timeout\)"
        with pytest.raises(TryAgainError, match=absent):
            workers._meet(tasks, 1, 0.0)
        with pytest.raises(TryAgainError, match=r"^port \d+ of worker 0, this one, can't be used"):
            workers._meet(tasks, 0, 0.0)


def test_workers_meet():
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("", 0)) as second:
        ports = [each.getsockname()[1] for each in (first, second)]
    tasks = [Task("worker", i, f"127.0.0.1:{port}") for i, port in enumerate(ports)]
    both_have_met = threading.Barrier(2)

    def meet(index):
        workers._meet(tasks, index, 20.0)
        with socket.create_server(("", ports[index])):  # as TensorFlow does
            both_have_met.wait(20.0)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert [*pool.map(meet, range(2))] == [None, None]
