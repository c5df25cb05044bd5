"""The files of images whose names are written otherwise."""

import os
import unicodedata
from pathlib import Path

import pytest
from caption_files import make_images

from sat_tf.data.records import Problems, SourceLocation, describe_problems
from sat_tf.datasets.image_files import ImageFiles

AT = SourceLocation(Path("c.csv"), 1)
COMPOSED = unicodedata.normalize("NFC", "Bäume.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def find(folder, name, nearby=()):
    """Return the file of a name, relative to the folder, and what is reported of it."""
    problems = Problems()
    path = ImageFiles(folder, nearby).find(name, AT, problems)
    told = [line.replace(str(folder), "DIR") for line in describe_problems(problems)]
    return os.path.relpath(path, folder) if path else "", told


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("IMG_1.JPG", "IMG_1.jpg"),
        ("IMG_1.jpg", "img_1.JPG"),
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        ("photos/a.jpg", "photos\\a.jpg"),
        ("photos/2020/a.JPG", "Photos\\2020\\A.jpg"),
        ("photos/a.jpg", "./photos/../photos/A.jpg"),
        ("a.jpg", "a.jpg "),
        ("a b .jpg", " a b .jpg"),
        ("1000268201.jpg", "1000268201"),
        ("photos/a.Png", "photos/a"),
        ("v1.2.jpg", "v1.2"),
    ],
)
def test_the_only_file_that_looks_alike_is_found(tmp_path, file, name):
    make_images(tmp_path, file, "other.jpg")
    assert find(tmp_path, name) == (file, [])
    # Of another folder, by a path that is absolute.
    if "\\" not in name and not name.startswith(" "):
        assert find(tmp_path / "none", f"{tmp_path}/{name}")[0] == f"../{file}"


def test_the_name_as_it_is_written_comes_first(tmp_path):
    make_images(tmp_path, "a.jpg", "A.jpg", "a", "x\\a.jpg", "x/a.jpg")
    for name in ("a.jpg", "A.jpg", "a", "x\\a.jpg"):
        assert find(tmp_path, name) == (name, [])


@pytest.mark.parametrize(
    ("files", "name", "told"),
    [
        (["a.jpg"], "b.jpg", ""),
        (["a.JPG", "A.jpg"], "a.jpg", "; there is 'A.jpg' and 'a.JPG'"),
        (["a.jpg", "a.png"], "a", "; there is 'a.jpg' and 'a.png'"),
        (["IMG_1.png"], "img_1.jpg", "; there is 'IMG_1.png'"),
        (["a.jpg"], "photos/a.jpg", "; there is 'a.jpg'"),
        (["a.jpg"], "C:\\photos\\a.jpg", "; there is 'a.jpg'"),
        (["notes.txt"], "notes", ""),
        (["photos/a.jpg"], "photos", ""),
        (["photos/a.jpg"], "a.jpg", ""),
        ([f"{x}.png" for x in ("a", "A", "A ", " a")], "a.jpg", " ..."),
    ],
)
def test_any_other_name_is_reported_with_what_there_is(tmp_path, files, name, told):
    make_images(tmp_path, *files)
    path, (message,) = find(tmp_path, name)
    assert not path
    assert message.startswith(f"c.csv:1: no such image in DIR: {name!r}")
    assert message.endswith(told if told else f"{name!r}")


def test_an_absolute_name_of_another_machine_is_reported_without_a_folder(tmp_path):
    make_images(tmp_path, "a.jpg")
    _, told = find(tmp_path, "/home/somebody/a.jpg")
    assert told == ["c.csv:1: no such image: '/home/somebody/a.jpg'; there is 'a.jpg'"]


def test_sub_folders_are_searched_if_the_data_set_allows_it(tmp_path):
    make_images(tmp_path, "Images/a.jpg", "Images/b.jpg", "thumbs/b.jpg", ".hidden/c.jpg")
    for name in ("a.jpg", "A.JPG", "a"):
        assert find(tmp_path, name, [tmp_path]) == ("Images/a.jpg", [])
        assert find(tmp_path, name)[0] == ""
    _, (ambiguous,) = find(tmp_path, "b.jpg", [tmp_path])
    assert ambiguous.endswith("; there is 'Images/b.jpg' and 'thumbs/b.jpg'")
    assert find(tmp_path, "c.jpg", [tmp_path])[0] == ""
    # Beside the caption file.
    make_images(tmp_path, "b.jpg", "Images/deep/d.jpg")
    assert find(tmp_path, "b.jpg", [tmp_path / "thumbs"]) == ("b.jpg", [])
    assert find(tmp_path, "d.jpg", [tmp_path / "Images"]) == ("Images/deep/d.jpg", [])


def test_a_sub_folder_that_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    make_images(tmp_path, "Images/a.jpg", "lost/x.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("lost"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find(tmp_path, "a.jpg", [tmp_path]) == ("Images/a.jpg", [])


def test_one_file_has_one_name(tmp_path):
    make_images(tmp_path, "a.JPG")
    files, problems = ImageFiles(tmp_path), Problems()
    assert files.find("a.jpg", AT, problems) == files.find("a.jpg", AT, problems) != ""
    assert not problems
    assert files.find("a.JPG", AT, problems) == ""
    assert describe_problems(problems) == [
        "c.csv:1: 'a.JPG' is the file of 'a.jpg' too: give it one name"
    ]


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    make_images(tmp_path, *(f"photos/{n}.JPG" for n in range(9)))
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    files, problems = ImageFiles(tmp_path), Problems()
    for number in range(9):
        assert files.find(f"photos/{number}.jpg", AT, problems)
    assert listed == [str(tmp_path / "photos")]


def test_what_was_found_otherwise_is_counted(tmp_path):
    make_images(tmp_path, "a.jpg", "b.JPG", "Images/c.jpg", "Images/d.JPG")
    files, problems = ImageFiles(tmp_path, [tmp_path]), Problems()
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg"):
        assert files.find(name, AT, problems)
    files.add_notes(problems)
    assert problems.notes == [
        f"{tmp_path}: images found in {tmp_path}/Images: 2",
        f"{tmp_path}: images found under another spelling: 2, as 'b.JPG' for 'b.jpg'",
    ]
