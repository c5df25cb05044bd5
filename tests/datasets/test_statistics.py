"""Statistics of a data set, against counts made by hand."""

import pytest

from sat_tf.config import DataConfig
from sat_tf.data.records import Problems, Record, ValidatedSplits
from sat_tf.datasets.statistics import (
    count_outside,
    describe,
    describe_notes,
    split_statistics,
)

TRAIN = [
    Record("1", "1.jpg", ("A dog runs.", "a dog")),
    Record("2", "2.jpg", ("A cat sits on the mat .", "The dog", "a cat")),
]
DEV = [Record("3", "3.jpg", ("A bird and a dog on the cat",))]


def test_a_split_is_counted():
    statistics = split_statistics(TRAIN)
    assert statistics.images == 2
    assert statistics.captions == {2: 1, 3: 1}
    assert statistics.lengths == {2: 3, 3: 1, 6: 1}
    assert statistics.words == {
        **{"a": 4, "dog": 3, "cat": 2, "the": 2},
        **{"runs": 1, "sits": 1, "on": 1, "mat": 1},
    }


def page_lines(limits=(0, 1), **splits):
    """The words of each line of the page about these records."""
    page = describe({name: split_statistics(found) for name, found in splits.items()}, limits)
    return [line.split() for line in page.splitlines()]


def test_lengths_that_shares_of_the_captions_keep_to():
    lengths = (2, 2, 3, 3, 3, 3, 3, 3, 3, *(4,) * 9, 5, 7)
    records = [Record("1", "1.jpg", tuple("word " * length for length in lengths))]
    assert [line[-1] for line in page_lines(train=records, dev=[])[6:11]] == ["0"] * 5
    assert [line[-2] for line in page_lines(train=records, dev=[])[6:11]] == [*"22457"]


@pytest.mark.parametrize(
    ("size", "min_count", "kept", "unknown"),
    [(0, 1, 8, 2), (2, 1, 2, 5), (3, 1, 3, 4), (0, 2, 4, 3), (3, 2, 3, 4), (100, 3, 2, 5)],
)
def test_unknown_words_of_other_captions(size, min_count, kept, unknown):
    # "bird" and "and" are missing; equal counts are ordered by alphabet, as in a vocabulary.
    line = next(x for x in page_lines((size, min_count), train=TRAIN, dev=DEV) if x[-1:] == ["set"])
    assert line[-5:] == [str(min_count), str(kept), f"{unknown / 8:.2%}", "as", "set"]


def test_the_page():
    page = describe(
        {"train": split_statistics(TRAIN), "dev": split_statistics(DEV)}, (10_000, 2)
    ).splitlines()
    assert [line.split() for line in page[:5]] == [
        ["train", "dev"],
        ["images", "2", "1"],
        ["captions", "5", "1"],
        ["captions", "an", "image", "2", "to", "3", "1"],
        ["words", "15", "8"],
    ]
    assert page[page.index("words a caption, train") + 1].split() == ["1", "to", "5", "4", "#" * 40]
    assert page[page.index("words a caption, train") + 2].split() == [
        "6",
        "to",
        "10",
        "1",
        "#" * 10,
    ]
    assert "words of dev that a vocabulary of train does not know" in page
    assert page[-1].split() == ["10,000", "2", "4", "37.50%", "as", "set"]


def test_long_captions_share_the_last_bar():
    records = [Record("1", "1.jpg", ("word " * 300, "word " * 51, "word " * 50))]
    page = describe({"train": split_statistics(records)}, (0, 1)).splitlines()
    assert any(line.split()[:4] == ["51", "and", "more", "2"] for line in page)
    assert any(line.split()[:4] == ["46", "to", "50", "1"] for line in page)


def test_splits_without_an_image():
    assert "train" in describe({"train": split_statistics([])}, (0, 1))
    page = describe({"train": split_statistics([]), "dev": split_statistics(DEV)}, (0, 1))
    assert "words of dev that a vocabulary of dev does not know" in page


def notes(folder, *captions):
    records = [Record(str(n), f"{folder}/{n}.jpg", (text,)) for n, text in enumerate(captions)]
    checked = ValidatedSplits({"train": (), "dev": tuple(records)}, Problems())
    return describe_notes(checked, DataConfig(dataset="files", data_dir=str(folder)))


def test_captions_without_spaces_are_noted(tmp_path):
    chinese = "在灰色的背景右边有一个小的红色方块。"
    assert notes(tmp_path, "a dog runs", "two dogs", chinese) == []
    (note,) = notes(tmp_path, "a dog runs", chinese, chinese)
    assert note.startswith("warning: most captions are not separated into words by spaces, as '在")
    assert notes(tmp_path) == []


def test_images_outside_of_the_folder_are_counted(tmp_path):
    data, other = tmp_path / "data", tmp_path / "other"
    for folder in (data / "sub", other):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    (data / "link.jpg").symlink_to(other / "a.jpg")
    (data / "inner.jpg").symlink_to("sub/a.jpg")
    (data / "folder").symlink_to(other)
    inside = [data / "sub" / "a.jpg", data / "inner.jpg", data / "sub" / ".." / "sub" / "a.jpg"]
    outside = [other / "a.jpg", data / "link.jpg", data / "folder" / "a.jpg"]
    outside.append(data / ".." / "other" / "a.jpg")
    records = [Record(str(n), str(path), ("a",)) for n, path in enumerate([*inside, *outside])]
    assert count_outside(records, str(data)) == len(outside)
    assert count_outside([Record("x", b"bytes", ("a",))], str(data)) == 0
    checked = ValidatedSplits({"dev": tuple(records)}, Problems())
    found = describe_notes(checked, DataConfig(dataset="files", data_dir=str(data)))
    assert found[-1] == "images outside of --data_dir: 4 of 7"
