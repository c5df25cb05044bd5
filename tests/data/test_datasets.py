"""Data sets by name -> records of their splits."""

import dataclasses
import subprocess
import sys

import pytest

from sat_tf.config import DataSettings
from sat_tf.data import datasets
from sat_tf.data.datasets import available_splits, load_splits
from sat_tf.errors import UserError

NAMES = {"train": ["a.jpg", "b.jpg"], "dev": ["c.jpg"]}


@pytest.fixture
def flickr8k(tmp_path):
    images = tmp_path / "Flicker8k_Dataset"
    images.mkdir()
    lines = ["gone.jpg.1#0\tan image that is in no list and not there"]
    for split, names in NAMES.items():
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names) + "\n")
        for name in names:
            (images / name).write_bytes(b"")
            lines += [f"{name}#{number}\tcaption {number} of {name[0]}" for number in range(5)]
    (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    return DataSettings(dataset="flickr8k", data_dir=str(tmp_path))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "images").mkdir()
    rows = ["image,caption"]
    for number in range(300):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"")
        rows += [f"images/{number}.png,a dog", f"images/{number}.png,a cat"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    return DataSettings(dataset="files", data_dir=str(tmp_path))


def test_flickr8k_in_its_official_layout(flickr8k):
    splits = load_splits(flickr8k, ("train", "dev"))
    assert {split: [r.image_id for r in records] for split, records in splits.items()} == NAMES
    assert splits["dev"][0].captions == tuple(f"caption {number} of c" for number in range(5))


def test_flickr8k_keeps_the_order_of_the_lists(flickr8k, tmp_path):
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("\ufeffb.jpg\r\n\r\na.jpg\r\nb.jpg")
    records = load_splits(flickr8k, ("train",))["train"]
    assert [record.image_id for record in records] == ["b.jpg", "a.jpg"]


def test_a_split_is_missing_only_when_it_is_asked_for(flickr8k):
    assert available_splits(flickr8k) == ("train", "dev")
    message = r"no image in the split test \(.*train, dev\): .* Flickr_8k\.testImages\.txt$"
    with pytest.raises(UserError, match=message):
        load_splits(flickr8k, ("test",))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", ": lists no image"),
        ("c.jpg\nnew.jpg\n", ":2: 'new.jpg' has no caption in Flickr8k.token.txt"),
        ("c.jpg\nb.jpg\n", ":2: 'b.jpg' is in the split train already"),
        (b"c.jpg\n\xff\n", ":2: is not UTF-8 text"),
    ],
)
def test_a_wrong_list_is_named_with_its_line(flickr8k, tmp_path, content, what):
    path = tmp_path / "Flickr_8k.devImages.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        load_splits(flickr8k, ("train", "dev"))
    assert str(caught.value) == f"{path}{what}"


@pytest.mark.parametrize("name", ["Flickr8k.token.txt", "Flicker8k_Dataset"])
def test_a_missing_part_of_flickr8k_is_one_line(flickr8k, tmp_path, name):
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"--data_dir={tmp_path}: holds no {name}$"):
        load_splits(flickr8k, ("train",))


def test_a_missing_image_of_another_split_does_not_matter(flickr8k, tmp_path):
    (tmp_path / "Flicker8k_Dataset" / "a.jpg").unlink()
    assert len(load_splits(flickr8k, ("dev",))["dev"]) == 1
    with pytest.raises(UserError, match=r"token\.txt:2: no such image: 'a\.jpg'"):
        load_splits(flickr8k, ("train",))


def test_files_without_splits_are_divided(files):
    assert available_splits(files) == ("train", "dev", "test")
    splits = load_splits(files, ("train", "dev", "test"))
    sizes = {split: len(records) for split, records in splits.items()}
    assert sum(sizes.values()) == 300
    assert 210 <= sizes["train"] <= 270
    assert min(sizes["dev"], sizes["test"]) >= 15
    assert all(record.captions == ("a dog", "a cat") for record in splits["dev"])


def test_the_division_stays_when_images_are_added(files, tmp_path):
    before = {r.image_id for r in load_splits(files, ("dev",))["dev"]}
    (tmp_path / "images" / "new.png").write_bytes(b"")
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("\nimages/new.png,a bird")
    after = {r.image_id for r in load_splits(files, ("dev",))["dev"]}
    assert before == after - {"images/new.png"}


def test_json_lines_are_found_and_splits_obeyed(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"")
    (tmp_path / "captions.jsonl").write_text(
        '{"image": "a.png", "caption": "x", "split": "train"}\n'
        '{"image": "b.png", "caption": "y", "split": "val"}\n'
    )
    settings = DataSettings(dataset="files", data_dir=str(tmp_path))
    assert available_splits(settings) == ("train", "dev")
    assert load_splits(settings, ("dev",))["dev"][0].image_id == "b.png"
    with pytest.raises(UserError, match=r"captions\.jsonl: no image in the split test"):
        load_splits(settings, ("test",))
    (tmp_path / "a.png").unlink()
    assert len(load_splits(settings, ("dev",))["dev"]) == 1
    with pytest.raises(UserError, match=r"captions\.jsonl:1: no such image: 'a\.png'"):
        load_splits(settings, ("train",))


def test_everything_wrong_is_reported_at_once_whatever_is_loaded_first(files, tmp_path):
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("\nimages/0.png,a,dog\nmissing.png,a dog")
    assert available_splits(files) == ("train", "dev", "test")
    with pytest.raises(UserError, match=r"captions\.csv:602: must have 2 columns"):
        load_splits(files, ())
    with pytest.raises(UserError) as caught:
        load_splits(files, available_splits(files))
    assert "captions.csv:602: must have 2 columns" in str(caught.value)
    assert "captions.csv:603: no such image: 'missing.png'" in str(caught.value)


def test_the_registry_is_that_of_the_setting():
    (field,) = (f for f in dataclasses.fields(DataSettings) if f.name == "dataset")
    assert tuple(datasets.DATA_SETS) == field.metadata["choices"]


def test_without_shapes_tensorflow_stays_out(flickr8k):
    program = (
        "import sys\n"
        "from sat_tf.config import DataSettings\n"
        "from sat_tf.data.datasets import load_splits\n"
        "load_splits(DataSettings(dataset='flickr8k', data_dir=sys.argv[1]), ('dev',))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, flickr8k.data_dir], check=True)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data_dir": "/nowhere"}, "--data_dir=/nowhere"),
        ({"captions_file": "/nowhere.csv"}, "--captions_file=/nowhere.csv"),
        ({"captions_file": "captions.xml"}, r"--captions_file=.*\.csv or \.jsonl"),
        ({"captions_file": "/"}, r"--captions_file=.*\.csv or \.jsonl"),
    ],
)
def test_what_is_not_there_is_named_by_its_flag(files, changes, what):
    with pytest.raises(UserError, match=what):
        load_splits(dataclasses.replace(files, **changes), ("train",))


def test_a_folder_without_captions_says_what_it_needs(tmp_path):
    settings = DataSettings(dataset="files", data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"captions\.csv.*--captions_file"):
        load_splits(settings, ("train",))


def test_available_splits_of_a_missing_folder(tmp_path):
    for dataset in ("files", "flickr8k"):
        settings = DataSettings(dataset=dataset, data_dir=str(tmp_path / "none"))
        with pytest.raises(UserError, match="--data_dir"):
            available_splits(settings)
