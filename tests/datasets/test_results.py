"""Captions of other systems in COCO's results format and in text files, and their errors."""

import json

import pytest

from sat_tf.data.records import Problems, Record
from sat_tf.datasets.results import (
    image_ids,
    read_results,
    read_text_results,
    results_document,
)
from sat_tf.datasets.source import coco_id
from sat_tf.errors import UserError

RECORDS = [
    Record("val2014/COCO_val2014_000000000042.jpg", "", ("a dog",), document_id=42),
    Record("000000000007.jpg", "", ("a cat",), document_id=7),
]


def written(tmp_path, entries):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("image_id", "number"),
    [
        ("COCO_val2014_000000391895.jpg", 391895),
        ("train2017/000000000009.jpg", 9),
        ("VizWiz_train_00000000.jpg", None),
        ("IMG_202001011234.jpg", None),
        ("1000268201_693b08cb0e.jpg", None),
        ("dog.jpg", None),
    ],
)
def test_coco_ids_are_in_the_names_of_files(image_id, number):
    assert coco_id(image_id) == number


@pytest.mark.parametrize("ids", [(42, 7), (0, 1), ("a", "b"), ("1.jpg", 0), (None, None)])
def test_what_is_written_is_read_again(tmp_path, ids):
    records = [Record(f"{n}.jpg", "", ("a",), document_id=own) for n, own in enumerate(ids)]
    document = results_document(records, ["one", ""])
    expected = ["0.jpg", "1.jpg"] if ids == (None, None) else [*ids]
    assert [entry["image_id"] for entry in document] == expected
    assert read_results(written(tmp_path, document[::-1]), records) == ["one", ""]


def test_an_id_may_be_text_or_the_name(tmp_path):
    entries = [
        {"image_id": "42", "caption": "one"},
        {"image_id": RECORDS[1].image_id, "caption": "two"},
    ]
    assert read_results(written(tmp_path, entries), RECORDS) == ["one", "two"]


def test_every_wrong_entry_is_named(tmp_path):
    entries = [
        {"image_id": 42, "caption": "one"},
        {"image_id": 43, "caption": "no such image"},
        {"image_id": RECORDS[0].image_id, "caption": "again"},
        {"image_id": 7},
        "nothing",
        {"image_id": [7], "caption": "a list"},
    ]
    with pytest.raises(UserError) as caught:
        read_results(written(tmp_path, entries), RECORDS)
    message = str(caught.value)
    assert "[1]: image_id 43 is no image of the split, as 42 is" in message
    assert "[2]: " in message and "has a caption already" in message
    assert "[3]: must have caption (a text)" in message
    assert "[4]: must have caption (a text)" in message
    assert "[5]: image_id [7] is no image" in message
    assert "[0]" not in message


def test_an_image_without_caption_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no caption of '000000000007\.jpg'"):
        read_results(written(tmp_path, [{"image_id": 42, "caption": "one"}]), RECORDS)
    with pytest.raises(UserError, match="must be a list"):
        read_results(written(tmp_path, {}), RECORDS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_results_by_other_editors(tmp_path, encoding):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 42, "caption": "Käse"}]), encoding=encoding)
    assert read_results(path, RECORDS[:1]) == ["Käse"]
    texts = [tmp_path / "c.txt", tmp_path / "r.txt"]
    for text in texts:
        text.write_bytes("Käse\r\n\r\nb\r\n".encode(encoding))
    with pytest.raises(UserError, match=r"r\.txt:2: the image has no reference"):
        read_text_results(texts[0], texts[1:])


def lines(tmp_path, **files):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    paths = [tmp_path / name for name in files]
    return read_text_results(paths[0], paths[1:])


def test_line_n_is_of_image_n(tmp_path):
    # U+2028 ends a line for str.splitlines, and for nobody else.
    captions, references = lines(tmp_path, c="a\u2028b\n\nc", r0="x\ny\nz\n", r1="\nyy\n\n")
    assert captions == ["a\u2028b", "", "c"]
    assert references == [("x",), ("y", "yy"), ("z",)]


def test_files_of_other_lengths_are_named(tmp_path):
    with pytest.raises(UserError, match=r"r1: has 1 lines, but .*c has 2"):
        lines(tmp_path, c="a\nb\n", r0="x\ny\n", r1="x\n")


def test_an_image_without_reference_is_named_by_its_line(tmp_path):
    with pytest.raises(UserError, match=r"r0:2: the image has no reference"):
        lines(tmp_path, c="a\nb\n", r0="x\n\n", r1="x\n\n")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt: can't be read: No such file"):
        read_text_results(tmp_path / "none.txt", Problems())


def test_an_id_is_cocos_number_if_all_images_have_one():
    numbered = ["test2014/COCO_test2014_000000000016.jpg", "000000000001.jpg"]
    assert image_ids(numbered) == dict(zip(numbered, (16, 1), strict=True))
    others = ["a.jpg", "20240101123456.jpg", numbered[0]]
    assert image_ids(others) == {path: path for path in others}
    assert image_ids(others[1:2]) == {others[1]: others[1]}  # more digits than COCO's


def test_two_images_of_one_id_are_rejected():
    with pytest.raises(UserError, match=r"b/000000000001.jpg: has the image_id 1 of a/0000"):
        image_ids(["a/000000000001.jpg", "b/000000000001.jpg"])


def test_ids_of_a_list_of_images(tmp_path):
    """Its images alone, all of them; whatever the names are."""
    path = tmp_path / "image_info.json"
    images = [{"id": 7, "file_name": "a.jpg", "height": 3}, {"id": 8, "file_name": "b.jpg"}]
    path.write_text(json.dumps({"info": {}, "images": images, "categories": []}))
    assert image_ids(["x/b.jpg", "x/c.jpg", "x/a.jpg"], str(path)) == {"x/b.jpg": 8, "x/a.jpg": 7}
    with pytest.raises(UserError, match=r"1 of its 2 images are not given, b.jpg"):
        image_ids(["x/a.jpg"], str(path))
    path.write_text(json.dumps({"images": [{"file_name": "a.jpg"}]}))
    with pytest.raises(UserError, match=r"images\[0\]: must have id"):
        image_ids(["x/a.jpg"], str(path))
