"""Where in the image a word's object is."""

import numpy as np

from sat_tf.data.regions import cells_inside, word_regions
from sat_tf.data.shapes_scenes import Background, Scene, SceneObject


def thing(shape, box):
    return SceneObject(shape, "red", "small", (0, 0, 0), box)


GROUND = Background("flat", (0, 0, 0), (0, 0, 0), 0.0, 0.2, 0)
SCENE = Scene(64, GROUND, (thing("circle", (8, 0, 24, 16)), thing("star", (40, 48, 56, 64))))


def test_cells_are_those_whose_centre_lies_in_the_box():
    inside = cells_inside(SCENE, [0], (4, 8))
    assert np.argwhere(inside).tolist() == [[0, 1], [0, 2]]
    both = cells_inside(SCENE, [0, 1], (4, 8))
    assert np.argwhere(both).tolist() == [[0, 1], [0, 2], [3, 5], [3, 6]]


def test_nouns_have_the_region_of_their_object():
    words = ["a", "red", "star", "is", "below", "a", "red", "circle"]
    regions = word_regions(words, SCENE, (4, 8))
    assert regions.shape == (8, 32)
    assert np.flatnonzero(regions.any(axis=1)).tolist() == [2, 7]
    assert np.flatnonzero(regions[7]).tolist() == [1, 2]


def test_words_that_are_no_caption_have_none():
    assert not word_regions(["red", "star", "star"], SCENE, (4, 8)).any()
