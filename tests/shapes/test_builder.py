"""The builder of the embedded data set: what it stores, and what it does with what is there."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sat_tf.config import DataConfig
from sat_tf.errors import UserError
from sat_tf.shapes import builder
from sat_tf.shapes.builder import (
    ShapesCaptions,
    ShapesConfig,
    load_shapes,
    make_splits,
    scene_content,
)
from sat_tf.shapes.judge import judge
from sat_tf.shapes.scenes import COLOURS, SHAPES, SIZES, Scene, draw_scene
from sat_tf.vocabulary import tokenize

SPLITS = {"train": 40, "dev": 8, "test": 12}
CONFIG = ShapesConfig(name="tiny", **SPLITS, size=48, seed=3)


def settings_in(folder):
    return DataConfig(
        data_dir=str(folder),
        shapes_train=40,
        shapes_dev=8,
        shapes_test=12,
        shapes_size=48,
        shapes_seed=3,
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Config whose data set is on disk."""
    made = settings_in(tmp_path_factory.mktemp("shapes"))
    load_shapes(made, "dev")
    return made


def folder_of(config):
    (folder,) = Path(config.data_dir, ShapesCaptions.name).glob("*/1.0.0")
    return folder


def test_no_scene_is_in_two_splits():
    splits = make_splits(dataclasses.replace(CONFIG, train=4000, dev=1500, test=1500))
    contents = {
        split: {scene_content(scene) for _, scene in scenes} for split, scenes in splits.items()
    }
    assert contents["train"].isdisjoint(contents["test"] | contents["dev"])
    assert contents["dev"].isdisjoint(contents["test"])
    # Some scenes had to be left out for that: else this test would show nothing.
    last = max(index for scenes in splits.values() for index, _ in scenes)
    assert last + 1 > 4000 + 1500 + 1500


def test_a_scene_s_content_leaves_out_background_and_order():
    (_, scene), *_ = [pair for pair in make_splits(CONFIG)["train"] if len(pair[1].objects) > 1]
    (_, other), *_ = make_splits(CONFIG)["test"]
    twin = Scene(scene.size, other.background, scene.objects[::-1])
    assert scene_content(twin) == scene_content(scene)
    assert scene_content(other) != scene_content(scene)


def test_scored_splits_stay_when_training_grows():
    small, large = make_splits(CONFIG), make_splits(dataclasses.replace(CONFIG, train=80))
    assert {split: len(scenes) for split, scenes in small.items()} == SPLITS
    assert small["test"] == large["test"]
    assert small["dev"] == large["dev"]
    assert small["train"] == large["train"][:40]


def test_records_hold_image_captions_and_scene(config):
    ids = []
    for split, count in SPLITS.items():
        records = load_shapes(config, split)
        assert len(records) == count
        ids += [record.image_id for record in records]
        for record in records:
            pixels = np.asarray(Image.open(io.BytesIO(record.image)))
            np.testing.assert_array_equal(pixels, draw_scene(record.objects.scene))
            assert len(set(record.captions)) == 5
            assert all(judge(tokenize(text), record.objects.scene).true for text in record.captions)
    assert len(set(ids)) == len(ids)


def test_the_same_seed_draws_the_same_data_set(config, tmp_path):
    again = settings_in(tmp_path)
    assert load_shapes(again, "test") == load_shapes(config, "test")
    other = dataclasses.replace(again, shapes_seed=4)
    assert load_shapes(other, "test") != load_shapes(config, "test")
    # The second did not replace the first.
    assert load_shapes(again, "test") == load_shapes(config, "test")


def test_the_builder_stores_boxes_and_mentions(config):
    builder = tfds.builder_from_directory(folder_of(config))
    mentioned = 0
    for example in tfds.as_numpy(builder.as_dataset(split="train")):
        scene = Scene.from_json(example["scene"])
        objects, mentions = example["objects"], example["mentions"]
        for number, thing in enumerate(scene.objects):
            left, top, right, bottom = thing.box
            np.testing.assert_allclose(
                objects["bbox"][number] * scene.size, [top, left, bottom, right], rtol=1e-5
            )
            assert SHAPES[objects["shape"][number]] == thing.shape
            assert tuple(COLOURS)[objects["colour"][number]] == thing.colour
            assert tuple(SIZES)[objects["size"][number]] == thing.size
        rows = zip(mentions["caption"], mentions["word"], mentions["object"], strict=True)
        for caption, word, number in rows:
            verdict = judge(example["captions"][caption].decode().split(), scene)
            (judged,) = [m for m in verdict.mentions if m.word_index == word]
            assert number in judged.matches
            mentioned += 1
    assert mentioned >= 5 * SPLITS["train"]


def test_it_is_quiet(tmp_path, capfd):
    load_shapes(settings_in(tmp_path), "dev")
    output, errors = capfd.readouterr()
    assert output == ""
    assert "shapes" not in errors


def test_an_interrupted_data_set_is_drawn_again(tmp_path, monkeypatch):
    config = settings_in(tmp_path)

    def interrupt(scene):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "draw_scene", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_shapes(config, "dev")
    assert len(load_shapes(config, "dev")) == 8


def test_an_unfinished_folder_is_not_trusted(config, tmp_path):
    unfinished = settings_in(tmp_path)
    folder = tmp_path / folder_of(config).relative_to(config.data_dir)
    folder.mkdir(parents=True)
    (folder / "shapes_captions-dev.tfrecord-00000-of-00001").write_bytes(b"half")
    assert load_shapes(unfinished, "dev") == load_shapes(config, "dev")


def test_a_damaged_data_set_is_named(tmp_path):
    config = settings_in(tmp_path)
    load_shapes(config, "dev")
    (shard,) = folder_of(config).glob("*-dev.tfrecord*")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"1\.0\.0.*damaged.*delete"):
        load_shapes(config, "dev")
    shard.unlink()
    with pytest.raises(UserError, match=r"1\.0\.0.*damaged.*delete"):
        load_shapes(config, "dev")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--data_dir=.*file"):
        load_shapes(settings_in(tmp_path / "file"), "dev")
