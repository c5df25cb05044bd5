"""Bulk captions: those of the run, every image once, whatever is killed."""

import json
import os
from pathlib import Path
from unittest import mock

import pyarrow.parquet
import pytest
from command_line import call, call_process
from record_files import write_hugging_face, write_tfrecord

from sat_tf.beam import caption, export_model, pipeline
from sat_tf.beam.manifest import Manifest, open_manifest
from sat_tf.beam.shards import KILLER, Attempts, attempted, finished, verify
from sat_tf.errors import UserError
from sat_tf.storage import LOCK_FILE, exclusive_lock

BROKEN = {3: "is damaged or cut off", 5: "is empty", 7: "is a web page"}


@pytest.fixture
def in_process(monkeypatch):
    """Pipelines run in this process, which loads the model once."""

    def run(function, *arguments, log, poll):
        assert function == "sat_tf.beam.pipeline:run_pipeline"
        counters = pipeline.run_pipeline(*arguments)
        poll()
        return counters

    monkeypatch.setattr("sat_tf.beam.supervisor.run_in_child", run)


def lines(output, kind):
    return [
        json.loads(line)
        for path in sorted(Path(output).glob(f"{kind}-*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def bulk(export_dir, output, *arguments):
    return call("beam.caption", f"--export_dir={export_dir}", f"--output={output}", *arguments)


def test_captions_are_those_of_the_run(captioner, export_dir, photographs, tmp_path, in_process):
    output = tmp_path / "out"
    arguments = [f"--input={os.path.dirname(photographs[0])}", "--num_shards=3"]
    done = bulk(export_dir, output, *arguments)
    assert done.returncode == 1, done.stderr
    assert "3 shards, 10 images read, 7 captioned, 3 broken" in done.stdout
    assert "images without a caption: 3" in done.stderr
    readable = [path for number, path in enumerate(photographs) if number not in BROKEN]
    found = lines(output, "captions")
    assert [line["path"] for line in found] == readable
    for line, expected in zip(found, captioner.caption(readable), strict=True):
        assert line["caption"] == expected.text
        assert line["score"] == pytest.approx(expected.score, abs=1e-3)
        assert line["log_prob"] == pytest.approx(expected.log_prob, abs=1e-3)
        assert line["model"] == caption.model_digest(export_dir)
    assert [line["path"] for line in lines(output, "dead_letters")] == [
        photographs[number] for number in BROKEN
    ]
    for line, expected in zip(lines(output, "dead_letters"), BROKEN.values(), strict=True):
        assert line["reason"].startswith(expected)

    verified = bulk(export_dir, output, "--verify")
    assert verified.stdout.endswith("exactly once: 7 captions, 3 dead letters\n")
    # Finished shards are not touched; one whose commit file is gone is made again, equal.
    shard = output / "captions-00001-of-00003.jsonl"
    before = {path: path.stat().st_mtime_ns for path in output.glob("captions-*")}
    content = shard.read_bytes()
    (output / "done-00001-of-00003.json").unlink()
    again = bulk(export_dir, output, *arguments)
    assert "1 shards, 4 images read" in again.stdout or "1 shards, 3 images read" in again.stdout
    assert shard.read_bytes() == content
    changed = {p for p in before if p.stat().st_mtime_ns != before[p]}
    assert changed == {shard}


@pytest.mark.parametrize(
    ("write", "name"), [(write_tfrecord, "a.tfrecord"), (write_hugging_face, "a.parquet")]
)
def test_records_are_captioned_under_file_and_row(
    export_dir, photographs, tmp_path, in_process, write, name
):
    rows = [(os.path.basename(path), Path(path).read_bytes()) for path in photographs]
    table = write(tmp_path / name, rows)
    done = bulk(
        *(export_dir, tmp_path / "out", f"--input={photographs[0]},{table}", "--num_shards=2"),
        *("--output_format=parquet", "--write_attention"),
    )
    assert done.returncode == 1, done.stderr
    found = [
        row
        for path in sorted((tmp_path / "out").glob("captions-*.parquet"))
        for row in pyarrow.parquet.read_table(path).to_pylist()
    ]
    readable = [number for number in range(10) if number not in BROKEN]
    assert [row["path"] for row in found] == [
        photographs[0],
        *(f"{table}:{number}" for number in readable),
    ]
    assert [row.get("image_id") for row in found[1:]] == [f"{number}.jpg" for number in readable]
    assert found[0]["caption"] == found[1]["caption"]
    for row in found:
        assert len(row["attention"]) == len(row["caption"].split()) + 1
        assert [len(line) for line in row["attention"][0]] == [6] * 6
    assert verify(Manifest.load(tmp_path / "out")) == {"captions": 8, "dead_letters": 3}


def test_a_file_that_has_changed_fails_its_shards_alone(
    export_dir, photographs, tmp_path, in_process
):
    rows = [("", Path(photographs[0]).read_bytes())] * 6
    table = write_hugging_face(tmp_path / "a.parquet", rows)
    arguments = [export_dir, tmp_path / "out", f"--input={table}", "--num_shards=2"]
    assert bulk(*arguments).returncode == 0
    for shard in range(2):
        (tmp_path / "out" / f"done-{shard:05}-of-00002.json").unlink()
    write_hugging_face(table, rows[:4])
    manifest = Manifest.load(tmp_path / "out")
    pipeline.run_pipeline("caption", [0, 1], [], manifest, str(export_dir), 2)
    assert finished(tmp_path / "out") == {0}
    error = Attempts.load(tmp_path / "out", 1).error
    assert error == f"{table}: has lost rows since the manifest was written"


class Killed(BaseException):
    """The end of a process."""


class DyingModel:
    """Captions by name, and dies of some images."""

    def __init__(self, killers=(), broken=()):
        self.killers, self.broken = killers, broken

    def read(self, path):
        if path in self.killers:
            raise Killed
        return path.encode()

    def caption(self, serve, images, attention):
        names = [image.decode() for image in images]
        if {*names} & {*self.broken}:
            raise ValueError("no memory")
        return iter([{"caption": name} for name in names])


@pytest.fixture
def run_with(monkeypatch, tmp_path):
    """Let a model caption in place of pipelines; return the exit status and how many died."""

    def finish(model, num_shards):
        deaths = []

        def run(_, function, shards, beam_flags, *arguments, log, poll):
            try:
                for shard in shards:
                    pipeline.caption(shard, *arguments)
            except Killed:
                deaths.append(shards)
                return None
            poll()
            return {}

        monkeypatch.setattr("sat_tf.beam.supervisor.run_in_child", run)
        monkeypatch.setattr(export_model, "read_image", model.read)
        monkeypatch.setattr(export_model, "_captions", model.caption)
        paths = [f"{number}.jpg" for number in range(200)]
        manifest = open_manifest(
            tmp_path, paths, num_shards, model="", search="", output_format="jsonl", attention=False
        )
        return caption.caption(manifest, "", 8, []), len(deaths)

    return finish


def test_images_that_kill_become_dead_letters_and_no_others(run_with, tmp_path):
    model = DyingModel({"0.jpg", "77.jpg", "78.jpg"})
    status, deaths = run_with(model, 4)
    assert status == 1
    assert {line["path"] for line in lines(tmp_path, "dead_letters")} == model.killers
    assert {line["reason"] for line in lines(tmp_path, "dead_letters")} == {KILLER}
    assert verify(Manifest.load(tmp_path)) == {"captions": 197, "dead_letters": 3}
    assert deaths <= 2 * 3 + 3 * 2  # of two shards as a whole, of three images
    assert not list((tmp_path / "attempts").iterdir())


def test_processes_that_always_die_end_the_command(run_with):
    model = DyingModel({f"{number}.jpg" for number in range(190)})
    with pytest.raises(UserError, match="10 processes died one after the other"):
        run_with(model, 1)


def test_a_stop_condemns_nothing(run_with, tmp_path, monkeypatch, capsys):
    model = DyingModel()
    monkeypatch.setattr(model, "read", mock.Mock(side_effect=KeyboardInterrupt))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_with(model, 4)
    assert capsys.readouterr().err.count("stopped after 0 of 200 images") == 3
    assert [attempts.deaths for attempts in attempted(tmp_path).values()] == [0]
    assert run_with(DyingModel(), 4) == (0, 0)


def test_a_shard_that_fails_is_named_and_the_others_are_finished(run_with, tmp_path):
    with pytest.raises(
        UserError, match="1 of 4 shards failed, the first one 1: ValueError: no memory"
    ):
        run_with(DyingModel(broken={"60.jpg"}), 4)
    assert len(lines(tmp_path, "captions")) == 150
    assert run_with(DyingModel(), 4) == (0, 0)
    assert verify(Manifest.load(tmp_path)) == {"captions": 200, "dead_letters": 0}


def test_mistakes_are_one_line(export_dir, photographs, tmp_path):
    listed = f"--input={photographs[0]}"
    for arguments, message in (
        (["--export_dir=x", listed, "--output=y"], "model_card.json: no such file"),
        ([f"--export_dir={export_dir}", listed], "--output must be given"),
        ([f"--export_dir={export_dir}", f"--output={tmp_path}/y"], "no image given"),
        ([f"--export_dir={export_dir}", listed, f"--output={photographs[0]}"], "is no folder"),
        ([f"--export_dir={export_dir}", listed, "--output=y", "a.jpg"], "unexpected argument"),
        (["--verify", f"--export_dir={export_dir}", "--output=y"], "no such file"),
    ):
        done = call("beam.caption", *arguments, cwd=tmp_path)
        assert done.returncode and len(done.stderr.splitlines()) == 1
        assert message in done.stderr
    with exclusive_lock(tmp_path / LOCK_FILE):
        done = bulk(export_dir, tmp_path, listed)
        assert "another command is writing there" in done.stderr


@pytest.mark.slow
def test_an_image_that_kills_its_worker_in_earnest(export_dir, photographs, tmp_path, monkeypatch):
    """Two worker processes, which a module that Python imports at its start makes mortal."""
    (tmp_path / "sitecustomize.py").write_text(
        "import builtins, os\n"
        "opened = builtins.open\n"
        "def open_or_die(file, *args, **kwargs):\n"
        "    if str(file).endswith('8.jpg'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return opened(file, *args, **kwargs)\n"
        "builtins.open = open_or_die\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.getcwd()]))
    done = call_process(
        "beam.caption",
        *(f"--export_dir={export_dir}", f"--input={','.join(photographs)}"),
        *(f"--output={tmp_path / 'out'}", "--num_shards=3", "--"),
        *("--direct_num_workers=2", "--direct_running_mode=multi_processing"),
    )
    assert done.returncode == 1, done.stderr
    assert "a process died" in done.stderr
    reasons = {line["path"]: line["reason"] for line in lines(tmp_path / "out", "dead_letters")}
    assert [*reasons] == [photographs[number] for number in (3, 5, 7, 8)]
    assert reasons[photographs[8]].startswith("ended its process 2 times")
