"""Rows of caption files, and lists of splits, to validated records."""

import json
import os
from pathlib import Path

import pytest
from caption_files import complaint, karpathy, make_images, read, read_document

from sat_tf.config import DataConfig
from sat_tf.data.records import Problems, SourceLocation, describe_problems
from sat_tf.datasets.files import read_json_lines, read_table
from sat_tf.datasets.flickr import read_tokens
from sat_tf.datasets.source import CaptionFile, Row, Source, find_splits, read_karpathy
from sat_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    make_images(tmp_path / "images", "a.jpg", "b.jpg", "sub/c.jpg", "d#1.jpg")
    return tmp_path


CSV = "image,caption,split\na.jpg,A dog,train\nmissing.jpg, .,dev\n"


def test_what_only_concerns_other_splits_does_not_matter(folder):
    records = read(folder, read_table, CSV)
    assert [record.image_id for record in records["train"]] == ["a.jpg"]
    message = complaint(folder, read_table, CSV, ("train", "dev"))
    assert "no such image in images: 'missing.jpg'" in message
    assert "the caption of 'missing.jpg' is empty" in message


def test_a_bad_line_matters_to_every_split(folder):
    message = complaint(folder, read_table, CSV.encode() + b"b.jpg,\xff,dev\nb.jpg,x,devil\n")
    assert "captions.txt:4: is not UTF-8" in message
    assert "captions.txt:5: split 'devil'" in message


def test_a_link_that_leads_nowhere_is_a_missing_image(folder):
    for name, target in (("loop.jpg", "loop.jpg"), ("broken.jpg", "gone.jpg")):
        (folder / "images" / name).symlink_to(target)
    message = complaint(folder, read_tokens, "a.jpg#0\tx\nloop.jpg#0\tx\nbroken.jpg#0\tx\n")
    assert "a.jpg" not in message
    assert "captions.txt:2: no such image in images: 'loop.jpg'" in message
    assert "captions.txt:3: no such image in images: 'broken.jpg'" in message


def test_an_image_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "images: can't be read: Permission denied" in complaint(folder, read_table, CSV)


def row(image, caption="x", split="", line=1):
    return Row(SourceLocation(Path("x.csv"), line), image, caption, split)


def source_of(folder, *rows, **settings):
    """A data set of these rows, with its images in the folder."""
    return Source((CaptionFile(Path("x.csv"), lambda *_: iter(rows)),), folder, **settings)


def problems_of(folder, *rows):
    """The problems of a data set of these rows, all of them for training."""
    return (
        source_of(folder, *rows, default_split=lambda image: "train").validate(("train",)).problems
    )


def test_records_go_without_what_is_wrong_with_them(folder):
    rows = [
        row("a.jpg", "A dog."),
        row("a.jpg", " . "),
        row("b.jpg", "?"),
        row("gone.jpg", "A cat"),
    ]
    source = source_of(folder / "images", *rows, default_split=lambda image: "train")
    records, problems = source.validate(("train",))
    assert [record.captions for record in records["train"]] == [("A dog.",)]
    assert len(problems) == 3


def test_half_a_character_in_a_name_is_one_too(folder):
    text = '{"image": "\\ud800.jpg", "caption": "x"}\n'
    assert "captions.txt:1: holds half a character" in complaint(folder, read_json_lines, text)


def test_restval_is_trained_on(tmp_path):
    rows = [row("a.jpg", split="restval"), row("b.jpg", split="Val"), row("c.jpg", split="test")]
    make_images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    records, _ = source_of(tmp_path, *rows).validate(("train", "dev", "test"))
    assert {split: [record.image_id for record in found] for split, found in records.items()} == {
        "train": ["a.jpg"],
        "dev": ["b.jpg"],
        "test": ["c.jpg"],
    }


@pytest.mark.parametrize("caption", ["\ud800 dog", "a\0dog"])
def test_texts_that_can_t_be_written_are_problems_of_any_format(folder, caption):
    (problem,) = problems_of(folder / "images", row("a.jpg", caption))
    assert problem.message.startswith("holds ")


@pytest.mark.parametrize(
    ("caption", "is_empty"), [("3", False), ("\u0e01", False), ("\u0301", False), ("_ - .", True)]
)
def test_a_caption_is_empty_if_the_tokenizer_finds_no_word(folder, caption, is_empty):
    assert bool(problems_of(folder / "images", row("a.jpg", caption))) == is_empty


