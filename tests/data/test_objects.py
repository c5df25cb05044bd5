"""Boxes as cells of the encoder's grid."""

import numpy as np

from sat_tf.data.objects import Box, NamedBox, ObjectBoxes, cells_inside, intersect


def knows(*boxes, seen):
    objects = [NamedBox("dog", box) for box in boxes]
    return ObjectBoxes(objects, lambda words: {1: range(len(boxes))}, seen)


def regions(*boxes, seen):
    return knows(*boxes, seen=seen).regions(["a", "dog"], (2, 2))


def test_cells_are_those_whose_centre_lies_in_a_box():
    box = Box(0.0, 0.125, 0.25, 0.375)
    assert np.argwhere(cells_inside([box], (4, 8))).tolist() == [[0, 1], [0, 2]]
    both = cells_inside([box, Box(0.75, 0.625, 1.0, 0.875)], (4, 8))
    assert np.argwhere(both).tolist() == [[0, 1], [0, 2], [3, 5], [3, 6]]


def test_edges_through_centres_belong_to_the_upper_left():
    inside = cells_inside([Box(0.125, 0.25, 0.375, 0.75)], (4, 2))
    assert np.argwhere(inside).tolist() == [[0, 0]]


def test_the_grid_lies_over_what_the_encoder_sees():
    # Of a wide image its middle half is seen: centres at 0.3125, 0.4375, 0.5625 and 0.6875.
    seen = Box(0.0, 0.25, 1.0, 0.75)
    inside = cells_inside([Box(0.0, 0.0, 0.5, 0.5)], (2, 4), seen)
    assert np.argwhere(inside).tolist() == [[0, 0], [0, 1]]
    # Of a high one its lower part: centres at 0.625 and 0.875.
    inside = cells_inside([Box(0.5, 0.0, 0.7, 1.0)], (2, 1), Box(0.5, 0.0, 1.0, 1.0))
    assert inside.ravel().tolist() == [True, False]


def test_what_lies_outside_of_what_is_seen_is_not_named():
    seen = Box(0.0, 0.25, 1.0, 0.75)
    assert regions(Box(0, 0, 1, 0.25), Box(0, 0.75, 1, 1), seen=seen) == {}
    assert regions(Box(0.2, 0.4, 0.8, 0.4), seen=seen) == {}  # of no area
    half_seen = knows(Box(0, 0, 1, 0.25), Box(0, 0, 1, 0.5), seen=seen)
    assert half_seen.visible_mentions(["a", "dog"]) == {1: [1]}
    assert half_seen.regions(["a", "dog"], (2, 2))[1].tolist() == [[True, False], [True, False]]


def test_an_object_between_the_centres_is_named_all_the_same():
    small = regions(Box(0.4, 0.4, 0.6, 0.6), seen=Box(0.0, 0.0, 1.0, 1.0))
    assert not small[1].any()


def test_of_a_box_counts_what_lies_inside():
    assert intersect(Box(-0.5, 0.25, 0.5, 2)) == Box(0, 0.25, 0.5, 1)
    assert intersect(Box(0, 0, 0.5, 0.5), Box(0.25, 0.125, 1, 1)) == Box(0.25, 0.125, 0.5, 0.5)
    assert intersect(Box(0.5, 1, 0.75, 2)) is None
    assert intersect(Box(0.5, 0.5, 0.5, 1)) is None
