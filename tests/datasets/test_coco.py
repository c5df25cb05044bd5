"""COCO's captions and boxes, from tiny documents in its formats."""

import pytest
from box_files import boxes_named, instances, make_instances
from caption_files import coco, read_document, write_json

from sat_tf.data.objects import Box
from sat_tf.data.records import Problems
from sat_tf.datasets.coco import SYNONYMS, read_captions, read_instances

NAMES = ["COCO_train2014_a.jpg", "COCO_train2014_b.jpg"]
ID, NAME = "id (a number or text)", "file_name (a text)"


def read_in(folder, document):
    path = folder / "document.json"
    return read_document(path, read_captions, document)


def test_coco_annotations_find_their_images(tmp_path):
    rows, problems = read_in(tmp_path, coco(NAMES))
    assert not problems
    assert [(row.image, row.caption, row.split) for row in rows[:3]] == [
        ("COCO_train2014_a.jpg", "Caption 0 of a .", ""),
        ("COCO_train2014_b.jpg", "Caption 0 of b .", ""),
        ("COCO_train2014_a.jpg", "Caption 1 of a .", ""),
    ]
    assert rows[2].location.position == "annotations[2]"


@pytest.mark.parametrize("ids", [[0, 1], ["first", "second"], [7, "7"]])
def test_the_id_of_an_image_is_that_of_the_document(tmp_path, ids):
    document = coco(["VizWiz_train_00000000.jpg", "000000000042.jpg"], first=0)
    for entry in document["images"]:
        entry["id"] = ids[entry["id"]]
    for entry in document["annotations"]:
        entry["image_id"] = ids[entry["image_id"]]
    rows, problems = read_in(tmp_path, document)
    assert not problems
    assert [row.document_id for row in rows] == ids * 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("images"), "J: images: is not a list"),
        (lambda d: d.update(annotations={}), "J: annotations: is not a list"),
        (lambda d: d["images"].append("c.jpg"), f"J: images[2]: must have {ID} and {NAME}"),
        (
            lambda d: d["images"].append({"id": True, "file_name": "c"}),
            f"J: images[2]: must have {ID}",
        ),
        (
            lambda d: d["images"].append({"id": 7, "file_name": ""}),
            f"J: images[2]: must have {NAME}",
        ),
        (
            lambda d: d["images"].append({"id": 2, "file_name": "c.jpg"}),
            "J: images[2]: has the id of images[1], 2",
        ),
        (
            lambda d: d["images"].append({"id": 3, "file_name": "c.jpg"}),
            "J: images[2]: 'c.jpg' has no caption in annotations",
        ),
        (
            lambda d: d["images"].append({"id": 3, "file_name": NAMES[0]}),
            f"J: images[2]: has the file_name of images[0], {NAMES[0]!r}",
        ),
        (
            lambda d: d["annotations"].append([]),
            "J: annotations[4]: must have image_id (a number or text) and caption (a text)",
        ),
        (
            lambda d: d["annotations"].append({"id": 9, "image_id": 1, "caption": None}),
            "J: annotations[4]: must have caption (a text)",
        ),
        (
            lambda d: d["annotations"].append({"id": 9, "image_id": [1], "caption": "x"}),
            "J: annotations[4]: must have image_id (a number or text)",
        ),
        (
            lambda d: d["annotations"].append({"id": 9, "image_id": 5, "caption": "x"}),
            "J: annotations[4]: image_id 5 is that of no image",
        ),
        (
            lambda d: d["annotations"].append({"id": 10, "image_id": 1, "caption": "x"}),
            "J: annotations[4]: has the id of annotations[0], 10",
        ),
    ],
)
def test_each_problem_of_a_coco_document_is_named_by_its_entry(tmp_path, change, expected):
    document = coco(NAMES)
    change(document)
    _, problems = read_in(tmp_path, document)
    assert expected in problems


def test_a_fault_of_an_image_is_reported_once(tmp_path):
    document = coco(NAMES)
    del document["images"][1]["file_name"]
    rows, problems = read_in(tmp_path, document)
    assert problems == [f"J: images[1]: must have {NAME}"]
    assert len(rows) == 2
    # Nor is it said of the second of two that it has no caption.
    document = coco(NAMES)
    document["images"].append({"id": 3, "file_name": NAMES[0]})
    _, problems = read_in(tmp_path, document)
    assert problems == [f"J: images[2]: has the file_name of images[0], {NAMES[0]!r}"]


