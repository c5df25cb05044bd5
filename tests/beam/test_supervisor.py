"""Processes that die, and what is left of them."""

import os
import subprocess
import sys
import time

import pytest

from sat_tf.beam.supervisor import check_beam_flags, run_in_child
from sat_tf.errors import UserError


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "workers.log"


def test_a_result_comes_back_and_what_is_printed_goes_to_the_log(log):
    assert run_in_child("dying_processes:add", 1, 2, log=log) == {"sum": 3}
    assert log.read_text() == "printed by a worker\n"


def test_a_killed_process_is_none_and_its_workers_end_too(tmp_path, log):
    pid = tmp_path / "pid"
    assert run_in_child("dying_processes:be_killed", pid, log=log) is None
    wait_until(lambda: not is_running(pid.read_text()))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("dying_processes:make_a_mistake", r"^a\.parquet: has lost rows$"),
        ("dying_processes:fail", "^the pipeline failed: RuntimeError: first line$"),
    ],
)
def test_an_error_is_one_line(log, function, message):
    with pytest.raises(UserError, match=message):
        run_in_child(function, log=log)


def test_an_interrupted_command_ends_its_process(tmp_path, log):
    pid = tmp_path / "pid"

    def interrupt():
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_child("dying_processes:wait", pid, log=log, poll=interrupt)
    assert not is_running(pid.read_text())


def test_a_process_ends_with_its_command(tmp_path, log):
    pid = tmp_path / "pid"
    script = tmp_path / "command.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from sat_tf.beam.supervisor import run_in_child\n"
        "if __name__ == '__main__':\n"
        "    pid, log = map(Path, sys.argv[1:])\n"
        "    run_in_child('dying_processes:wait', pid, log=log)\n"
    )
    path = os.pathsep.join(sys.path)
    command = subprocess.Popen(
        [sys.executable, script, pid, log], env={**os.environ, "PYTHONPATH": path}
    )
    wait_until(lambda: pid.exists() and pid.read_text())
    command.kill()
    command.wait()
    wait_until(lambda: not is_running(pid.read_text()))


def test_what_is_no_flag_of_beam_is_rejected(monkeypatch):
    assert check_beam_flags(["--runner=X"]) == ["--runner=X"]
    with pytest.raises(UserError, match=r"unexpected argument 'a\.jpg'"):
        check_beam_flags(["a.jpg"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'sat_tf\[beam\]'"):
        check_beam_flags([])
