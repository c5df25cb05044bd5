"""The runner and the command: order, errors, skipped checks and exit status."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import call
from planted_faults import assert_fails, check, fork, fork_with_images

from sat_tf.config import Config
from sat_tf.doctor import Status, fail_if, run_context, runner
from sat_tf.doctor.run_context import RunContext
from sat_tf.doctor.runner import CHECKS, run_checks
from sat_tf.vocabulary import Vocabulary


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fail_if_fails_on_values_that_are_not_finite(value):
    result = fail_if(False, "evidence", "advice", share=value, other=1.0)
    assert result.status is Status.FAIL
    assert result.values == {"share": None, "other": 1.0}


def test_checks_after_a_required_one_are_errors(run):
    path = run / "vocabulary.json"
    own = Vocabulary.load(path)
    Vocabulary((*own.words[:3], *reversed(own.words[3:])), own.counts).save(path)
    results = dict(run_checks(RunContext(run, Config.load(run))))
    assert list(results) == list(CHECKS)
    assert_fails(results.pop("files"), "another vocabulary")
    assert {result.status for result in results.values()} == {Status.ERROR}


def test_damaged_metrics_are_an_error(run, monkeypatch):
    names = ("training_curves", "perplexity")
    monkeypatch.setattr(runner, "CHECKS", {name: CHECKS[name] for name in names})
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], "{}", *lines[4:]]))
    for _, result in run_checks(RunContext(run, Config.load(run))):
        assert result.status is Status.ERROR
        assert "metrics.jsonl:4: not a record" in result.evidence


def test_an_unreadable_image_is_an_error(context, photographs, monkeypatch):
    names = ("training_curves", "pixel_range")
    monkeypatch.setattr(runner, "CHECKS", {name: CHECKS[name] for name in names})
    (photographs / "000.png").write_bytes(b"no image")
    results = dict(run_checks(fork(context, data_dir=str(photographs))))
    assert results["training_curves"].status is Status.PASS
    assert results["pixel_range"].status is Status.ERROR
    assert "000.png" in results["pixel_range"].evidence


def test_checks_of_the_training_are_skipped_for_imported_runs(run):
    shutil.rmtree(run / "checkpoints")
    assert check("training_curves", run).status is Status.PASS
    (run / "metrics.jsonl").unlink()
    for name in ("training_curves", "vocabulary", "encoder", "perplexity"):
        assert check(name, run).status is Status.SKIP


def test_rates_of_few_images_are_skipped(context, photographs):
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], *rows[-2:]]) + "\n")
    small = fork_with_images(context, data_dir=str(photographs), cache_dir="none")
    for name in ("channel_order", "caption_diversity", "alignment", "overfit_batch"):
        assert CHECKS[name](small).status is Status.SKIP
    for name in ("pixel_range", "grid_order", "attention"):
        assert CHECKS[name](small).status is Status.PASS


def test_command_passes_on_a_correct_run(squares, context, tmp_path, monkeypatch):
    """It checks a run that is loaded already."""

    def load(workdir, config):
        assert (Path(workdir), config) == (context.workdir, context.config)
        return context

    monkeypatch.setattr(run_context, "RunContext", load)
    output = tmp_path / "results.json"
    done = call("doctor", f"--workdir={squares / 'run'}", f"--output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    assert done.stderr == ""
    document = json.loads(output.read_text())
    assert document["passed"] is True
    assert document["config"]["decoder"]["hidden_size"] == 64
    assert {name: one["status"] for name, one in document["checks"].items()} == {
        name: "pass" for name in CHECKS
    }
    assert document["checks"]["grid_order"]["values"]["rows"] < 0.1


def test_command_fails_on_a_damaged_run(run, tmp_path):
    output = tmp_path / "results.json"
    (run / "encoder.keras").unlink()
    done = call("doctor", f"--workdir={run}", f"--output={output}")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fail: files; error: training_curves, dataset" in done.stdout
    assert "encoder.keras: no such file" in " ".join(done.stdout.split())
    document = json.loads(output.read_text())
    assert document["passed"] is False
    assert document["checks"]["files"]["advice"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--workdir must be given"),
        (["--workdir=none"], "--workdir=none: holds no run"),
        (["--workdir=A,B"], "one run"),
        (["--workdir=none", "--output=/"], "--output=/: is a folder"),
        (["--workdir=none", "--split=dev"], "split"),
    ],
)
def test_wrong_arguments_give_one_line(arguments, message, tmp_path):
    done = call("doctor", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
