"""Attention records as documents."""

import base64
import io
import json
import math

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from box_files import make_instances

from sat_tf.config import ImageConfig
from sat_tf.data.images import Thumbnail, resize_and_crop, thumbnail
from sat_tf.data.objects import WHOLE
from sat_tf.data.records import Problems
from sat_tf.datasets.coco import read_instances
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.model.generation import AttentionMaps, Caption
from sat_tf.shapes.judge import scene_objects
from sat_tf.shapes.scenes import draw_scene, make_scene


def caption(words, alphas, log_p=None):
    log_p = np.log(np.full(len(words) + 1, 0.5)) if log_p is None else log_p
    betas = np.linspace(0.1, 0.9, len(words))
    return Caption(tuple(words), log_p, float(log_p.sum()), (AttentionMaps(alphas, betas),))


def hot(rows, columns, *cells):
    alphas = np.full((len(cells), rows, columns), 0.1 / (rows * columns))
    for step, cell in enumerate(cells):
        alphas[step][cell] += 0.9
    return alphas


def test_document_has_captions_and_attention():
    picture = np.zeros((30, 50, 3), np.uint8)
    thumbnail = Thumbnail(picture, (0.0, 0.2, 1.0, 0.8))
    words = ["a", "<b>dog</b>"]
    best = caption(words, hot(3, 5, (0, 1), (2, 4)), np.log([0.5, 0.25, 0.125]))
    other = caption(["a"], hot(3, 5, (1, 1)))
    record = AttentionRecord("x.jpg", thumbnail, (best, other), ("a dog .",), scores={"bleu": 3.0})
    document = json.loads(json.dumps(record.document()))
    assert (document["rows"], document["columns"]) == (3, 5)
    assert document["box"] == [0.0, 0.2, 1.0, 0.8]
    assert document["references"] == ["a dog ."]
    assert document["objects"] == []
    assert document["scores"] == {"bleu": 3.0}
    assert [len(found["words"]) for found in document["captions"]] == [2, 1]
    assert document["captions"][0]["log_probability"] == pytest.approx(math.log(1 / 64))
    word = document["captions"][0]["words"][1]
    assert word["word"] == "<b>dog</b>"
    assert word["probability"] == pytest.approx(0.25)
    assert word["beta"] == pytest.approx(0.9)
    assert word["hit"] is None
    assert [found["content"] for found in document["captions"][0]["words"]] == [False, True]
    cells = np.frombuffer(base64.b64decode(word["alpha"]), np.uint8).reshape(3, 5)
    assert cells[2, 4] == 255
    # Relative to uniform attention, small weights are accurate to 0.02 beside a peak of 13.
    relative = 15 * np.stack([(cells / 255) ** 2 * word["peak"], best.alphas[1]])
    np.testing.assert_allclose(relative[0], relative[1], atol=0.02)
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(document["image"]["jpeg"])))
    assert shown.size == (document["image"]["width"], document["image"]["height"]) == (50, 30)


def test_words_have_objects_and_hits():
    scene = make_scene(0, 3, 64)
    thing = scene.objects[0]
    left, top, right, bottom = thing.box
    cell = int((top + bottom) / 2 / 8), int((left + right) / 2 / 8)
    elsewhere = (7 - cell[0], 7 - cell[1])
    words = ["a", thing.colour, thing.shape]
    found = []
    for attended in (cell, elsewhere):
        alphas = hot(8, 8, (0, 0), (0, 0), attended)
        thumbnail = Thumbnail(draw_scene(scene), WHOLE)
        document = AttentionRecord(
            "s", thumbnail, (caption(words, alphas),), objects=scene_objects(scene)
        ).document()
        assert document["objects"][0] == {
            "name": f"{thing.colour} {thing.shape}",
            "box": [top / 64, left / 64, bottom / 64, right / 64],
        }
        noun = document["captions"][0]["words"][2]
        assert 0 in noun["objects"]
        found.append(noun["hit"])
        assert document["captions"][0]["words"][0]["hit"] is None
    assert found == [True, False]


# The crop of a landscape of 300 x 100 or a portrait of 100 x 300 has 80 x 80 in the middle.
CROP = ImageConfig(image_size=64, shorter_side=80)


@pytest.mark.parametrize(
    ("size", "dog", "cat", "seen"),
    [
        ((100, 300), (110, 10), (20, 20), [0.1, 110 / 300, 0.9, 190 / 300]),
        ((300, 100), (10, 110), (20, 20), [110 / 300, 0.1, 190 / 300, 0.9]),
    ],
)
def test_boxes_are_fractions_of_the_whole_image(tmp_path, size, dog, cat, seen):
    """The dog in the encoder's input and the dog's box in the image match."""
    pixels = np.zeros((*size, 3), np.uint8)
    left, top = dog
    pixels[top : top + 20, left : left + 20] = 255
    found = [("a.png", "dog", [*dog, 20, 20]), ("a.png", "cat", [*cat, 20, 20])]
    boxes = make_instances(tmp_path / "i.json", {"a.png": size}, found, ["dog", "cat"])
    objects = read_instances(boxes, ["a.png"], Problems())["a.png"]

    square = resize_and_crop(tf.constant(pixels), CROP).numpy()[..., 0]
    bright = square.reshape(4, 16, 4, 16).sum(axis=(1, 3))  # of a grid of 4 x 4
    alpha = bright / bright.sum()
    alphas = np.stack([alpha, alpha, alpha[::-1], alpha])
    words = ["a", "dog", "dog", "cat"]
    shown = thumbnail(tf.constant(pixels), CROP)
    document = AttentionRecord("a", shown, [caption(words, alphas)], objects=objects).document()

    assert document["box"] == pytest.approx(seen)
    # The cat is cropped: its box is in the document, but its word has no hit.
    assert [thing["name"] for thing in document["objects"]] == ["dog", "cat"]
    mentions = [(word["objects"], word["hit"]) for word in document["captions"][0]["words"]]
    assert mentions == [([], None), ([0], True), ([0], False), ([], None)]
    jpeg = base64.b64decode(document["image"]["jpeg"])
    height, width, _ = (picture := np.asarray(PIL.Image.open(io.BytesIO(jpeg)))).shape
    sides = np.array(document["objects"][0]["box"]) * [height, width, height, width]
    top, left, bottom, right = sides.round().astype(int)
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(picture[..., 0] > 128, inside)


def test_entropy_is_relative_to_uniform_and_null_without_attention():
    alphas = np.stack([np.full((4, 5), 1 / 20), np.eye(20)[3].reshape(4, 5), np.zeros((4, 5))])
    thumbnail = Thumbnail(np.zeros((8, 8, 3), np.uint8), WHOLE)
    record = AttentionRecord("x", thumbnail, [caption(["one", "two", "three"], alphas)])
    words = record.document()["captions"][0]["words"]
    assert [word["entropy"] for word in words] == [pytest.approx(1), 0, None]
