"""The house as built: who may import whom, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "sat_tf"

# Lowest first; packages of one layer do not import each other.
LAYERS = (
    ("errors", "workdir"),
    ("storage",),
    ("config",),
    ("vocabulary",),
    ("data", "search"),
    ("shapes",),
    ("datasets",),
    ("model",),
    ("captioning",),
    ("metrics",),
    ("evaluator",),
    ("inspection",),
    ("training",),
    ("captioner",),
    ("serving", "importers", "doctor"),
    (
        "train",
        "evaluate",
        "caption",
        "export",
        "extract_features",
        "check_captions",
        "import_arctic",
    ),
)
HEIGHT = {room: height for height, layer in enumerate(LAYERS) for room in layer}
COMMANDS = (*LAYERS[-1], "doctor")
# It stands beside the house: commands alone read it, and it knows the config alone.
FLAGS_MAY_IMPORT = ("config", "errors")
# Names that say nothing of what is inside.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
MOST_LINES = 600

STANDARD_LIBRARY_ALONE = ("errors", "workdir", "storage", "config", "vocabulary")
WITHOUT_TENSORFLOW = (
    *STANDARD_LIBRARY_ALONE,
    "flags",
    "data.records",
    "data.objects",
    "datasets",
    "datasets.coco",
    "datasets.entities",
    "datasets.statistics",
    "datasets.source",
    "shapes.judge",
    "shapes.language",
    "shapes.objects",
    "shapes.scenes",
    "metrics.attention",
    "metrics.bootstrap",
    "metrics.registry",
    "metrics.shapes",
    "metrics.tables",
    "metrics.text",
    "inspection.figures",
    "inspection.tensorboard_plugin",
    "importers.arctic_files",
)


def sources() -> list[Path]:
    """Every file of the package but its front door, which imports upwards when it is asked to."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """The rooms a file imports from, in whatever function or form."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = "sat_tf." * bool(node.level) + (node.module or "")
            names += [f"{package}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("sat_tf.")}


def may_import(room: str, other: str) -> bool:
    if room == "flags":
        return other in FLAGS_MAY_IMPORT
    if other == "flags":
        return room in COMMANDS
    return room == other or HEIGHT[other] < HEIGHT[room]


def test_every_package_has_its_layer():
    assert {room_of(path) for path in sources()} - {"flags"} <= set(HEIGHT)


def test_a_room_imports_only_from_rooms_below():
    upwards = [
        f"{path.relative_to(PACKAGE)} imports sat_tf.{other}"
        for path in sources()
        for other in sorted(imported_rooms(path.read_text(encoding="utf-8")))
        if not may_import(room_of(path), other)
    ]
    assert upwards == []


def test_imports_of_every_form_are_seen():
    source = """
import sat_tf.data.images
from sat_tf import flags, model
from .search import greedy
def late():
    from sat_tf.training.train import train
"""
    assert imported_rooms(source) == {"data", "flags", "model", "search", "training"}


@pytest.mark.parametrize(
    ("room", "other"),
    [
        ("data", "model"),
        ("train", "evaluate"),
        ("captioner", "train"),
        ("model", "flags"),
        ("flags", "data"),
        ("errors", "storage"),
    ],
)
def test_the_rule_refuses(room, other):
    assert not may_import(room, other)


@pytest.mark.parametrize(("room", "other"), [("train", "flags"), ("model", "data"), ("data",) * 2])
def test_the_rule_allows(room, other):
    assert may_import(room, other)


def test_files_are_named_for_what_they_hold():
    assert [path for path in sources() if path.stem in EMPTY_NAMES] == []


def test_no_file_is_too_long():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert [path for path, count in lines.items() if count > MOST_LINES] == []


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (STANDARD_LIBRARY_ALONE, {"numpy", "absl", "tensorflow", "keras"}),
        (WITHOUT_TENSORFLOW, {"tensorflow", "keras", "tensorflow_datasets", "matplotlib.pyplot"}),
    ],
    ids=["standard library alone", "without TensorFlow"],
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
