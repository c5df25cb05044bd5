"""Images that can't be read: found, listed, and left out if wanted."""

import pytest
from image_files import encoded

from sat_tf.data.records import Record
from sat_tf.data.unreadable import (
    LIST_FILE,
    check_images,
    find_unreadable,
    leave_out,
    names_left_out,
    read_left_out,
    write_left_out,
)
from sat_tf.errors import UserError

JPEG = encoded("JPEG")
# Decoding alone tells that the first one is no image: its pixels are missing in the middle.
HOLLOW = encoded("PNG")[:60] + encoded("PNG")[-12:]
FILES = {
    "a.jpg": JPEG,
    "b.jpg": JPEG + b"a video",
    "c.jpg": JPEG[:300],
    "d.jpg": b"<html>404</html>",
    "e.gif": encoded("GIF", mode="P"),
    "f.png": HOLLOW,
    "g.png": encoded("PNG"),
}


@pytest.fixture
def records(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return [Record(name, str(tmp_path / name), ("a dog",)) for name in (*FILES, "none.jpg")]


def test_what_looks_unusual_is_decoded_and_judged_by_that(records):
    announced = []
    found = find_unreadable(records, before_decoding=lambda: announced.append(1))
    assert {records[i].image_id: error.rpartition(": ")[2] for i, error in found.items()} == {
        "c.jpg": "is damaged or cut off (JPEG)",
        "d.jpg": "download the image again",
        "none.jpg": "No such file or directory",
    }
    assert announced == [1]
    (named,) = (error for error in found.values() if "c.jpg" in error)
    assert named.startswith(records[2].image)


def test_all_images_may_be_decoded(records):
    found = find_unreadable(records, decode=True)
    assert [records[i].image_id for i in found] == ["c.jpg", "d.jpg", "f.png", "none.jpg"]


def test_no_image_is_decoded_if_none_needs_it(records):
    def not_expected():
        raise AssertionError

    found = find_unreadable([records[0], records[3], records[6]], before_decoding=not_expected)
    assert [*found] == [1]
    assert not find_unreadable([Record("made", b"no image", ())])


def test_unreadable_images_of_all_splits_are_listed_together(records, tmp_path):
    with pytest.raises(UserError) as caught:
        check_images({"train": records[:3], "test": records[3:]}, listing=tmp_path / LIST_FILE)
    heading, *named, advice = str(caught.value).splitlines()
    assert heading == "3 of 8 images can't be read:"
    assert [line.split(": ")[0] for line in named] == [
        f"  {tmp_path}/{name}" for name in ("c.jpg", "d.jpg", "none.jpg")
    ]
    assert "--skip_unreadable" in advice
    assert not (tmp_path / LIST_FILE).exists()


def test_many_are_listed_in_a_file(tmp_path):
    records = [Record(f"{i}", str(tmp_path / f"{i}.jpg"), ()) for i in range(30)]
    for listing in (tmp_path / "new" / LIST_FILE, tmp_path / "file" / LIST_FILE, None):
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(UserError) as caught:
            check_images({"train": records}, listing=listing)
        lines = str(caught.value).splitlines()
        assert len(lines) == 23
        is_written = listing is not None and listing.exists()
        assert lines[-2] == "  ... and 10 more" + (f": see {listing}" if is_written else "")
    assert len((tmp_path / "new" / LIST_FILE).read_text().splitlines()) == 30


def test_images_are_left_out_and_counted(records, tmp_path, capsys):
    splits = {"train": records[:3], "dev": records[4:7]}
    kept = check_images(splits, skip=True, decode=True)
    assert {split: len(of_split) for split, of_split in kept.items()} == {"train": 2, "dev": 2}
    assert capsys.readouterr().err.splitlines() == [
        "train: 1 of 3 images are left out (--skip_unreadable)",
        "dev: 1 of 3 images are left out (--skip_unreadable)",
    ]
    names = names_left_out(splits, kept)
    assert names == {"train": ["c.jpg"], "dev": ["f.png"]}
    write_left_out(tmp_path, names)
    assert leave_out(splits, read_left_out(tmp_path)) == kept
    # Those that are left out already are not checked, others are.
    assert check_images({"train": records[:3]}, left_out=names) == {"train": kept["train"]}
    with pytest.raises(UserError, match=r"d\.jpg"):
        check_images({"train": records[:4]}, left_out=names)
    write_left_out(tmp_path, {})
    assert read_left_out(tmp_path) == {}


def test_a_split_without_images_is_rejected(records):
    with pytest.raises(UserError, match="no image of the split dev is left"):
        check_images({"train": records[:2], "dev": records[2:4]}, skip=True)


@pytest.mark.parametrize("content", ["{", "[]", '{"train": "a"}', '{"train": [1]}'])
def test_a_damaged_list_is_named(tmp_path, content):
    (tmp_path / "left_out_images.json").write_text(content)
    with pytest.raises(UserError, match=r"left_out_images\.json"):
        read_left_out(tmp_path)
