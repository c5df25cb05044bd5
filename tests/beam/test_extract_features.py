"""Features by many workers: those of the ordinary command, in a cache that training reads."""

from pathlib import Path

import numpy as np
import pytest
from command_line import call
from tiny_run import IMAGE_SIZE, tiny_encoder

from sat_tf.beam import extract_features
from sat_tf.beam.pipeline import run_pipeline
from sat_tf.data import feature_cache


@pytest.fixture
def arguments(photographs, tmp_path, monkeypatch):
    """Flags of a data set of the images that can be read and one that is cut off."""
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 3 * (6 * 6 * 5 * 2 + 4))  # three images
    lines = ["image,caption,split"]
    for number, split in enumerate(("train", "train", "dev", "", "dev", "", "train", "", "train")):
        if split or number == 3:
            lines.append(f"{photographs[number]},A dog runs .,{split or 'train'}")
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return [
        *("--dataset=files", f"--data_dir={tmp_path}", f"--captions_file={tmp_path}/captions.csv"),
        *(f"--encoder={tiny_encoder(tmp_path)}", "--preprocessing=none", "--resize=stretch"),
        *(f"--image_size={IMAGE_SIZE}", "--skip_unreadable"),
    ]


@pytest.fixture
def in_process(monkeypatch):
    """Pipelines run in this process; returns the outcomes of the first ones, to be filled."""
    outcomes = []

    def run(_, function, shards, *arguments, log, poll):
        assert function == "encode"
        if outcomes:
            if finished := shards[: outcomes.pop()]:
                run_pipeline(function, finished, *arguments)
            return None
        return run_pipeline(function, shards, *arguments)

    monkeypatch.setattr("sat_tf.beam.supervisor.run_in_child", run)
    return outcomes


def features(folder):
    """The records of all shards by the digest of their image."""
    found = {}
    for path in Path(folder).glob("encoder-*/shard-*.npy"):
        records = np.load(path)
        footer = path.read_bytes()[-32 * len(records) :]
        for row, record in enumerate(records):
            found[footer[32 * row : 32 * row + 32]] = record.tobytes()
    return found


def test_the_cache_is_that_of_the_ordinary_command(arguments, tmp_path, in_process):
    ordinary, bulk = tmp_path / "ordinary", tmp_path / "bulk"
    assert call("extract_features", *arguments, f"--cache_dir={ordinary}").returncode == 0
    in_process += [1]  # part of the first pipeline, which is killed then
    done = call("beam.extract_features", *arguments, f"--cache_dir={bulk}")
    assert done.returncode == 0, done.stderr
    assert "a process died" in done.stderr
    assert "train: features of 4 images are cached" in done.stdout
    assert len(features(bulk)) == 6
    assert features(bulk) == features(ordinary)
    (folder,) = bulk.iterdir()
    assert not (folder / extract_features.WORK).exists()
    # Nothing is left to do, whichever command did it.
    in_process += [0]  # for a pipeline that is not run
    assert call("beam.extract_features", *arguments, f"--cache_dir={ordinary}").returncode == 0
    assert in_process == [0]


def test_processes_that_always_die_end_the_command(arguments, tmp_path, in_process):
    in_process += [0] * 12
    done = call("beam.extract_features", *arguments, f"--cache_dir={tmp_path / 'cache'}")
    assert done.returncode == 1
    assert "10 processes died one after the other" in done.stderr


def test_without_a_cache_there_is_nothing_to_do(arguments):
    done = call("beam.extract_features", *arguments, "--nocache_features")
    assert "--nocache_features leaves nothing to cache" in done.stderr


def test_images_in_memory_become_files(tmp_path):
    manifest = extract_features._divide(tmp_path / "work", ["a.jpg", b"x", b"y"], 2, "")
    paths = [path for shard in range(manifest.num_shards) for path in manifest.inputs_of(shard)]
    assert manifest.num_shards == 2
    assert paths[0] == "a.jpg"
    assert [Path(path).read_bytes() for path in paths[1:]] == [b"x", b"y"]
