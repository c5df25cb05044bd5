"""Lists of image names, and where they are looked for."""

from pathlib import Path

from sat_tf.data.records import Row, SourceLocation, describe_problems, group_rows
from sat_tf.datasets.splits import find_lists, read_lists


def write(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.txt").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )


def group(lists, *images):
    rows = [
        Row(SourceLocation(Path("tokens"), n), image, "x")
        for n, image in enumerate(images, start=1)
    ]
    return lists.arrange(group_rows(rows, lists.split_of, use_row_splits=False), "tokens")


def arranged(lists, *images):
    return {split: list(found) for split, found in group(lists, *images).images.items()}


def test_the_first_pattern_that_fits_counts(tmp_path):
    write(tmp_path, train="", coco_train="", coco_restval="", coco_val="", coco_other="")
    found = find_lists(tmp_path, ("flickr8k_{}.txt", "coco_{}.txt", "{}.txt"))
    names = {split: [path.name for path in paths] for split, paths in found.items()}
    assert names == {"train": ["coco_train.txt", "coco_restval.txt"], "dev": ["coco_val.txt"]}
    assert find_lists(tmp_path, ("none_{}.txt",)) == {}


def test_names_stand_with_folder_or_without_and_without_ending(tmp_path):
    write(tmp_path, train="c\nval2014/b.jpg\n", restval="a.jpg\r\n\r\n", val="d.jpg")
    lists = read_lists(find_lists(tmp_path, ("{}.txt",)), ("train", "dev"))
    images = ("x/a.jpg", "val2014/b.jpg", "x/c.jpg", "d.jpg", "x/e.jpg")
    expected = {"train": ["x/c.jpg", "val2014/b.jpg", "x/a.jpg"], "dev": ["d.jpg"]}
    assert arranged(lists, *images) == expected
    assert not lists.problems


def test_lists_of_other_splits_are_not_read(tmp_path):
    write(tmp_path, train="a.jpg", val=b"\xff")
    lists = read_lists(find_lists(tmp_path, ("{}.txt",)), ("train",))
    assert arranged(lists, "a.jpg", "b.jpg") == {"train": ["a.jpg"]}
    assert not lists.problems


def test_every_problem_is_told_with_its_line(tmp_path):
    write(tmp_path, train="a.jpg\nnone.jpg\n", val=b"b.jpg\n\xff\na.jpg\n", test="\n")
    lists = read_lists(find_lists(tmp_path, ("{}.txt",)), ("train", "dev", "test"))
    grouped = group(lists, "a.jpg", "x/b.jpg", "y/b.jpg")
    told = [line.replace(f"{tmp_path}/", "") for line in describe_problems(grouped.problems)]
    assert told == [
        "val.txt:1: 'b.jpg' may be x/b.jpg or y/b.jpg",
        "val.txt:2: is not UTF-8 text",
        "val.txt:3: 'a.jpg' is in the split train already",
        "test.txt: lists no image",
        "train.txt:2: 'none.jpg' has no caption in tokens",
    ]
