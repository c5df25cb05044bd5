"""The builder of the embedded data set: what it stores, and how it treats existing folders."""

import dataclasses
import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scene_examples import EVERY_WORD

from sat_tf.config import DataConfig
from sat_tf.errors import UserError
from sat_tf.shapes import builder
from sat_tf.shapes.builder import (
    ShapesCaptions,
    describe_scene,
    load_shapes,
    make_splits,
    scene_content,
)
from sat_tf.shapes.judge import judge
from sat_tf.shapes.scenes import COLOURS, SHAPES, SIZES, Scene, draw_scene, make_scene
from sat_tf.vocabulary import tokenize

SPLITS = {"train": 40, "dev": 8, "test": 12}
CONFIG = DataConfig(shapes_train=40, shapes_dev=8, shapes_test=12, shapes_size=48, shapes_seed=3)


def config_in(folder):
    return dataclasses.replace(CONFIG, data_dir=str(folder))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Settings whose data set is on disk."""
    made = config_in(tmp_path_factory.mktemp("shapes"))
    load_shapes(made, "dev")
    return made


def folder_of(config):
    (folder,) = Path(config.data_dir, ShapesCaptions.name).glob("*/1.0.0")
    return folder


def test_scenes_and_captions_of_a_seed_are_the_published_ones():
    """Raise the builder's VERSION before changing these digests."""
    scenes, captions, judgements = (hashlib.sha256() for _ in range(3))
    rng = np.random.default_rng(5)
    words, before = sorted(EVERY_WORD), make_scene(7, 199, 64)
    for index in range(200):
        scene = make_scene(7, index, 64)
        scenes.update(scene.to_json().encode())
        for caption in describe_scene(7, index, scene):
            captions.update(repr((caption.text, rows(caption.mentions))).encode())
            mutated = rng.random(len(caption.words)) < 0.15
            other = rng.integers(len(words), size=len(caption.words))
            text = np.where(mutated, np.array(words)[other], caption.words).tolist()
            for judged in (caption.words, caption.words[:-2], text):
                for seen in (scene, before):
                    found = judge(judged, seen)
                    values = bool(found.kind), found.true, found.kind, rows(found.mentions)
                    judgements.update(repr(values).encode())
        before = scene
    assert [each.hexdigest()[:16] for each in (scenes, captions, judgements)] == [
        "c026dbc3a35636ca",
        "64d5395b585fe8d6",
        "4c8c9ef103e1d4bc",
    ]


def rows(mentions):
    return [(mention.word_index, mention.matches, mention.exists) for mention in mentions]


def test_no_scene_is_in_two_splits():
    splits = make_splits(
        dataclasses.replace(CONFIG, shapes_train=1500, shapes_dev=700, shapes_test=700)
    )
    contents = {
        split: {scene_content(scene) for _, scene in scenes} for split, scenes in splits.items()
    }
    assert contents["train"].isdisjoint(contents["test"] | contents["dev"])
    assert contents["dev"].isdisjoint(contents["test"])
    # Some scenes were left out for that: else this test would show nothing.
    last = max(index for scenes in splits.values() for index, _ in scenes)
    assert last + 1 > 1500 + 700 + 700


def test_scenes_that_differ_in_background_and_order_are_equal():
    (_, scene), *_ = [pair for pair in make_splits(CONFIG)["train"] if len(pair[1].objects) > 1]
    (_, other), *_ = make_splits(CONFIG)["test"]
    twin = Scene(scene.size, other.background, scene.objects[::-1])
    assert scene_content(twin) == scene_content(scene)
    assert scene_content(other) != scene_content(scene)


def test_dev_and_test_do_not_depend_on_the_size_of_train():
    small, large = make_splits(CONFIG), make_splits(dataclasses.replace(CONFIG, shapes_train=80))
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


def test_the_same_seed_gives_the_same_data_set_silently(config, tmp_path, capfd):
    again = config_in(tmp_path)
    assert load_shapes(again, "test") == load_shapes(config, "test")
    output, errors = capfd.readouterr()
    assert output == ""
    assert "shapes" not in errors
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
            judgement = judge(example["captions"][caption].decode().split(), scene)
            (judged,) = [m for m in judgement.mentions if m.word_index == word]
            assert number in judged.matches
            mentioned += 1
    assert mentioned >= 5 * SPLITS["train"]


def test_other_numbers_sizes_or_seeds_have_other_folders(config):
    assert folder_of(config).parent.name == "train40_dev8_test12_size48_seed3"


def test_an_interrupted_data_set_is_generated_again(tmp_path, monkeypatch):
    config = config_in(tmp_path)

    def interrupt(scene, photograph):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "draw_scene", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_shapes(config, "dev")
    assert len(load_shapes(config, "dev")) == 8


def test_an_incomplete_folder_is_not_used(config, tmp_path):
    unfinished = config_in(tmp_path)
    folder = tmp_path / folder_of(config).relative_to(config.data_dir)
    folder.mkdir(parents=True)
    (folder / "shapes_captions-dev.tfrecord-00000-of-00001").write_bytes(b"half")
    assert load_shapes(unfinished, "dev") == load_shapes(config, "dev")


def test_a_damaged_data_set_is_named(config, tmp_path):
    shutil.copytree(config.data_dir, tmp_path, dirs_exist_ok=True)
    config = config_in(tmp_path)
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
        load_shapes(config_in(tmp_path / "file"), "dev")


@pytest.fixture
def photographs(tmp_path):
    """A folder of a red and a green image, of other shapes than a scene's."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.new("RGB", (90, 60), (200, 40, 40)).save(folder / "a.png")
    Image.new("RGB", (30, 40), (40, 200, 40)).save(folder / "b.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_scenes_are_drawn_over_photographs_in_turn(tmp_path, photographs, config):
    over = dataclasses.replace(config_in(tmp_path / "data"), shapes_backgrounds=str(photographs))
    found, plain = load_shapes(over, "dev"), load_shapes(config, "dev")
    assert [record.captions for record in found] == [record.captions for record in plain]
    colours = {(200, 40, 40): 0, (40, 200, 40): 1}
    numbers = [index for index, _ in make_splits(CONFIG)["dev"]]
    for number, record, other in zip(numbers, found, plain, strict=True):
        pixels, drawn = (np.asarray(Image.open(io.BytesIO(r.image))) for r in (record, other))
        assert colours[tuple(pixels[0, 0].tolist())] == number % 2
        assert record.objects.objects == other.objects.objects
        is_object = (pixels == drawn).all(axis=2)
        assert 0.02 < is_object.mean() < 0.5  # the objects, and they alone, are the same


def test_other_photographs_are_another_data_set(tmp_path, photographs):
    over = dataclasses.replace(config_in(tmp_path / "data"), shapes_backgrounds=str(photographs))
    before = load_shapes(over, "dev")
    Image.new("RGB", (31, 41), (40, 40, 200)).save(photographs / "b.png")
    assert [r.image for r in before] != [r.image for r in load_shapes(over, "dev")]


def test_unusable_photographs_are_named(tmp_path, photographs):
    def load(folder):
        return load_shapes(
            dataclasses.replace(config_in(tmp_path / "data"), shapes_backgrounds=str(folder)), "dev"
        )

    for folder in (tmp_path / "none", photographs / "a.png"):
        with pytest.raises(UserError, match=rf"--shapes_backgrounds={folder}: no such folder"):
            load(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--shapes_backgrounds=\S*empty: holds no image"):
        load(tmp_path / "empty")
    (photographs / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^\S*b\.png: can't be read as a photograph"):
        load(photographs)
    (photographs / "b.png").unlink()
    assert len(load(photographs)) == 8
