"""Boxes as cells of the encoder's grid."""

import numpy as np

from sat_tf.data.objects import WHOLE, Box, NamedBox, ObjectBoxes, cells_inside, intersect

WORDS = ["a", "dog"]


def dogs(*boxes, crop=WHOLE):
    """Objects that the second word of any caption mentions."""
    objects = [NamedBox("dog", box) for box in boxes]
    return ObjectBoxes(100, 200, objects, lambda words: {1: range(len(boxes))}, crop=crop)


def test_cells_are_those_whose_centre_lies_in_a_box():
    box = Box(0.0, 0.125, 0.25, 0.375)
    assert np.argwhere(cells_inside([box], (4, 8))).tolist() == [[0, 1], [0, 2]]
    both = cells_inside([box, Box(0.75, 0.625, 1.0, 0.875)], (4, 8))
    assert np.argwhere(both).tolist() == [[0, 1], [0, 2], [3, 5], [3, 6]]


def test_edges_through_centres_belong_to_the_upper_left():
    inside = cells_inside([Box(0.125, 0.25, 0.375, 0.75)], (4, 2))
    assert np.argwhere(inside).tolist() == [[0, 0]]


def test_the_grid_covers_the_crop():
    # The middle half of a wide image: centres at 0.3125, 0.4375, 0.5625 and 0.6875.
    crop = Box(0.0, 0.25, 1.0, 0.75)
    inside = cells_inside([Box(0.0, 0.0, 0.5, 0.5)], (2, 4), crop)
    assert np.argwhere(inside).tolist() == [[0, 0], [0, 1]]
    # The lower part of a high image: centres at 0.625 and 0.875.
    inside = cells_inside([Box(0.5, 0.0, 0.7, 1.0)], (2, 1), Box(0.5, 0.0, 1.0, 1.0))
    assert inside.ravel().tolist() == [True, False]


def test_objects_outside_of_the_crop_are_not_mentioned():
    crop = Box(0.0, 0.25, 1.0, 0.75)
    outside = dogs(Box(0, 0, 1, 0.25), Box(0, 0.75, 1, 1), crop=crop)
    assert outside.visible_mentions(WORDS, (2, 2)) == {}
    without_area = dogs(Box(0.2, 0.4, 0.8, 0.4), crop=crop)
    assert without_area.visible_mentions(WORDS, (2, 2)) == {}
    boxes = Box(0, 0, 1, 0.25), Box(0, 0, 1, 0.7)
    (seen,) = dogs(*boxes, crop=crop).visible_mentions(WORDS, (2, 2)).values()
    assert seen.indices == [1]
    assert seen.cells.tolist() == [[True, True], [True, True]]  # of the whole: the left ones
    (seen,) = dogs(*boxes).visible_mentions(WORDS, (2, 2)).values()
    assert seen.indices == [0, 1]


def test_an_object_between_the_centres_is_mentioned_without_a_cell():
    (seen,) = dogs(Box(0.4, 0.4, 0.6, 0.6)).visible_mentions(WORDS, (2, 2)).values()
    assert not seen.cells.any()


def test_intersection_of_boxes():
    assert intersect(Box(-0.5, 0.25, 0.5, 2)) == Box(0, 0.25, 0.5, 1)
    assert intersect(Box(0, 0, 0.5, 0.5), Box(0.25, 0.125, 1, 1)) == Box(0.25, 0.125, 0.5, 0.5)
    assert intersect(Box(0.5, 1, 0.75, 2)) is None
    assert intersect(Box(0.5, 0.5, 0.5, 1)) is None
