"""The doctor: a healthy run passes clean, and what can't be looked at is told."""

import json
import shutil

import pytest
from planted_faults import FIND, find
from test_commands import call

from sat_tf.config import Config, override
from sat_tf.doctor.results import Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.doctor.runner import CHECKS, examine, is_clean


def test_a_healthy_run_passes_clean(image_batch):
    found = dict(examine(RunContext(image_batch / "run", Config.load(image_batch / "run"))))
    assert list(found) == [check.name for check in CHECKS]
    assert {name: one.evidence for name, one in found.items() if not is_clean(one.verdict)} == {}
    assert all(one.verdict is Status.HEALTHY for one in found.values())


def test_a_record_of_the_training_that_is_damaged(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], "{}", *lines[4:]]))
    found = dict(examine(RunContext(run, Config.load(run))))
    for name in ("training curves", "perplexity"):
        assert found[name].verdict is Status.NOT_CHECKED
        assert "metrics.jsonl:4: is no record" in found[name].evidence


def test_a_run_that_was_not_trained_here_is_not_asked_how_it_was(run):
    shutil.rmtree(run / "checkpoints")
    assert find("training curves", run).verdict is Status.HEALTHY
    (run / "metrics.jsonl").unlink()
    for name in ("training curves", "vocabulary", "encoder", "perplexity"):
        assert find(name, run).verdict is Status.NOT_NEEDED


def test_few_images_are_no_fault(run, photographs):
    """Of shares of few images nothing is said."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], *rows[-2:]]) + "\n")
    changes = {"data_dir": str(photographs), "cache_dir": "none"}
    for name in (
        "channel order",
        "captions alike",
        "images and references",
        "overfits 16 captions",
    ):
        assert find(name, run, **changes).verdict is Status.NOT_NEEDED
    for name in ("pixel range", "grid order", "attention on h"):
        assert find(name, run, **changes).verdict is Status.HEALTHY


def test_an_image_that_can_t_be_read(run, photographs):
    (photographs / "000.png").write_bytes(b"no image")
    config = override(Config.load(run), data_dir=str(photographs))
    found = dict(examine(RunContext(run, config)))
    assert found["pixel range"].verdict is Status.NOT_CHECKED
    assert "000.png" in found["pixel range"].evidence
    assert found["training curves"].verdict is Status.HEALTHY


def test_the_command_says_what_it_found(image_batch, run, tmp_path):
    output = tmp_path / "findings.json"
    done = call("doctor", f"--workdir={image_batch / 'run'}", f"--output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is wrong" in done.stdout
    assert done.stderr == ""
    document = json.loads(output.read_text())
    assert document["healthy"] is True
    assert document["settings"]["decoder"]["hidden_size"] == 64
    assert list(document["findings"]) == list(FIND)
    assert document["findings"]["grid order"]["figures"]["rows"] < 0.1
    (run / "encoder.keras").unlink()
    done = call("doctor", f"--workdir={run}", f"--output={output}")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fault: files of the run; not checked: training curves" in done.stdout
    assert "encoder.keras: no such file" in " ".join(done.stdout.split())
    document = json.loads(output.read_text())
    assert document["healthy"] is False
    assert document["findings"]["files of the run"]["advice"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "--workdir must be given"),
        (["--workdir=none"], "--workdir=none: holds no run"),
        (["--workdir=A,B"], "one run"),
        (["--workdir=none", "--output=/"], "--output=/: is a folder"),
        (["--workdir=none", "--split=dev"], "split"),
    ],
)
def test_a_mistake_gets_one_clear_line(arguments, what, tmp_path):
    done = call("doctor", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
