"""Functions that `run_in_child` calls."""

import os
import signal
import subprocess
import sys
import time

from sat_tf.errors import UserError


def add(one, other):
    print("printed by a worker")
    return {"sum": one + other}


def be_killed(path):
    """Start a process, write its number and be killed."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    path.write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def wait(path):
    path.write_text(str(os.getpid()))
    time.sleep(60)


def make_a_mistake():
    raise UserError("a.parquet: has lost rows")


def fail():
    raise RuntimeError("first line\nsecond line")
