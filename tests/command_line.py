"""Run commands: in this process, or as a person does."""

import contextlib
import importlib.util
import io
import os
import runpy
import signal
import subprocess
import sys
import types

import pytest
from absl.flags import FlagValues

from sat_tf import flags


def call(command, *arguments, cwd=None, path="", blocked=()):
    """Run a command in this process, which need not import TensorFlow again.

    Without a PATH, METEOR is left out, whose Java takes seconds. `blocked` modules can't be
    imported.

    Returns:
      `returncode`, `stdout` and `stderr`.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    module = f"sat_tf.{command}"
    status = None
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr(flags, "FLAGS", FlagValues())
        patch.setattr(sys, "argv", [command, *map(str, arguments)])
        patch.setattr(signal, "signal", lambda *_: None)
        patch.setenv("PATH", path)
        # A package stays, whose classes its other modules share.
        is_package = importlib.util.find_spec(module).submodule_search_locations is not None
        executed = f"{module}.__main__" if is_package else module
        patch.delitem(sys.modules, executed, raising=False)
        for name in blocked:
            patch.setitem(sys.modules, name, None)
        if cwd:
            patch.chdir(cwd)
        try:
            runpy.run_module(module, run_name="__main__")
        except SystemExit as finished:
            status = finished.code
    return types.SimpleNamespace(
        returncode=status or 0, stdout=stdout.getvalue(), stderr=stderr.getvalue()
    )


def call_process(command, *arguments, cwd=None):
    """Run a command in a process of its own; returns what `call` does."""
    return subprocess.run(
        [sys.executable, "-m", f"sat_tf.{command}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""},
        timeout=900,
    )
