"""The launcher, with workers that need no TensorFlow."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from command_line import call

from sat_tf import launch
from sat_tf.launch import StopRequests, free_addresses

# Each start appends its environment to a file of the worker.
WORKER = """
import json, os, signal, subprocess, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
with open(f"worker-{index}", "a+") as file:
    file.write(json.dumps(dict(os.environ)) + "\\n")
    file.seek(0)
    start = len(file.readlines())
def kill(number):
    os.kill(os.getpid(), number)
def open_pipe():
    return os.open("pipe", os.O_WRONLY)
def wait():  # for a signal; in parts, as one that comes just before a sleep does not end it
    for _ in range(1200):
        time.sleep(0.05)
"""
# A worker that notices the loss of another one.
TRY_AGAIN = "sys.exit(75)"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The workers' folder; the launcher waits as briefly as it can."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    for name, seconds in {"_POLL": 0.01, "_AFTER_SIGTERM": 0.2, "_LONGEST_PAUSE": 0.01}.items():
        monkeypatch.setattr(launch, name, seconds)
    return tmp_path


def run(body, count=2, max_restarts=0, requests=None):
    """Launch workers that run `body`; return the exit status."""
    command = [sys.executable, "-S", "-c", f"{WORKER}\n{body}"]
    return launch.launch(command, count, max_restarts, requests or StopRequests())


def starts(index):
    """The environments that a worker was started with."""
    return [json.loads(line) for line in Path(f"worker-{index}").read_text().splitlines()]


def open_pipe():
    """The reading end of a pipe that workers can open."""
    os.mkfifo("pipe")
    return os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)


def is_closed(pipe):
    """Whether all processes that had opened the pipe for writing end within some seconds."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(5000))


def wait_until(condition):
    """Wait some seconds at most."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_each_worker_is_told_the_cluster_and_its_place(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    assert run("", count=3) == 0
    environments = [starts(index)[0] for index in range(3)]
    configs = [json.loads(environment["TF_CONFIG"]) for environment in environments]
    assert [config["task"] for config in configs] == [
        {"type": "worker", "index": index} for index in range(3)
    ]
    addresses = configs[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    assert all(config["cluster"] == {"worker": addresses} for config in configs)
    assert {environment["TF_NUM_INTRAOP_THREADS"] for environment in environments} == {"2"}
    assert {environment["OMP_NUM_THREADS"] for environment in environments} == {"5"}


def test_free_addresses_can_be_used():
    for address in free_addresses(3):
        host, port = address.split(":")
        with socket.socket() as server:
            server.bind((host, int(port)))


def test_lines_of_other_workers_start_with_their_number(capfd):
    body = r"print('a\rb'); print('half', file=sys.stderr, end='')"
    assert run(body) == 0
    stdout, stderr = capfd.readouterr()
    # Universal line ends: what is redrawn in place becomes lines.
    assert sorted(stdout.split("\n")) == ["", "[worker 1] a", "[worker 1] b", "a\rb"]
    assert stderr in ("half[worker 1] half\n", "[worker 1] half\nhalf")


def test_lines_come_when_they_are_printed(capfd):
    body = "print('ready'); open_pipe(); wait() if index else sys.exit(0)"
    pipe, requests, read = open_pipe(), StopRequests(), []

    def stop():
        wait_until(lambda: read.append(capfd.readouterr().out) or "[worker 1] ready" in str(read))
        requests.add(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert run(body, requests=requests) == 143
    thread.join()
    assert "[worker 1] ready" in str(read)
    assert is_closed(pipe)


@pytest.mark.parametrize("victim", [0, 1])
def test_all_are_restarted_when_one_is_killed(capfd, victim):
    body = f"""
if start == 1:
    kill(signal.SIGKILL) if index == {victim} else {TRY_AGAIN}
"""
    assert run(body, max_restarts=2) == 0
    assert len(starts(0)) == len(starts(1)) == 2
    message = rf"worker {victim} was killed by signal 9 after \d+ s; restarting all \(1 of 2\)\n"
    assert re.fullmatch(message, capfd.readouterr().err)


def test_restarts_are_counted(capfd):
    assert run(TRY_AGAIN, max_restarts=2) == 75
    assert len(starts(0)) == len(starts(1)) == 3
    lines = capfd.readouterr().err.splitlines()
    assert [line.partition("; ")[2] for line in lines] == [
        "restarting all (1 of 2)",
        "restarting all (2 of 2)",
        "no restart is left of 2",
    ]
    assert all("ended with status 75" in line for line in lines)


@pytest.mark.parametrize("status", [1, 2])
def test_a_mistake_of_the_user_is_not_tried_again(capfd, status):
    """Also if only one worker finds it, and another one notices first that this one is missing."""
    body = f"sys.exit('error: no file') if {status} == 1 and index else sys.exit({status})"
    assert run(body, max_restarts=3) == status
    assert len(starts(0)) == len(starts(1)) == 1
    assert "restart" not in capfd.readouterr().err


def test_a_mistake_counts_more_than_its_consequences():
    body = f"""
