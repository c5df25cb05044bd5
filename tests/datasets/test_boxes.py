"""Boxes of a file or folder, attached to records, and the regions of words made of them."""

import numpy as np
import pytest
from box_files import entity, make_entities, make_instances

from sat_tf.config import DataConfig, ImageConfig
from sat_tf.data.images import crop_objects
from sat_tf.data.objects import Box
from sat_tf.data.pipeline import tokenize_captions
from sat_tf.datasets import check_splits, load_splits
from sat_tf.errors import UserError
from sat_tf.vocabulary import Vocabulary

CROP = ImageConfig(image_size=64, shorter_side=64)
STRETCH = ImageConfig(image_size=64, resize="stretch")
DOG = ["[/EN#1/animals A brown dog] ."]
WORDS = [["a", "dog", "runs"]]


@pytest.fixture
def config_of(tmp_path):
    """The settings of a data set with these images of each split, each with one caption."""

    def make(boxes, caption="A dog runs.", **splits):
        lines = ["image,caption,split"]
        for split, names in splits.items():
            for name in names:
                (tmp_path / name).touch()
                lines.append(f"{name},{caption},{split}")
        (tmp_path / "captions.csv").write_text("\n".join(lines))
        return DataConfig(dataset="files", data_dir=str(tmp_path), boxes=str(boxes))

    return make


@pytest.fixture
def dogs(tmp_path):
    """A file with a dog from 50 to 100 across in two images, one 200 pixels wide, one 100."""
    return make_instances(
        tmp_path / "instances.json",
        {"wide.jpg": (100, 200), "square.jpg": (100, 100)},
        [("wide.jpg", "dog", [50, 0, 50, 100]), ("square.jpg", "dog", [50, 0, 50, 100])],
        ["dog"],
    )


def cells(objects, images):
    """The columns, in fourths of the crop, of the object that "dog" mentions."""
    mentions = crop_objects(objects, images).visible_mentions(["a", "dog"], (1, 4))
    return {i: np.flatnonzero(seen.cells).tolist() for i, seen in mentions.items()}


def test_a_crop_shows_the_middle_of_each_image(config_of, dogs):
    config = config_of(dogs, dev=("square.jpg", "wide.jpg", "none.jpg"))
    square, wide, none = (record.objects for record in load_splits(config, ("dev",))["dev"])
    assert none is None
    assert crop_objects(square, CROP).crop == Box(0, 0, 1, 1)
    assert crop_objects(wide, CROP).crop == Box(0, 0.25, 1, 0.75)
    assert (cells(square, CROP), cells(wide, CROP)) == ({1: [2, 3]}, {1: [0, 1]})
    assert (cells(square, STRETCH), cells(wide, STRETCH)) == ({1: [2, 3]}, {1: [1]})


def test_entities_are_found_in_their_folder(config_of, tmp_path):
    make_entities(tmp_path, "7", [entity(["1"], (51, 1, 100, 100))], DOG)
    config = config_of(tmp_path, dev=("8.jpg", "7.jpg"))
    none, known = load_splits(config, ("dev",))["dev"]
    assert none.objects is None
    assert cells(known.objects, CROP) == {1: [0, 1]}


def test_supervision_gets_the_regions_of_words_with_boxes(config_of, dogs):
    """Cells of the crop, at the right word, for images that have boxes, whatever the data set."""
    config = config_of(dogs, train=("wide.jpg", "none.jpg", "square.jpg"))
    records = load_splits(config, ("train",))["train"]
    captions = tokenize_captions(records, Vocabulary.build(WORDS), 0, ((2, 4), CROP))
    assert captions.grid == (2, 4)
    assert [sorted(regions) for regions in captions.regions] == [[1], [], [1]]
    assert captions.regions[0][1].tolist() == [[True, True, False, False]] * 2
    assert captions.regions[2][1].tolist() == [[False, False, True, True]] * 2


def test_supervision_without_boxes_of_a_training_image_is_refused(config_of, dogs):
    config = config_of(dogs, train=("a.jpg",), dev=("wide.jpg",))
    records = load_splits(config, ("train", "dev"))["train"]
    with pytest.raises(UserError, match=r"--boxes has no training image, as 'a\.jpg'"):
        tokenize_captions(records, Vocabulary.build(WORDS), 0, ((2, 4), CROP))


def test_supervision_without_a_word_that_names_an_object_is_refused(config_of, dogs):
    config = config_of(dogs, "A cat.", train=("wide.jpg",))
    records = load_splits(config, ("train",))["train"]
    with pytest.raises(UserError, match="no word of a training caption names an object"):
        tokenize_captions(records, Vocabulary.build(WORDS), 0, ((2, 4), CROP))


