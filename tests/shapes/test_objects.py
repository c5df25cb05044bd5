"""The objects of a scene, and the words that mention them."""

import dataclasses

import numpy as np
import pytest

from sat_tf.data.objects import Box
from sat_tf.shapes.judge import named_objects, object_boxes, scene_objects
from sat_tf.shapes.scenes import Background, Scene, SceneObject


def thing(shape, box):
    return SceneObject(shape, "red", "small", (0, 0, 0), box)


GROUND = Background("flat", (0, 0, 0), (0, 0, 0), 0.0, 0.2, 0)
SCENE = Scene(64, GROUND, (thing("circle", (8, 0, 24, 16)), thing("star", (40, 48, 56, 64))))


def test_boxes_are_fractions_of_height_and_width():
    assert object_boxes(SCENE) == [Box(0.0, 0.125, 0.25, 0.375), Box(0.75, 0.625, 1.0, 0.875)]


def test_nouns_have_the_region_of_their_object():
    words = ["a", "red", "star", "is", "below", "a", "red", "circle"]
    mentions = scene_objects(SCENE).visible_mentions(words, (4, 8))
    assert sorted(mentions) == [2, 7]
    assert np.argwhere(mentions[7].cells).tolist() == [[0, 1], [0, 2]]


def test_words_that_are_no_caption_name_objects():
    assert [mention.word_index for mention in named_objects(["red", "star", "star"], SCENE)] == [1]
    named = scene_objects(SCENE).mentions(["red", "star", "star", "red", "ring"])
    assert dict(named) == {1: (1,)}  # there is no ring


def test_objects_are_called_by_colour_and_shape():
    circle, star = object_boxes(SCENE)
    assert scene_objects(SCENE).objects == [("red circle", circle), ("red star", star)]


@pytest.mark.parametrize(
    ("crop", "cells"), [(Box(0, 0, 1, 1), [1, 2]), (Box(0, 0, 0.5, 0.5), [2, 3, 4, 5])]
)
def test_a_scene_of_which_a_part_is_seen(crop, cells):
    objects = dataclasses.replace(scene_objects(SCENE), crop=crop)
    seen = objects.visible_mentions(["a", "red", "circle"], (4, 8))[2]
    assert sorted({int(column) for _, column in np.argwhere(seen.cells)}) == cells