if index == 0:
    {TRY_AGAIN}
while not os.path.exists("worker-0"):
    time.sleep(0.01)
sys.exit(1)
"""
    assert run(body, max_restarts=3) == 1


def test_a_frozen_worker_is_killed(capfd, monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.1)
    pipe = open_pipe()
    body = f"""
if index == 1:
    open_pipe()
    open("frozen", "w").close()
    kill(signal.SIGSTOP)
while not os.path.exists("frozen"):
    time.sleep(0.01)
{TRY_AGAIN}
"""
    assert run(body) == 75
    assert is_closed(pipe)
    killing, ended = capfd.readouterr().err.splitlines()
    assert killing == "worker 1 does not end by itself; killing it"
    assert ended.startswith("worker 0 ended with status 75 after")


def test_nothing_that_a_worker_started_is_left():
    pipe = open_pipe()
    body = """
if index == 1:
    descriptor = open_pipe()
    subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    kill(signal.SIGKILL)
"""
    assert run(body) == 75
    assert is_closed(pipe)


def test_a_worker_may_finish_before_another(capfd, monkeypatch):
    """Only a failure ends the others."""
    monkeypatch.setattr(launch, "_GRACE", 0.01)
    body = """
if index == 0:
    while not os.path.exists("worker-1"):
        time.sleep(0.01)
    time.sleep(0.2)
    print("evaluated")
"""
    assert run(body) == 0
    assert capfd.readouterr() == ("evaluated\n", "")


SAVES = """
def save(*_):
    open(f"saved-{index}", "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_workers_save(folder, number):
    (folder / "stand_in.py").write_text(WORKER + SAVES)
    # A shell ignores some signals in what it runs in the background, such as these tests.
    ours = signal.signal(number, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "sat_tf.launch", "--workers=2", "--", "stand_in"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    signal.signal(number, ours)
    assert {process.stdout.readline() for _ in range(2)} == {"ready\n", "[worker 1] ready\n"}
    process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + number
    assert stderr == "stopping; the workers save their state (again: kill them)\n"
    assert Path("saved-0").exists() and Path("saved-1").exists()


def test_a_second_signal_kills(capfd):
    pipe, requests = open_pipe(), StopRequests()
    body = """
signal.signal(signal.SIGTERM, lambda *_: open(f"told-{index}", "w").close())
descriptor = open_pipe()
os.write(descriptor, b"x")
wait()
open("outlived", "w").close()
"""

    def stop():
        ready = b""
        while len(ready) < 2:
            select.select([pipe], [], [], 5)
            ready += os.read(pipe, 2)
        requests.received.append(signal.SIGTERM)
        wait_until(lambda: Path("told-0").exists() and Path("told-1").exists())
        requests.received.append(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert run(body, max_restarts=3, requests=requests) == 143
    thread.join()
    assert is_closed(pipe)
    assert not Path("outlived").exists()
    assert len(starts(0)) == 1


def test_a_signal_that_is_sent_twice_at_once_is_one_request(monkeypatch):
    requests, now = StopRequests(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for now, count in ((100.0, 1), (100.9, 1), (101.1, 2)):  # noqa: B007
        requests.add(signal.SIGTERM)
        assert len(requests.received) == count


def test_a_signal_during_the_pause_starts_nothing(monkeypatch):
    requests, runs = StopRequests(), []

    def fail(*_):
        runs.append(len(runs))
        return types.SimpleNamespace(returncode=75)

    monkeypatch.setattr(launch, "_LONGEST_PAUSE", 60)
    monkeypatch.setattr(launch, "run_workers", fail)
    monkeypatch.setattr(time, "sleep", lambda _: requests.add(signal.SIGINT))
    assert run("", max_restarts=3, requests=requests) == 130
    assert runs == [0]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "nothing to run"),
        (["--", "python", "-m", "sat_tf.train"], "python: no such Python module"),
        (["--", "sat_tf.trian"], "sat_tf.trian: no such Python module"),
        (["--", "--workdir=RUN"], "--workdir=RUN: no such Python module"),
        (["--", ".train"], ".train: no such Python module"),
        (["--", ""], ": no such Python module"),
        (["--workers=0", "--", "sat_tf.train"], "--workers=0"),
        (["--max_restarts=-1", "--", "sat_tf.train"], "--max_restarts=-1"),
    ],
)
def test_a_wrong_command_line_gets_one_line(arguments, what):
    done = call("launch", *arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and what in done.stderr
    assert done.stderr.count("\n") == 1
