"""The document of an inspected image: what the pages draw."""

import base64
import io
import json
import math

import numpy as np
import PIL.Image
import pytest

from sat_tf.captioning import Attention, Caption
from sat_tf.data.images import Photograph
from sat_tf.data.shapes_scenes import draw_scene, make_scene
from sat_tf.inspection.inspections import Inspection, entropy


def caption(words, alphas, log_p=None):
    log_p = np.log(np.full(len(words) + 1, 0.5)) if log_p is None else log_p
    betas = np.linspace(0.1, 0.9, len(words))
    return Caption(tuple(words), log_p, float(log_p.sum()), (Attention(alphas, betas),))


def hot(rows, columns, *cells):
    alphas = np.full((len(cells), rows, columns), 0.1 / (rows * columns))
    for step, cell in enumerate(cells):
        alphas[step][cell] += 0.9
    return alphas


def test_a_document_holds_what_was_found():
    picture = np.zeros((30, 50, 3), np.uint8)
    photograph = Photograph(picture, (0.0, 0.2, 1.0, 0.8))
    words = ["a", "<b>dog</b>"]
    best = caption(words, hot(3, 5, (0, 1), (2, 4)), np.log([0.5, 0.25, 0.125]))
    other = caption(["a"], hot(3, 5, (1, 1)))
    inspection = Inspection("x.jpg", photograph, (best, other), ("a dog .",), scores={"bleu": 3.0})
    document = json.loads(json.dumps(inspection.document()))
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
    cells = np.frombuffer(base64.b64decode(word["alpha"]), np.uint8).reshape(3, 5)
    np.testing.assert_allclose(cells / 255 * word["peak"], best.alphas[1], atol=word["peak"] / 255)
    assert cells[2, 4] == 255
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(document["image"]["jpeg"])))
    assert shown.size == (document["image"]["width"], document["image"]["height"]) == (50, 30)


def test_words_know_their_objects_and_whether_they_hit():
    scene = make_scene(0, 3, 64)
    thing = scene.objects[0]
    left, top, right, bottom = thing.box
    cell = int((top + bottom) / 2 / 8), int((left + right) / 2 / 8)
    elsewhere = (7 - cell[0], 7 - cell[1])
    words = ["a", thing.colour, thing.shape]
    found = []
    for looked in (cell, elsewhere):
        alphas = hot(8, 8, (0, 0), (0, 0), looked)
        photograph = Photograph(draw_scene(scene), (0.0, 0.0, 1.0, 1.0))
        document = Inspection("s", photograph, (caption(words, alphas),), scene=scene).document()
        assert document["objects"][0] == {
            "name": f"{thing.colour} {thing.shape}",
            "box": [top / 64, left / 64, bottom / 64, right / 64],
        }
        noun = document["captions"][0]["words"][2]
        assert 0 in noun["objects"]
        found.append(noun["hit"])
        assert document["captions"][0]["words"][0]["hit"] is None
    assert found == [True, False]


def test_entropy_is_that_of_a_distribution():
    assert entropy(np.full((4, 5), 1 / 20)) == pytest.approx(math.log(20))
    assert entropy(np.eye(1, 9)) == 0
