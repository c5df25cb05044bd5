"""COCO's instances, from tiny documents in its format."""

import pytest
from box_files import boxes_named, instances, make_instances
from caption_files import write_json

from sat_tf.data.objects import Box
from sat_tf.datasets.coco_instances import SYNONYMS, read_instances

CATEGORIES = ["person", "dog", "hot dog", "bus", "sandwich", "knife", "teddy bear", "tie", "puppy"]
LEFT, RIGHT = [0, 0, 50.0, 40], [50, 20, 50, 20.0]
BOXES = {"left": Box(0.0, 0.0, 1.0, 0.5), "right": Box(0.5, 0.5, 1.0, 1.0)}


def named(tmp_path, caption, *objects):
    """What the words of a caption name in an image, as {word index: boxes}."""
    found = [("a.jpg", category, box) for category, box in objects]
    path = make_instances(tmp_path / "i.json", {"a.jpg": (40, 100)}, found, CATEGORIES)
    read = read_instances(path, ["a.jpg"])
    assert read.problems == []
    return boxes_named(read.objects["a.jpg"], caption.split())


def test_a_word_names_all_objects_of_its_category(tmp_path):
    dogs = [("dog", LEFT), ("dog", RIGHT), ("person", RIGHT)]
    both = [BOXES["left"], BOXES["right"]]
    assert named(tmp_path, "a person with dogs", *dogs) == {1: [BOXES["right"]], 3: both}


@pytest.mark.parametrize(
    ("category", "words"),
    [
        ("person", "person people man men woman women child children ladies boys"),
        ("bus", "bus buses"),
        ("sandwich", "sandwich sandwiches"),
        ("knife", "knife knives"),
        ("tie", "tie ties"),
        ("puppy", "puppy puppies"),
    ],
)
def test_names_plurals_and_synonyms(tmp_path, category, words):
    found = named(tmp_path, words, (category, LEFT), ("hot dog", RIGHT))
    assert list(found) == list(range(len(words.split())))
    assert all(boxes == [BOXES["left"]] for boxes in found.values())


def test_the_longest_name_counts(tmp_path):
    caption = "a hot dog and a dog and hot dogs and a teddy bear"
    assert named(tmp_path, caption, ("dog", LEFT)) == {5: [BOXES["left"]]}
    assert named(tmp_path, caption, ("hot dog", LEFT)) == {2: [BOXES["left"]], 8: [BOXES["left"]]}
    assert named(tmp_path, caption, ("teddy bear", LEFT)) == {12: [BOXES["left"]]}
    assert named(tmp_path, "dog", ("dog", LEFT)) == {0: [BOXES["left"]]}


def test_what_is_not_there_is_not_named(tmp_path):
    assert named(tmp_path, "a person and a dog in a park") == {}


def test_a_name_goes_before_a_synonym(tmp_path):
    found = [("a.jpg", "person", LEFT), ("a.jpg", "man", RIGHT)]
    path = make_instances(tmp_path / "i.json", {"a.jpg": (40, 100)}, found, ["man", "person"])
    read = read_instances(path, ["a.jpg"])
    assert boxes_named(read.objects["a.jpg"], ["man"]) == {0: [BOXES["right"]]}


def test_each_synonym_is_of_one_category():
    words = [word for listed in SYNONYMS.values() for word in listed.split()]
    assert len(words) == len(set(words))


def test_images_are_found_by_their_names(tmp_path):
    sizes = {"a.jpg": (40, 100), "b.jpg": (7, 5)}
    path = make_instances(tmp_path / "i.json", sizes, [("b.jpg", "dog", [0, 0, 5, 7])], CATEGORIES)
    read = read_instances(path, ["val2014/b.jpg", "c.jpg"])
    assert list(read.objects) == ["val2014/b.jpg"]
    image = read.objects["val2014/b.jpg"]
    assert (image.height, image.width) == (7, 5)
    assert image.objects == [("dog", Box(0, 0, 1, 1))]
    assert boxes_named(image, ["dog"]) == {0: [Box(0, 0, 1, 1)]}


def test_objects_of_no_area_are_published_and_are_no_fault(tmp_path):
    objects = [("dog", [10, 10, 5, 0]), ("dog", LEFT)]
    assert named(tmp_path, "dog", *objects) == {0: [BOXES["left"]]}


def test_boxes_end_where_the_image_does(tmp_path):
    objects = [("dog", [50, 20, 70, 30]), ("dog", [100, 0, 5, 5])]
    assert named(tmp_path, "dog", *objects) == {0: [BOXES["right"]]}


@pytest.mark.parametrize(
    ("key", "change", "complaint"),
    [
        ("images", {"height": 0}, "images[0]: must have id, file_name"),
        ("images", {"width": "5"}, "images[0]: must have id, file_name"),
        ("images", {"width": 10**400}, "images[0]: must have id, file_name"),
        ("images", {"file_name": None}, "images[0]: must have id, file_name"),
        ("annotations", {"image_id": 99}, "annotations[0]: image_id 99 is that of no image"),
        ("annotations", {"image_id": []}, "annotations[0]: image_id [] is that of no image"),
        ("annotations", {"category_id": 99}, "annotations[0]: category_id 99 is that of no"),
        ("annotations", {"bbox": [1, 2, 3]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, -4]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, "4"]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, 10**400]}, "annotations[0]: must have bbox"),
        ("categories", {"name": ""}, "categories[0]: must have id"),
        ("categories", {"id": 2}, "categories[1]: has the id of 'person', 2"),
    ],
)
def test_what_is_malformed_is_told_with_its_place(tmp_path, key, change, complaint):
    document = instances(
        {"a.jpg": (40, 100), "b.jpg": (4, 10)}, [("b.jpg", "dog", LEFT)], ["person", "dog"]
    )
    document[key][0] |= change
    path = write_json(tmp_path / "i.json", document)
    told = [f"{p.location}: {p.what}" for p in read_instances(path, ["b.jpg"]).problems]
    assert told[0].startswith(f"{path}: {complaint}")


def test_two_images_of_an_id_are_told(tmp_path):
    document = instances({"a.jpg": (40, 100), "b.jpg": (4, 10)}, [], ["dog"])
    document["images"][1]["id"] = document["images"][0]["id"]
    (problem,) = read_instances(write_json(tmp_path / "i.json", document), []).problems
    assert problem.what == "has the id of 'a.jpg', 10"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ('{"images": []}', "must have id")],
)
def test_other_documents_are_told(tmp_path, content, complaint):
    path = tmp_path / "i.json"
    path.write_text(content)
    read = read_instances(path, ["a.jpg"])
    assert read.objects == {}
    assert complaint in read.problems[0].what