def test_without_images_annotations_are_not_reported_one_by_one(tmp_path):
    document = coco(NAMES)
    document["images"] = 7
    assert read_in(tmp_path, document) == ([], ["J: images: is not a list"])


CATEGORIES = ["person", "dog", "hot dog", "bus", "sandwich", "knife", "teddy bear", "tie", "puppy"]
LEFT, RIGHT = [0, 0, 50.0, 40], [50, 20, 50, 20.0]
BOXES = {"left": Box(0.0, 0.0, 1.0, 0.5), "right": Box(0.5, 0.5, 1.0, 1.0)}


def read(path, *image_ids):
    problems = Problems()
    objects = read_instances(path, image_ids, problems)
    assert problems == []
    return objects


def named(tmp_path, caption, *objects):
    """Return the boxes that the words of a caption mention in an image, by word index."""
    found = [("a.jpg", category, box) for category, box in objects]
    path = make_instances(tmp_path / "i.json", {"a.jpg": (40, 100)}, found, CATEGORIES)
    return boxes_named(read(path, "a.jpg")["a.jpg"], caption.split())


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


def test_a_name_takes_precedence_over_a_synonym(tmp_path):
    found = [("a.jpg", "person", LEFT), ("a.jpg", "man", RIGHT)]
    path = make_instances(tmp_path / "i.json", {"a.jpg": (40, 100)}, found, ["man", "person"])
    assert boxes_named(read(path, "a.jpg")["a.jpg"], ["man"]) == {0: [BOXES["right"]]}


def test_each_synonym_is_of_one_category():
    words = [word for listed in SYNONYMS.values() for word in listed.split()]
    assert len(words) == len(set(words))


def test_images_are_found_by_their_names(tmp_path):
    sizes = {"a.jpg": (40, 100), "b.jpg": (7, 5)}
    path = make_instances(tmp_path / "i.json", sizes, [("b.jpg", "dog", [0, 0, 5, 7])], CATEGORIES)
    objects = read(path, "val2014/b.jpg", "c.jpg")
    assert list(objects) == ["val2014/b.jpg"]
    image = objects["val2014/b.jpg"]
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
        ("images", {"height": 0}, "images[0]: must have height (pixels)"),
        ("images", {"width": "5"}, "images[0]: must have width (pixels)"),
        ("images", {"width": 10**400}, "images[0]: must have width (pixels)"),
        ("images", {"file_name": None}, "images[0]: must have file_name (a text)"),
        ("annotations", {"image_id": 99}, "annotations[0]: image_id 99 is that of no image"),
        ("annotations", {"image_id": []}, "annotations[0]: must have image_id (a number or text)"),
        ("annotations", {"category_id": 99}, "annotations[0]: category_id 99 is that of no"),
        ("annotations", {"bbox": [1, 2, 3]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, -4]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, "4"]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "annotations[0]: must have bbox"),
        ("annotations", {"bbox": [1, 2, 3, 10**400]}, "annotations[0]: must have bbox"),
        ("categories", {"name": ""}, "categories[0]: must have name (a text)"),
        ("categories", {"id": 2}, "categories[1]: has the id of categories[0], 2"),
    ],
)
def test_what_is_malformed_is_reported_with_its_location(tmp_path, key, change, complaint):
    document = instances(
        {"a.jpg": (40, 100), "b.jpg": (4, 10)}, [("b.jpg", "dog", LEFT)], ["person", "dog"]
    )
    document[key][0] |= change
    path = write_json(tmp_path / "i.json", document)
    problems = Problems()
    read_instances(path, ["b.jpg"], problems)
    assert f"{problems[0].location}: {problems[0].message}".startswith(f"{path}: {complaint}")


def test_two_images_with_one_id_are_reported(tmp_path):
    document = instances({"a.jpg": (40, 100), "b.jpg": (4, 10)}, [], ["dog"])
    document["images"][1]["id"] = document["images"][0]["id"]
    problems = Problems()
    read_instances(write_json(tmp_path / "i.json", document), [], problems)
    assert [problem.message for problem in problems] == ["has the id of images[0], 10"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ('{"images": []}', "is not a list")],
)
def test_other_documents_are_reported(tmp_path, content, complaint):
    path = tmp_path / "i.json"
    path.write_text(content)
    problems = Problems()
    assert read_instances(path, ["a.jpg"], problems) == {}
    assert complaint in problems[0].message
