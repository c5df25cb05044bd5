"""COCO by tensorflow-datasets, prepared with a few images; errors if it is not available."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sat_tf.config import DataConfig
from sat_tf.data.quiet_tfds import quiet_tfds
from sat_tf.datasets import available_splits, coco_tfds, load_splits
from sat_tf.datasets.coco_tfds import unpacked_folder
from sat_tf.errors import UserError

SPLITS = {"train": "ab", "restval": "c", "val": "d", "test": "e"}


def jpeg(letter):
    file = io.BytesIO()
    Image.fromarray(np.full([8, 8, 3], ord(letter), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def examples(letters):
    for letter in letters:
        captions = [{"id": k, "text": f"Caption {k} of {letter} – é"} for k in range(2)]
        yield (
            letter,
            {
                "image": io.BytesIO(jpeg(letter)),
                # What a record says never leads out of the folder.
                "image/filename": f"{'../' if letter == 'e' else ''}COCO_{letter}.jpg",
                "image/id": ord(letter),
                "objects": [],
                "captions": captions,
            },
        )


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
    """A data set by tfds's own builder, with five images instead of the archives."""
    folder = tmp_path_factory.mktemp("tfds")
    official = tfds.builder_cls("coco_captions")
    generators = {split: examples(letters) for split, letters in SPLITS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(official, "_split_generators", lambda self, manager: generators)
        with quiet_tfds():
            builder = tfds.builder("coco_captions", data_dir=folder)
            builder.download_and_prepare(file_format="tfrecord")
    return folder


def prepare(folder, prepared_once):
    shutil.copytree(prepared_once, folder, dirs_exist_ok=True)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no tfds"))
    monkeypatch.setattr(coco_tfds, "why_unreachable", lambda url: "Name or service not known")


@pytest.mark.parametrize("own_folder", [False, True])
def test_a_prepared_data_set_becomes_files(
    no_network, prepared_once, tmp_path, monkeypatch, own_folder
):
    root = tmp_path / "data"
    root.mkdir()
    prepared = tmp_path / "tensorflow_datasets" if own_folder else root
    prepare(prepared, prepared_once)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    config = DataConfig(dataset="coco", data_dir=str(root))
    assert available_splits(config) == ("train", "dev", "test")
    # From now on the records of tensorflow-datasets are not needed.
    (prepared / "coco_captions").rename(tmp_path / "elsewhere")
    splits = load_splits(config, ("train", "dev", "test"))
    names = {split: {r.image_id for r in records} for split, records in splits.items()}
    assert names == {
        "train": {"COCO_a.jpg", "COCO_b.jpg", "COCO_c.jpg"},
        "dev": {"COCO_d.jpg"},
        "test": {"COCO_e.jpg"},
    }
    (record,) = splits["dev"]
    assert record.captions == ("Caption 0 of d – é", "Caption 1 of d – é")
    with open(record.image, "rb") as file:
        assert file.read() == jpeg("d")


def test_it_is_written_whole_or_not_at_all(no_network, prepared_once, tmp_path, monkeypatch):
    prepare(tmp_path, prepared_once)
    before = set(tmp_path.iterdir())
    dumps, written = json.dumps, []

    def fail_late(line, **arguments):
        written.append(line)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return dumps(line, **arguments)

    monkeypatch.setattr(coco_tfds.json, "dumps", fail_late)
    with pytest.raises(UserError, match="coco_captions_files: can't be written: No space left"):
        unpacked_folder(tmp_path)
    assert set(tmp_path.iterdir()) == before


def test_a_damaged_data_set_is_named(no_network, prepared_once, tmp_path):
    prepare(tmp_path, prepared_once)
    (shard,) = tmp_path.rglob("*-val.tfrecord*")
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"coco_captions/2014/1\.1\.0: can't be read .*delete the"):
        unpacked_folder(tmp_path)
    assert not (tmp_path / "coco_captions_files").exists()


def test_without_a_network_it_fails_at_once(no_network, tmp_path):
    config = DataConfig(dataset="coco", data_dir=str(tmp_path))
    for call in (available_splits, lambda config: load_splits(config, ("dev",))):
        with pytest.raises(UserError) as caught:
            call(config)
        message = str(caught.value)
        assert "holds no COCO (annotations/captions_train2014.json" in message
        assert "images.cocodataset.org can't be reached: Name or service not known" in message
    assert not list(tmp_path.iterdir())


def test_an_unfinished_data_set_is_not_waited_for(no_network, tmp_path):
    (tmp_path / "coco_captions").mkdir()
    with pytest.raises(UserError, match="can't be reached"):
        unpacked_folder(tmp_path)


def test_the_default_folder_is_not_called_a_flag(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))
    (tmp_path / "default" / "coco_captions").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=rf"^{tmp_path}/default: holds no COCO"):
        unpacked_folder(tmp_path / "data")


def test_too_little_room_is_reported_before_a_download(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(coco_tfds, "why_unreachable", lambda url: "")
    monkeypatch.setattr(coco_tfds, "_GIGABYTES", 10**9)
    with pytest.raises(UserError, match="takes 1000000000 GB, of which"):
        unpacked_folder(tmp_path)


@pytest.fixture
def network(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no tfds"))
    monkeypatch.setattr(coco_tfds, "why_unreachable", lambda url: "")
    monkeypatch.setattr(coco_tfds, "_GIGABYTES", 0)


def test_with_a_network_it_is_downloaded(network, tmp_path, monkeypatch, capsys):
    generators = {split: examples(letters) for split, letters in SPLITS.items()}
    official = tfds.builder_cls("coco_captions")
    monkeypatch.setattr(official, "_split_generators", lambda self, manager: generators)
    folder = unpacked_folder(tmp_path)
    assert sorted(path.name for path in (folder / "images").iterdir()) == [
        f"COCO_{letter}.jpg" for letter in "abcde"
    ]
    assert f"no COCO in {tmp_path}: tensorflow-datasets downloads it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionError("broken off"), "broken off"),
        # As tensorflow-datasets raises what TensorFlow's writer does.
        (RuntimeError("Failed to finalize: x-0001; No space left on device"), "No space left"),
    ],
)
def test_a_download_that_breaks_off_is_reported(network, tmp_path, monkeypatch, error, why):
    def break_off(self, manager):
        raise error

    monkeypatch.setattr(tfds.builder_cls("coco_captions"), "_split_generators", break_off)
    with pytest.raises(UserError, match=f"COCO can't be downloaded: {why}"):
        unpacked_folder(tmp_path)
