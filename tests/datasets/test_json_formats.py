"""JSON documents of a whole data set -> rows."""

import json

import pytest
from caption_files import coco, karpathy, write_json

from sat_tf.data.records import Problem, Row, describe_problems
from sat_tf.datasets.json_formats import read_coco, read_karpathy
from sat_tf.errors import UserError

NAMES = ["COCO_train2014_a.jpg", "COCO_train2014_b.jpg"]


def read(root, reader, document, **arguments):
    """Rows, and the problems as they are told, without the path."""
    path = root / "document.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        write_json(path, document)
    found = list(reader(path, **arguments))
    problems = describe_problems([one for one in found if isinstance(one, Problem)])
    rows = [one for one in found if isinstance(one, Row)]
    return rows, [problem.replace(f"{root}/document.json", "J") for problem in problems]


def read_coco_in(folder, document):
    return read(folder, read_coco, document, folder="train2014", split="train")


def test_coco_annotations_find_their_images(tmp_path):
    rows, problems = read_coco_in(tmp_path, coco(NAMES))
    assert not problems
    assert [(row.image, row.caption, row.split) for row in rows[:3]] == [
        ("train2014/COCO_train2014_a.jpg", "Caption 0 of a .", "train"),
        ("train2014/COCO_train2014_b.jpg", "Caption 0 of b .", "train"),
        ("train2014/COCO_train2014_a.jpg", "Caption 1 of a .", "train"),
    ]
    assert rows[2].location.at == "annotations[2]"


def test_karpathy_s_images_bring_split_and_sentences(tmp_path):
    document = karpathy({"train": ["x_a.jpg"], "restval": ["x_b.jpg"]}, lambda name: "val2014")
    rows, problems = read(tmp_path, read_karpathy, document)
    assert not problems
    assert [(row.image, row.caption, row.split, row.location.at) for row in rows] == [
        ("val2014/x_a.jpg", "Caption 0 of a .", "train", "images[0].sentences[0]"),
        ("val2014/x_a.jpg", "Caption 1 of a .", "train", "images[0].sentences[1]"),
        ("val2014/x_b.jpg", "Caption 0 of b .", "restval", "images[1].sentences[0]"),
        ("val2014/x_b.jpg", "Caption 1 of b .", "restval", "images[1].sentences[1]"),
    ]
    rows, _ = read(tmp_path, read_karpathy, karpathy({"val": ["c.jpg"]}))
    assert [row.image for row in rows] == ["c.jpg"] * 2


IMAGE = "must have id (a number or text) and file_name (a text)"
CAPTION = "must have image_id (a number or text) and caption (a text)"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("images"), f"J: images: {IMAGE}"),
        (lambda d: d.update(annotations={}), f"J: annotations: {CAPTION}"),
        (lambda d: d["images"].append("c.jpg"), f"J: images[2]: {IMAGE}"),
        (lambda d: d["images"].append({"id": True, "file_name": "c"}), f"J: images[2]: {IMAGE}"),
        (lambda d: d["images"].append({"id": 7, "file_name": ""}), f"J: images[2]: {IMAGE}"),
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
            f"J: images[2]: {NAMES[0]!r} is images[0] already",
        ),
        (lambda d: d["annotations"].append([]), f"J: annotations[4]: {CAPTION}"),
        (
            lambda d: d["annotations"].append({"id": 9, "image_id": 1, "caption": None}),
            f"J: annotations[4]: {CAPTION}",
        ),
        (
            lambda d: d["annotations"].append({"id": 9, "image_id": [1], "caption": "x"}),
            f"J: annotations[4]: {CAPTION}",
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
def test_each_fault_of_coco_s_document_is_named_by_its_entry(tmp_path, change, expected):
    document = coco(NAMES)
    change(document)
    _, problems = read_coco_in(tmp_path, document)
    assert expected in problems


def test_a_fault_of_an_image_is_told_once(tmp_path):
    document = coco(NAMES)
    del document["images"][1]["file_name"]
    rows, problems = read_coco_in(tmp_path, document)
    assert problems == [f"J: images[1]: {IMAGE}"]
    assert len(rows) == 2


def test_without_images_annotations_are_not_told_one_by_one(tmp_path):
    document = coco(NAMES)
    document["images"] = 7
    assert read_coco_in(tmp_path, document) == ([], [f"J: images: {IMAGE}"])


FIELDS = "must have filename and split, and maybe filepath, as texts"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("images"), f"J: images: {FIELDS}"),
        (lambda d: d["images"].append(None), f"J: images[1]: {FIELDS}"),
        (lambda d: d["images"][0].update(filename=7), f"J: images[0]: {FIELDS}"),
        (lambda d: d["images"][0].update(filepath=7), f"J: images[0]: {FIELDS}"),
        (lambda d: d["images"][0].pop("split"), f"J: images[0]: {FIELDS}"),
        (
            lambda d: d["images"].append(dict(d["images"][0])),
            "J: images[1]: 'a.jpg' is images[0] already",
        ),
        (
            lambda d: d["images"][0].update(sentences=[]),
            "J: images[0]: 'a.jpg' has no list of sentences",
        ),
        (
            lambda d: d["images"][0].update(sentences={"raw": "x"}),
            "J: images[0]: 'a.jpg' has no list of sentences",
        ),
        (
            lambda d: d["images"][0]["sentences"].append({"tokens": ["x"]}),
            "J: images[0].sentences[2]: must have raw, a text",
        ),
        (
            lambda d: d["images"][0]["sentences"].append("x"),
            "J: images[0].sentences[2]: must have raw, a text",
        ),
    ],
)
def test_each_fault_of_karpathy_s_document_is_named_by_its_entry(tmp_path, change, expected):
    document = karpathy({"train": ["a.jpg"]})
    change(document)
    _, problems = read(tmp_path, read_karpathy, document)
    assert problems == [expected]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "J: is not a JSON object"),
        (b"", "J:1: is not JSON: Expecting value, column 1"),
        (b'{"images": [\n{"id": }]}', "J:2: is not JSON: Expecting value, column 8"),
        (b'{"images":\n["\xff"]}', "J:2: is not UTF-8 text"),
        (b"[" * 100_000, "J: is not JSON that can be read: "),
        (b'{"a": ' * 100_000, "J: is not JSON that can be read: "),
        (b'{"images": ' + b"1" * 5000 + b"}", "J: is not JSON that can be read: "),
    ],
)
def test_what_is_no_document_is_one_problem(tmp_path, content, expected):
    for reader, arguments in (
        (read_coco, {"folder": "train2014", "split": "train"}),
        (read_karpathy, {}),
    ):
        rows, (problem,) = read(tmp_path, reader, content, **arguments)
        assert not rows
        assert problem.startswith(expected)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    rows, problems = read(
        tmp_path, read_karpathy, json.dumps(karpathy({"val": ["a.jpg"]})).encode("utf-8-sig")
    )
    assert len(rows) == 2 and not problems


def test_a_document_that_can_t_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        list(read_karpathy(tmp_path))
