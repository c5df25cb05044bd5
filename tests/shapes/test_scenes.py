"""Scenes of the embedded data set: what is drawn is what the scene says."""

import collections
import dataclasses

import numpy as np
import pytest

from sat_tf.shapes.scenes import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    Scene,
    draw_scene,
    make_scene,
)

SCENES = [make_scene(0, index, 64) for index in range(400)]


def test_scenes_are_a_function_of_seed_number_and_size():
    assert make_scene(1, 5, 64) == make_scene(1, 5, 64)
    assert make_scene(1, 5, 64) != make_scene(2, 5, 64)
    assert make_scene(1, 5, 64) != make_scene(1, 6, 64)
    first, second = draw_scene(make_scene(1, 5, 64)), draw_scene(make_scene(1, 5, 64))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("size", [48, 64, 131])
def test_objects_lie_in_the_picture_and_apart(size):
    for index in range(150):
        scene = make_scene(0, index, size)
        covered = np.zeros([size, size], int)
        for thing in scene.objects:
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= size
            assert 0 <= top < bottom <= size
            assert right - left == bottom - top
            least, most = SIZES[thing.size]
            assert least * size - 1 < right - left < most * size + 1
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1
        assert draw_scene(scene).shape == (size, size, 3)


def test_scenes_are_varied():
    counts = collections.Counter(len(scene.objects) for scene in SCENES)
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > len(SCENES) / 8
    things = [thing for scene in SCENES for thing in scene.objects]
    assert {thing.shape for thing in things} == set(SHAPES)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.size for thing in things} == set(SIZES)
    assert {scene.background.kind for scene in SCENES} == set(BACKGROUNDS)


def test_an_object_fills_its_box_and_nothing_else():
    for scene in SCENES[:150]:
        bare = draw_scene(dataclasses.replace(scene, objects=())).astype(int)
        for thing in scene.objects:
            pixels = draw_scene(dataclasses.replace(scene, objects=(thing,))).astype(int)
            rows, columns = np.nonzero(np.abs(pixels - bare).sum(axis=2))
            left, top, right, bottom = thing.box
            # The tips of a smoothed triangle or star may be too faint to change a pixel.
            assert left <= columns.min() <= left + 1
            assert right - 2 <= columns.max() < right
            assert top <= rows.min() <= top + 1
            assert bottom - 2 <= rows.max() < bottom


def test_a_shade_is_nearest_to_its_own_colour():
    for scene in SCENES:
        for thing in scene.objects:
            distances = {
                name: np.linalg.norm(np.subtract(levels, thing.shade))
                for name, levels in COLOURS.items()
            }
            assert min(distances, key=distances.__getitem__) == thing.colour


def test_no_background_hides_an_object():
    for scene in SCENES:
        ground = draw_scene(dataclasses.replace(scene, objects=())).reshape(-1, 3).astype(float)
        for thing in scene.objects:
            assert np.linalg.norm(ground - thing.shade, axis=1).min() > 60


def test_shapes_differ_at_their_smallest():
    def outline(shape):
        model = next(s for s in SCENES if s.background.kind == "flat")
        thing = dataclasses.replace(model.objects[0], shape=shape, box=(10, 10, 23, 23))
        return draw_scene(dataclasses.replace(model, objects=(thing,)))

    drawn = {shape: outline(shape) for shape in SHAPES}
    assert len(drawn) > 1
    for first in SHAPES:
        for second in SHAPES:
            differing = (drawn[first] != drawn[second]).any(axis=2).sum()
            assert first == second or differing > 13 * 13 / 6


def test_a_scene_survives_json():
    for scene in SCENES[:50]:
        again = Scene.from_json(scene.to_json())
        assert again == scene
        assert hash(again) == hash(scene)
