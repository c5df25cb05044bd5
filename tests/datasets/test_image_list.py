"""Images without captions, and their ids in COCO's results."""

import io
import json
import os
import sys

import pytest

from sat_tf.datasets.image_list import find_images, image_ids
from sat_tf.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as a person has it, which is the working directory."""
    for name in ("b.JPG", "a.png", "notes.txt", "._a.png", "x[1].jpg", "x1.jpg", "in/c.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["photos"], ["photos/a.png", "photos/b.JPG", "photos/x1.jpg", "photos/x[1].jpg"]),
        (["photos/x[1].jpg"], ["photos/x[1].jpg"]),  # a file first, then a pattern
        (["photos/[xy]1.jpg"], ["photos/x1.jpg"]),
        (["photos/**/*.jpg"], ["photos/in/c.jpg", "photos/x1.jpg", "photos/x[1].jpg"]),
        (["photos/in/", "photos/i*/c.*", "none.jpg"], ["photos/in/c.jpg", "none.jpg"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_find_images_takes_files_folders_and_patterns(arguments, found):
    assert find_images(arguments) == found


def test_find_images_reads_lists(folder, monkeypatch):
    content = b"\xef\xbb\xbfphotos/a.png\r\n\nphotos/gr\xf6sse.jpg\nphotos/*.jpg\n"
    listed = ["photos/a.png", os.fsdecode(b"photos/gr\xf6sse.jpg"), "photos/*.jpg"]
    (folder / "list.txt").write_bytes(content)
    assert find_images(["photos/x1.jpg"], "list.txt") == ["photos/x1.jpg", *listed]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert find_images([], "-") == listed


@pytest.mark.parametrize(
    ("arguments", "images_from", "complaint"),
    [
        ([], "", "no image given"),
        (["."], "", r"\.: holds no image \(\.jpg.*'\./\*\*/\*\.jpg'"),
        (
            ["no*.jpg"],
            "",
            r"no\*\.jpg: no such file in the current.*, and as a pattern it matches none",
        ),
        (["photos"], "none.txt", "--images_from=none.txt: can't be read: No such file"),
        (["photos"], "wide.txt", "--images_from=wide.txt: must be text in UTF-8"),
        (["photos"], "empty.txt", "--images_from=empty.txt: names no image"),
    ],
)
def test_find_images_rejects_what_names_no_image(folder, arguments, images_from, complaint):
    (folder / "wide.txt").write_text("photos/a.png\n", encoding="utf-16")
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=complaint):
        find_images(arguments, images_from)


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
