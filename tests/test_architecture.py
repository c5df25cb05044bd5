"""Modules that must import quickly. import-linter checks the layers (`make check`)."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sat_tf"
# Names that say nothing about the content.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

STANDARD_LIBRARY_ONLY = ("errors", "storage", "downloads", "config", "vocabulary")
WITHOUT_TENSORFLOW = (
    "flags",
    "data.objects",
    "data.records",
    "datasets",
    "datasets.results",
    "datasets.statistics",
    "shapes.judge",
    "shapes.scenes",
    "metrics.bootstrap",
    "metrics.registry",
    "inspection.figures",
    "inspection.tensorboard_plugin",
    "importers.arctic_files",
)


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (STANDARD_LIBRARY_ONLY, {"numpy", "absl", "tensorflow", "keras"}),
        (WITHOUT_TENSORFLOW, {"tensorflow", "keras", "tensorflow_datasets", "matplotlib.pyplot"}),
    ],
    ids=["standard library only", "without TensorFlow"],
)
def test_light_modules_import_nothing_heavy(modules, heavy):
    imports = "\n".join(f"import sat_tf.{module}" for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\nimport sat_tf, sys\nprint(*sys.modules)"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert heavy & set(done.stdout.split()) == set()


def test_files_are_named_for_their_content():
    assert [path for path in PACKAGE.rglob("*.py") if path.stem in EMPTY_NAMES] == []
