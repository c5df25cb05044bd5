"""From a setting and records to the cells of the objects that words name."""

import numpy as np
import pytest
from box_files import entity, make_entities, make_instances

from sat_tf.config import DataConfig, ImageConfig
from sat_tf.data.objects import Box
from sat_tf.data.records import Record
from sat_tf.datasets.known_objects import check_objects, find_objects
from sat_tf.errors import UserError
from sat_tf.shapes.scenes import Background, Scene, SceneObject

CROP = ImageConfig(image_size=64, shorter_side=64)
SQUASH = ImageConfig(image_size=64, resize="stretch")
NO_BOXES = DataConfig()


def records(*names):
    return [Record(name, f"nowhere/{name}", ("a dog",)) for name in names]


def given(boxes):
    return DataConfig(dataset="files", data_dir="nowhere", boxes=str(boxes))


def dogs(tmp_path):
    """A document of two images, a dog from 50 to 100 across in each, one 200 wide, one 100."""
    return make_instances(
        tmp_path / "instances.json",
        {"wide.jpg": (100, 200), "square.jpg": (100, 100)},
        [("wide.jpg", "dog", [50, 0, 50, 100]), ("square.jpg", "dog", [50, 0, 50, 100])],
        ["dog"],
    )


def cells(known, words=("a", "dog"), grid=(1, 4)):
    return {i: region.ravel().tolist() for i, region in known.regions(words, grid).items()}


def test_a_crop_shows_the_middle_of_each_image(tmp_path):
    names = ("square.jpg", "wide.jpg", "none.jpg")
    square, wide, none = find_objects(records(*names), given(dogs(tmp_path)), CROP)
    assert none is None
    assert square.seen == Box(0, 0, 1, 1)
    assert wide.seen == Box(0, 0.25, 1, 0.75)
    assert cells(square) == {1: [False, False, True, True]}
    assert cells(wide) == {1: [True, True, False, False]}


def test_a_squashed_image_is_seen_whole(tmp_path):
    square, wide = find_objects(records("square.jpg", "wide.jpg"), given(dogs(tmp_path)), SQUASH)
    assert cells(square) == {1: [False, False, True, True]}
    assert cells(wide) == {1: [False, True, False, False]}


def test_entities_are_found_in_their_folder(tmp_path):
    sentences = ["[/EN#1/animals A brown dog] ."]
    make_entities(tmp_path, "7", [entity(["1"], (51, 1, 100, 100))], sentences)
    none, known = find_objects(records("8.jpg", "7.jpg"), given(tmp_path), CROP)
    assert none is None
    assert cells(known) == {1: [True, True, False, False]}


@pytest.mark.parametrize(("images", "column"), [(SQUASH, 1), (ImageConfig(32, shorter_side=64), 0)])
def test_drawn_scenes_know_their_objects(images, column):
    ground = Background("flat", (0, 0, 0), (0, 0, 0), 0.0, 0.2, 0)
    circle = SceneObject("circle", "red", "small", (0, 0, 0), (16, 16, 32, 48))
    record = Record("0", b"", ("a red circle",), Scene(64, ground, (circle,)))
    (known,) = find_objects([record], NO_BOXES, images)
    region = known.regions(["a", "red", "circle"], (4, 4))[2]
    assert np.flatnonzero(region.any(axis=0))[0] == column


def test_without_boxes_nothing_is_known():
    assert find_objects(records("a.jpg"), NO_BOXES, CROP) == [None]
    assert find_objects([], NO_BOXES, CROP) == []


def test_boxes_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--boxes=.*: is neither a file .* nor a folder"):
        find_objects(records("a.jpg"), given(tmp_path), CROP)


def test_boxes_of_other_images_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no boxes of this split's images, as 'a\.jpg'"):
        find_objects(records("a.jpg"), given(dogs(tmp_path)), CROP)


def test_problems_of_all_files_are_told(tmp_path):
    for name in "78":
        make_entities(tmp_path, name, [entity([], (1, 1, 2, 2))], [])
    with pytest.raises(UserError) as caught:
        find_objects(records("7.jpg", "8.jpg"), given(tmp_path), CROP)
    assert str(caught.value).startswith("2 problems in ")
    assert "8.xml: object[1]: must have a name" in str(caught.value)


def test_a_check_hands_over_problems_beside_what_is_known(tmp_path):
    make_entities(tmp_path, "7", [entity([], (1, 1, 2, 2))], [])
    make_entities(tmp_path, "8", [entity(["1"], (1, 1, 2, 2))], ["[/EN#1/animals A dog] ."])
    objects, problems = check_objects(records("7.jpg", "8.jpg"), given(tmp_path), CROP)
    assert [known and len(known.objects) for known in objects] == [None, 1]
    assert [problem.what for problem in problems] == ["must have a name, the number of its chain"]
    assert check_objects(records("9.jpg"), given(tmp_path), CROP) == ([None], [])