def test_boxes_are_read_of_the_splits_that_need_them(config_of, dogs):
    config = config_of(dogs, train=("wide.jpg",), dev=("square.jpg",))
    splits = load_splits(config, ("train", "dev"), objects_for=("dev",))
    assert [bool(splits[split][0].objects) for split in ("train", "dev")] == [False, True]
    nowhere = config_of("nowhere", train=("wide.jpg",))
    assert load_splits(nowhere, ("train",), objects_for=())["train"][0].objects is None


def test_boxes_that_do_not_exist_are_refused(config_of, tmp_path):
    with pytest.raises(UserError, match=r"--boxes=.*: is neither a file .* nor a folder"):
        load_splits(config_of(tmp_path, dev=("a.jpg",)), ("dev",))


@pytest.mark.parametrize(("split", "splits"), [("dev", ("train", "dev")), ("train", ("train",))])
def test_boxes_of_other_images_are_refused(config_of, dogs, split, splits):
    config = config_of(dogs, train=("a.jpg",), dev=("b.jpg",))
    with pytest.raises(UserError, match=rf"has no boxes of the split {split}, as of '[ab]\.jpg'"):
        load_splits(config, splits)
    assert load_splits(config, splits, may_lack_objects=True)[split][0].objects is None


@pytest.mark.parametrize("named", ["{0}/train.json,{0}/val.json", "{0}/ann", "{0}/val.json,{0}"])
def test_boxes_come_in_several_files(config_of, tmp_path, named):
    """COCO has a file for each split; Entities may have the images of one."""
    for split, name in (("train", "1.jpg"), ("val", "2.jpg")):
        document = ({name: (100, 200)}, [(name, "dog", [50, 0, 50, 100])], ["dog"])
        make_instances(tmp_path / f"{split}.json", *document)
        make_instances(tmp_path / "ann" / f"instances_{split}2014.json", *document)
    make_entities(tmp_path, "1", [entity(["1"], (51, 1, 100, 100))], DOG)
    config = config_of(named.format(tmp_path), train=("1.jpg",), dev=("2.jpg",), test=("3.jpg",))
    checked = check_splits(config, ("train", "dev", "test"))
    boxes = {split: checked.records[split][0].objects for split in checked.records}
    assert cells(boxes["train"], CROP) == cells(boxes["dev"], CROP) == {1: [0, 1]}
    assert boxes["test"] is None and not checked.problems
    (note,) = checked.problems.notes
    assert note.endswith(": has no boxes of the split test, as of '3.jpg'")


def test_a_file_of_boxes_may_have_a_comma(config_of, dogs, tmp_path):
    path = dogs.rename(tmp_path / "a,b.json")
    assert load_splits(config_of(path, dev=("wide.jpg",)), ("dev",))["dev"][0].objects


def test_boxes_belong_to_the_file_of_an_image_not_to_its_spelling(config_of, dogs, tmp_path):
    config = config_of(dogs, dev=("WIDE",))
    (tmp_path / "WIDE").rename(tmp_path / "wide.jpg")
    assert load_splits(config, ("dev",))["dev"][0].objects


def test_every_problem_of_captions_and_boxes_is_reported(config_of, tmp_path):
    for name in "78":
        make_entities(tmp_path, name, [entity([], (1, 1, 2, 2))], [])
    config = config_of(tmp_path, dev=("7.jpg", "8.jpg"))
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("\n8.jpg,...,dev")
    with pytest.raises(UserError) as caught:
        load_splits(config, ("dev",))
    assert str(caught.value).startswith("3 problems in ")
    assert "captions.csv:4: the caption of '8.jpg' is empty" in str(caught.value)
    assert "8.xml: object[1]: must have a name" in str(caught.value)


def test_a_check_returns_problems_and_the_objects_that_are_known(config_of, tmp_path):
    make_entities(tmp_path, "7", [entity([], (1, 1, 2, 2))], [])
    make_entities(tmp_path, "8", [entity(["1"], (1, 1, 2, 2))], DOG)
    checked = check_splits(config_of(tmp_path, dev=("7.jpg", "8.jpg")), ("dev",))
    counts = [record.objects and len(record.objects.objects) for record in checked.records["dev"]]
    assert counts == [None, 1]
    assert [p.message for p in checked.problems] == ["must have a name, the number of its chain"]


def test_supervision_needs_boxes_of_the_training_images_alone(config_of, dogs):
    config = config_of(dogs, train=("wide.jpg",), dev=("b.jpg",))
    splits = load_splits(config, ("train", "dev"), may_lack_objects=True)
    assert [bool(splits[split][0].objects) for split in ("train", "dev")] == [True, False]