def write(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.txt").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )


def divide(folder, splits, *images):
    """Divide images by the lists of a folder: {split: images}, and the problems."""
    make_images(folder, *images)
    config = DataConfig(dataset="files", data_dir=str(folder), splits=str(folder))
    _, lists = find_splits(config, ())
    rows = [row(image, "x", "nonsense", line) for line, image in enumerate(images, start=1)]
    records, problems = source_of(folder, *rows, lists=lists).validate(splits)
    described = [line.replace(f"{folder}/", "") for line in describe_problems(problems)]
    return {s: [record.image_id for record in records[s]] for s in splits}, described


def test_the_first_pattern_that_fits_counts(tmp_path):
    write(tmp_path, train="", coco_train="", coco_restval="", coco_val="", coco_other="")
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    _, found = find_splits(config, ("flickr8k_{}.txt", "coco_{}.txt", "{}.txt"))
    names = {split: [path.name for path in paths] for split, paths in found.items()}
    assert names == {"train": ["coco_train.txt", "coco_restval.txt"], "dev": ["coco_val.txt"]}
    assert find_splits(config, ("none_{}.txt",)) == (None, {})


def test_lists_name_images_with_folder_or_without_and_without_extension(tmp_path):
    write(tmp_path, train="c\nval2014/b.jpg\n", restval="a.jpg\r\n\r\n", val="d.jpg")
    images = ("x/a.jpg", "val2014/b.jpg", "x/c.jpg", "d.jpg", "x/e.jpg")
    expected = {"train": ["x/c.jpg", "val2014/b.jpg", "x/a.jpg"], "dev": ["d.jpg"]}
    assert divide(tmp_path, ("train", "dev"), *images) == (expected, [])


def test_lists_name_images_by_names_that_look_alike(tmp_path):
    write(tmp_path, train="Bäume.jpg\nB.JPG\nc\nd.jpg", val="D.jpg")
    images = ("Ba\u0308ume.JPG", "x/b.jpg", "C.jpg", "d.jpg", "D.jpg")
    expected = {"train": ["Ba\u0308ume.JPG", "x/b.jpg", "C.jpg", "d.jpg"], "dev": ["D.jpg"]}
    assert divide(tmp_path, ("train", "dev"), *images) == (expected, [])
    _, problems = divide(tmp_path, ("train",), *images, "y/B.jpg")
    assert problems == ["train.txt:2: 'B.JPG' may be 'x/b.jpg' or 'y/B.jpg'"]


def test_lists_by_other_editors(tmp_path):
    write(tmp_path, train="a.jpg\r\nb.jpg".encode("utf-16"), val="\ufeffc.jpg\rd.jpg\r")
    expected = {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg", "d.jpg"]}
    images = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    assert divide(tmp_path, ("train", "dev"), *images) == (expected, [])


def test_lists_of_other_splits_are_not_read(tmp_path):
    write(tmp_path, train="a.jpg", val=b"\xff")
    assert divide(tmp_path, ("train",), "a.jpg", "b.jpg") == ({"train": ["a.jpg"]}, [])


def test_every_problem_of_lists_is_reported_with_its_line(tmp_path):
    write(tmp_path, train="a.jpg\nnone.jpg\n", val=b"b.jpg\n\xff\na.jpg\n", test="\n")
    _, problems = divide(tmp_path, ("train", "dev", "test"), "a.jpg", "x/b.jpg", "y/b.jpg")
    assert sorted(problems) == [
        "test.txt: lists no image",
        "train.txt:2: 'none.jpg' has no caption in x.csv",
        "val.txt:1: 'b.jpg' may be 'x/b.jpg' or 'y/b.jpg'",
        "val.txt:2: is not UTF-8 text: save the file as UTF-8",
        "val.txt:3: 'a.jpg' is in the split train already",
    ]


def test_a_karpathy_document_has_splits_and_sentences(tmp_path):
    document = karpathy({"train": ["x_a.jpg"], "restval": ["x_b.jpg"]}, lambda name: "val2014")
    rows, problems = read_document(tmp_path / "k.json", read_karpathy, document)
    assert not problems
    assert [(row.image, row.caption, row.split, row.location.position) for row in rows] == [
        ("val2014/x_a.jpg", "Caption 0 of a .", "train", "images[0].sentences[0]"),
        ("val2014/x_a.jpg", "Caption 1 of a .", "train", "images[0].sentences[1]"),
        ("val2014/x_b.jpg", "Caption 0 of b .", "restval", "images[1].sentences[0]"),
        ("val2014/x_b.jpg", "Caption 1 of b .", "restval", "images[1].sentences[1]"),
    ]
    rows, _ = read_document(tmp_path / "k.json", read_karpathy, karpathy({"val": ["c.jpg"]}))
    assert [row.image for row in rows] == ["c.jpg"] * 2


@pytest.mark.parametrize(
    ("name", "cocoid", "expected"),
    [
        ("c.jpg", 0, 0),
        ("c.jpg", "x", "x"),
        ("c.jpg", None, None),
        ("COCO_val2014_000000000042.jpg", None, 42),
        ("COCO_val2014_000000000042.jpg", 7, 7),
    ],
)
def test_a_karpathy_document_has_the_ids_of_images(tmp_path, name, cocoid, expected):
    document = karpathy({"val": [name]})
    document["images"][0]["cocoid"] = cocoid
    rows, problems = read_document(tmp_path / "k.json", read_karpathy, document)
    assert not problems
    assert [row.document_id for row in rows] == [expected] * 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.pop("images"), "J: images: is not a list"),
        (
            lambda d: d["images"].append(None),
            "J: images[1]: must have filename (a text) and split (a text) and sentences (a list, "
            "not empty)",
        ),
        (lambda d: d["images"][0].update(filename=7), "J: images[0]: must have filename (a text)"),
        (
            lambda d: d["images"][0].update(filepath=7),
            "J: images[0]: must have filepath (a text, optional)",
        ),
        (lambda d: d["images"][0].pop("split"), "J: images[0]: must have split (a text)"),
        (
            lambda d: d["images"].append(dict(d["images"][0])),
            "J: images[1]: 'a.jpg' is images[0] already",
        ),
        (
            lambda d: d["images"][0].update(sentences=[]),
            "J: images[0]: must have sentences (a list, not empty)",
        ),
        (
            lambda d: d["images"][0].update(sentences={"raw": "x"}),
            "J: images[0]: must have sentences (a list, not empty)",
        ),
        (
            lambda d: d["images"][0]["sentences"].append({"tokens": ["x"]}),
            "J: images[0].sentences[2]: must have raw (a text)",
        ),
        (
            lambda d: d["images"][0]["sentences"].append("x"),
            "J: images[0].sentences[2]: must have raw (a text)",
        ),
    ],
)
def test_each_problem_of_a_karpathy_document_is_named_by_its_entry(tmp_path, change, expected):
    document = karpathy({"train": ["a.jpg"]})
    change(document)
    _, problems = read_document(tmp_path / "k.json", read_karpathy, document)
    assert problems == [expected]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "J: is not a JSON object"),
        (b"", "J:1: is not JSON: Expecting value, column 1"),
        (b'{"images": [\n{"id": }]}', "J:2: is not JSON: Expecting value, column 8"),
        (b'{"images":\n["\xff"]}', "J:2: is not UTF-8 text: save the file as UTF-8"),
        (b"[" * 100_000, "J: is not JSON that can be read: "),
        (b'{"a": ' * 100_000, "J: is not JSON that can be read: "),
        (b'{"images": ' + b"1" * 5000 + b"}", "J: is not JSON that can be read: "),
    ],
)
def test_what_is_no_document_is_one_problem(tmp_path, content, expected):
    rows, (problem,) = read_document(tmp_path / "k.json", read_karpathy, content)
    assert not rows
    assert problem.startswith(expected)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_fault(tmp_path, encoding):
    rows, problems = read_document(
        tmp_path / "k.json",
        read_karpathy,
        json.dumps(karpathy({"val": ["a.jpg"]})).encode(encoding),
    )
    assert len(rows) == 2 and not problems


def test_a_document_that_can_t_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="can't be read: Is a directory"):
        list(read_karpathy(tmp_path, Problems()))
