"""Rows -> checked records."""

import os
from pathlib import Path

import pytest
from caption_files import complaint, make_images, read

from sat_tf.data.records import (
    Problem,
    Row,
    SourceLocation,
    describe_problems,
    group_rows,
    make_records,
    raise_if_problems,
)
from sat_tf.datasets.text_formats import read_csv, read_flickr_tokens, read_json_lines
from sat_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    make_images(tmp_path / "images", "a.jpg", "b.jpg", "sub/c.jpg", "d#1.jpg")
    return tmp_path


def test_many_problems_are_counted_not_listed(folder):
    text = "".join(f"x{number}.jpg#0\ta dog\n" for number in range(50))
    message = complaint(folder, read_flickr_tokens, text).splitlines()
    assert message[0] == "50 problems in captions.txt"
    assert message[20] == "captions.txt:20: no such image: 'x19.jpg'"
    assert message[21:] == ["... and 30 more"]


CSV = "image,caption,split\na.jpg,A dog,train\nmissing.jpg, .,dev\n"


def test_what_only_concerns_other_splits_does_not_matter(folder):
    records = read(folder, read_csv, CSV)
    assert [record.image_id for record in records["train"]] == ["a.jpg"]
    message = complaint(folder, read_csv, CSV, ("train", "dev"))
    assert "no such image: 'missing.jpg'" in message
    assert "the caption of 'missing.jpg' is empty" in message


def test_a_bad_line_matters_to_every_split(folder):
    message = complaint(folder, read_csv, CSV.encode() + b"b.jpg,\xff,dev\nb.jpg,x,devil\n")
    assert "captions.txt:4: is not UTF-8" in message
    assert "captions.txt:5: split 'devil'" in message


def test_a_link_that_leads_nowhere_is_a_missing_image(folder):
    for name, target in (("loop.jpg", "loop.jpg"), ("broken.jpg", "gone.jpg")):
        (folder / "images" / name).symlink_to(target)
    message = complaint(folder, read_flickr_tokens, "a.jpg#0\tx\nloop.jpg#0\tx\nbroken.jpg#0\tx\n")
    assert "a.jpg" not in message
    assert "captions.txt:2: no such image: 'loop.jpg'" in message
    assert "captions.txt:3: no such image: 'broken.jpg'" in message


def test_an_image_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def raise_if_problems(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", raise_if_problems)
    assert "images: can't be read: Permission denied" in complaint(folder, read_csv, CSV)


def row(image, caption, split="", line=1):
    return Row(SourceLocation(Path("x.csv"), line), image, caption, split)


def test_records_go_without_what_is_wrong_with_them(folder):
    rows = [
        row("a.jpg", "A dog."),
        row("a.jpg", " . "),
        row("b.jpg", "?"),
        row("gone.jpg", "A cat"),
    ]
    checked = make_records(
        group_rows(rows, lambda image: "dev"), folder / "images", ("dev", "test")
    )
    assert {split: len(records) for split, records in checked.records.items()} == {
        "dev": 1,
        "test": 0,
    }
    assert checked.records["dev"][0].captions == ("A dog.",)
    assert len(checked.problems) == 3


def test_lists_may_overrule_what_rows_say():
    rows = [row("a.jpg", "x", "train"), row("b.jpg", "y", "nonsense"), row("c.jpg", "z")]
    split_of = {"a.jpg": "dev", "b.jpg": "test"}
    grouped = group_rows(rows, lambda image: split_of.get(image, ""), use_row_splits=False)
    assert {split: list(images) for split, images in grouped.images.items()} == {
        "dev": ["a.jpg"],
        "test": ["b.jpg"],
        "": ["c.jpg"],
    }
    assert not grouped.problems


def test_restval_is_trained_on():
    rows = [row("a.jpg", "x", "restval"), row("b.jpg", "y", "Val"), row("c.jpg", "z", "test")]
    images = group_rows(rows, lambda image: "").images
    assert {split: list(found) for split, found in images.items()} == {
        "train": ["a.jpg"],
        "dev": ["b.jpg"],
        "test": ["c.jpg"],
    }


@pytest.mark.parametrize("caption", ["\ud800 dog", "a\0dog"])
def test_texts_that_can_t_be_written_are_problems_of_any_format(caption):
    (problem,) = group_rows([row("a.jpg", caption)], lambda image: "").problems
    assert problem.what.startswith("holds ")


def test_half_a_character_in_a_name_is_one_too(folder):
    text = '{"image": "\\ud800.jpg", "caption": "x"}\n'
    assert "captions.txt:1: holds half a character" in complaint(folder, read_json_lines, text)


@pytest.mark.parametrize(
    ("caption", "is_empty"), [("3", False), ("\u0e01", False), ("\u0301", False), ("_ - .", True)]
)
def test_a_caption_is_empty_if_the_tokenizer_finds_no_word(folder, caption, is_empty):
    grouped = group_rows([row("a.jpg", caption)], lambda image: "train")
    assert bool(make_records(grouped, folder / "images", ("train",)).problems) == is_empty


def test_problems_are_in_the_order_of_the_files():
    first, second = Path("a.json"), Path("b.txt")
    places = [
        SourceLocation(first, "images[10]"),
        SourceLocation(second, 12),
        SourceLocation(first, "images[2].sentences[1]"),
        SourceLocation(second, 3),
        SourceLocation(first),
        SourceLocation(first, "annotations[7]"),
    ]
    assert describe_problems([Problem(place, "is bad") for place in places]) == [
        "a.json: is bad",
        "a.json: annotations[7]: is bad",
        "a.json: images[2].sentences[1]: is bad",
        "a.json: images[10]: is bad",
        "b.txt:3: is bad",
        "b.txt:12: is bad",
    ]
    with pytest.raises(UserError, match=r"^2 problems in b\.txt, a\.json\n"):
        raise_if_problems([Problem(places[1], "x"), Problem(places[0], "y")])
