"""Images without captions."""

import io
import os
import sys

import pytest

from sat_tf.datasets.image_list import find_images
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
