"""Named data sets: the records of their splits."""

import dataclasses

import pytest
from caption_files import coco, karpathy, make_images, write_json

from sat_tf import datasets
from sat_tf.config import DataConfig
from sat_tf.datasets import available_splits, check_splits, load_splits
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
    return DataConfig(dataset="flickr8k", data_dir=str(tmp_path))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "images").mkdir()
    rows = ["image,caption"]
    for number in range(300):
        (tmp_path / "images" / f"{number}.png").write_bytes(b"")
        rows += [f"images/{number}.png,a dog", f"images/{number}.png,a cat"]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    return DataConfig(dataset="files", data_dir=str(tmp_path))


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
        (b"c.jpg\n\xff\n", ":2: is not UTF-8 text: save the file as UTF-8"),
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
    with pytest.raises(UserError, match=r"token\.txt:2: no such image in .*: 'a\.jpg'"):
        load_splits(flickr8k, ("train",))


@pytest.fixture
def flickr30k(tmp_path):
    make_images(tmp_path / "flickr30k-images", "1.jpg", "2.jpg", "3.jpg")
    lines = [f"{name}.jpg#{k}\tCaption {k} of {name} ." for name in (1, 2, 3) for k in range(2)]
    (tmp_path / "results_20130124.token").write_text("\n".join(lines))
    return DataConfig(dataset="flickr30k", data_dir=str(tmp_path))


@pytest.fixture
def coco2014(tmp_path):
    return write_coco(tmp_path / "coco", "2014")


def write_coco(folder, year):
    """COCO's official layout: a to c are for training, d to f for validation."""
    for part, letters, first in ((f"train{year}", "abc", 1), (f"val{year}", "def", 100)):
        names = [f"COCO_{part}_{letter}.jpg" for letter in letters]
        make_images(folder / part, *names)
        write_json(folder / "annotations" / f"captions_{part}.json", coco(names, first))
    return DataConfig(dataset="coco", data_dir=str(folder))


def images(config):
    """Names of each split's images, shortened to their last letters."""
    loaded = load_splits(config, available_splits(config))
    return {
        split: " ".join(record.image_id.removesuffix(".jpg")[-1] for record in records)
        for split, records in loaded.items()
    }


def test_a_folder_for_each_split_has_its_own_file(tmp_path):
    """As Hugging Face's folders of images, where images of two splits may have one name."""
    for name, text in (("train", "a dog"), ("validation", "a cat")):
        make_images(tmp_path / name, "1.jpg")
        (tmp_path / name / "metadata.csv").write_text(f"file_name,text\n1.jpg,{text}\n")
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    assert available_splits(config) == ("train", "dev")
    loaded = load_splits(config, ("train", "dev"))
    assert [(of_split[0].image, of_split[0].captions) for of_split in loaded.values()] == [
        (str(tmp_path / "train" / "1.jpg"), ("a dog",)),
        (str(tmp_path / "validation" / "1.jpg"), ("a cat",)),
    ]


def test_flickr30k_asks_for_splits(flickr30k):
    for call in (available_splits, lambda config: load_splits(config, ("train",))):
        with pytest.raises(UserError) as caught:
            call(flickr30k)
        message = str(caught.value)
        assert all(part in message for part in ("dataset_flickr30k.json", "flickr30k_train.txt"))
        assert "--splits" in message and "\n" not in message


def test_flickr30k_with_lists_beside_it_or_elsewhere(flickr30k, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, names in {"train": "3.jpg\n1.jpg", "val": "2"}.items():
        (lists / f"{split}.txt").write_text(names)
    assert images(dataclasses.replace(flickr30k, splits=str(lists))) == {"train": "3 1", "dev": "2"}
    (tmp_path / "flickr30k_test.txt").write_text("1.jpg")
    assert images(flickr30k) == {"test": "1"}


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [("flickr8k", "Flicker8k_Dataset"), ("flickr30k", "flickr30k-images"), ("files", ".")],
)
@pytest.mark.parametrize("is_beside", [False, True])
def test_a_karpathy_document_holds_captions_and_splits(tmp_path, dataset, folder, is_beside):
    root = tmp_path / "data"
    make_images(root / folder, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    document = karpathy({"train": ["b.jpg", "a.jpg"], "val": ["c.jpg"], "test": ["d.jpg"]})
    path = write_json((root if is_beside else tmp_path) / f"dataset_{dataset}.json", document)
    config = DataConfig(dataset=dataset, data_dir=str(root), splits=str(path))
    if is_beside and dataset != "files":
        config = dataclasses.replace(config, splits="")
    assert images(config) == {"train": "b a", "dev": "c", "test": "d"}
    (record,) = load_splits(config, ("dev",))["dev"]
    assert record.captions == ("Caption 0 of c .", "Caption 1 of c .")
    assert record.image == str(root / folder / "c.jpg")


def test_coco_as_it_is_published(coco2014, tmp_path):
    assert images(coco2014) == {"train": "a b c", "dev": "d e f"}
    record = load_splits(coco2014, ("dev",))["dev"][0]
    assert record.image_id == "val2014/COCO_val2014_d.jpg"
    assert record.image == str(tmp_path / "coco" / record.image_id)
    assert record.captions == ("Caption 0 of d .", "Caption 1 of d .")
    with pytest.raises(UserError, match=r"no image in the split test \(.*train, dev\).*Karpathy"):
        load_splits(coco2014, ("dev", "test"))


def test_coco_of_2017_and_of_both_years(tmp_path):
    config = write_coco(tmp_path, "2017")
    assert load_splits(config, ("train",))["train"][0].image_id.startswith("train2017/")
    write_coco(tmp_path, "2014")
    assert load_splits(config, ("train",))["train"][0].image_id.startswith("train2014/")


def test_a_split_of_coco_needs_only_its_own_files(coco2014, tmp_path):
    (tmp_path / "coco" / "annotations" / "captions_train2014.json").write_text("damaged")
    (tmp_path / "coco" / "train2014").rename(tmp_path / "elsewhere")
    assert len(load_splits(coco2014, ("dev",))["dev"]) == 3
    with pytest.raises(UserError, match=r"captions_train2014\.json:1: is not JSON"):
        load_splits(coco2014, ("train",))


def test_coco_with_the_lists_of_arctic_captions(coco2014, tmp_path):
    lists = {
        "train": ["COCO_train2014_b.jpg", "COCO_train2014_a.jpg"],
        "restval": ["COCO_val2014_e.jpg"],
        "val": ["COCO_val2014_d.jpg"],
        "test": ["COCO_val2014_f.jpg"],
    }
    for folder in ("lists", "coco"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for split, names in lists.items():
            (tmp_path / folder / f"coco_{split}.txt").write_text("\n".join(names) + "\n")
    expected = {"train": "b a e", "dev": "d", "test": "f"}
    assert images(coco2014) == expected
    config = dataclasses.replace(coco2014, splits=str(tmp_path / "lists"))
    assert images(config) == expected
    (tmp_path / "lists" / "coco_val.txt").write_text("COCO_val2014_z.jpg")
    with pytest.raises(
        UserError, match=r"coco_val\.txt:1: .*z\.jpg' has no caption in captions_tr"
    ):
        load_splits(config, ("dev",))


def test_coco_with_a_karpathy_document(coco2014, tmp_path):
    splits = {"train": "ab", "restval": "d", "val": "e", "test": "f"}
    part = {letter: "train2014" if letter in "abc" else "val2014" for letter in "abcdef"}
    named = {s: [f"COCO_{part[x]}_{x}.jpg" for x in letters] for s, letters in splits.items()}
    document = karpathy(named, lambda name: part[name[-5]])
    path = write_json(tmp_path / "coco" / "dataset_coco.json", document)
    assert images(coco2014) == {"train": "a b d", "dev": "e", "test": "f"}
    document["images"][3]["split"] = "spare"
    del document["images"][4]["sentences"][1]["raw"]
    document["images"][0]["filename"] = "../gone.jpg"
    write_json(path, document)
    with pytest.raises(UserError) as caught:
        load_splits(coco2014, ("train",))
    problems = str(caught.value).replace(f"{path}: ", "").splitlines()[1:]
    names = "train, dev, test, val, valid, validation, restval"
    assert problems == [
        f"images[0].sentences[0]: no such image in {tmp_path}/coco: 'train2014/../gone.jpg'",
        f"images[3].sentences[0]: split 'spare' must be one of {names}",
        f"images[3].sentences[1]: split 'spare' must be one of {names}",
        "images[4].sentences[1]: must have raw (a text)",
    ]


def test_records_have_the_ids_that_files_of_results_use(coco2014, flickr8k, tmp_path):
    ids = [record.document_id for record in load_splits(coco2014, ("dev",))["dev"]]
    assert ids == [100, 101, 102]
    assert load_splits(flickr8k, ("dev",))["dev"][0].document_id is None
    # As tensorflow-datasets has them, without a document.
    unpacked, name = tmp_path / "tfds" / "coco_captions_files", "COCO_val2014_000000000042.jpg"
    make_images(unpacked / "images", name)
    line = {"image": name, "caption": "x", "split": "val"}
    write_json(unpacked / "captions.jsonl", line)
    config = DataConfig(dataset="coco", data_dir=str(tmp_path / "tfds"))
    assert load_splits(config, ("dev",))["dev"][0].document_id == 42


def test_problems_of_several_files_are_reported_together(coco2014, tmp_path):
    for part in ("train2014", "val2014"):
        path = tmp_path / "coco" / "annotations" / f"captions_{part}.json"
        document = coco([f"COCO_{part}_x.jpg"])
        document["annotations"][1]["caption"] = " . "
        write_json(path, document)
    with pytest.raises(UserError) as caught:
        load_splits(coco2014, ("train", "dev"))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("4 problems in ")
    assert all("captions_train2014.json" in line for line in lines[:3])
    assert all("captions_val2014.json" in line for line in (lines[0], *lines[3:]))


def test_check_splits_returns_records_and_problems(files, tmp_path):
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("\nmissing.png,a dog" * 30)
    checked = check_splits(files, ("train", "dev", "test"))
    assert sum(map(len, checked.records.values())) == 300
    assert len(checked.problems) == 1


def test_lists_overrule_the_splits_of_own_files(tmp_path):
    make_images(tmp_path, "a.png", "b.png")
    (tmp_path / "captions.csv").write_text("image,caption,split\na.png,x,train\nb.png,y,dev")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "train.txt").write_text("b.png")
    config = DataConfig(dataset="files", data_dir=str(tmp_path), splits=f"{tmp_path}/lists")
    assert [r.image_id for r in load_splits(config, ("train",))["train"]] == ["b.png"]


def test_a_document_beside_own_files_is_used_only_if_it_is_named(files, tmp_path):
    write_json(tmp_path / "dataset_files.json", karpathy({"val": ["images/1.png"]}))
    assert available_splits(files) == ("train", "dev", "test")


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
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    assert available_splits(config) == ("train", "dev")
    assert load_splits(config, ("dev",))["dev"][0].image_id == "b.png"
    with pytest.raises(UserError, match=r"captions\.jsonl: no image in the split test"):
        load_splits(config, ("test",))
    (tmp_path / "a.png").unlink()
    assert len(load_splits(config, ("dev",))["dev"]) == 1
    with pytest.raises(UserError, match=r"captions\.jsonl:1: no such image in .*: 'a\.png'"):
        load_splits(config, ("train",))


def test_everything_wrong_is_reported_at_once_whatever_is_loaded_first(files, tmp_path):
    with (tmp_path / "captions.csv").open("a") as file:
        file.write("\nimages/0.png,a,dog\nmissing.png,a dog")
    assert available_splits(files) == ("train", "dev", "test")
    with pytest.raises(UserError, match=r"captions\.csv:602: must have 2 columns"):
        load_splits(files, ())
    with pytest.raises(UserError) as caught:
        load_splits(files, available_splits(files))
    assert "captions.csv:602: must have 2 columns" in str(caught.value)
    assert f"captions.csv:603: no such image in {tmp_path}: 'missing.png'" in str(caught.value)


def test_the_registry_is_that_of_the_setting():
    assert ("shapes", *datasets.DATA_SETS) == DataConfig.settings()["dataset"].choices


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data_dir": "/nowhere"}, "--data_dir=/nowhere"),
        ({"captions_file": "/nowhere.csv"}, "--captions_file=/nowhere.csv"),
        (
            {"captions_file": "captions.xml"},
            r"--captions_file=.*\.csv or .* \.jsonl",
        ),
        ({"captions_file": "/"}, r"--captions_file=.*\.csv or .* \.jsonl"),
        ({"splits": "/nowhere"}, "--splits=/nowhere: no such file or folder"),
        ({"splits": "/proc"}, r"--splits=/proc: holds no list of image names \(train\.txt"),
        ({"splits": __file__, "captions_file": "x.csv"}, "leave --captions_file out"),
        ({"splits": __file__}, r"test_datasets\.py:1: is not JSON"),
    ],
)
def test_what_does_not_exist_is_named_by_its_flag(tmp_path, changes, what):
    (tmp_path / "captions.csv").write_text("image,caption\n")
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    with pytest.raises(UserError, match=what):
        load_splits(dataclasses.replace(config, **changes), ("train",))


def test_a_folder_without_captions_says_what_it_needs(tmp_path):
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"captions\.csv.*--captions_file"):
        load_splits(config, ("train",))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("captions.txt", "image,caption\na.jpg,x\n"),
        ("results.csv", "image_name| comment_number| comment\na.jpg| 0| x\n"),
        ("metadata.csv", "file_name,text\na.jpg,x\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "text": "x"}\n'),
        ("captions.tsv", "a.jpg\tx\n"),
    ],
)
@pytest.mark.parametrize("image", ["a.jpg", "Images/a.jpg"])
def test_published_layouts_are_found_without_flags(tmp_path, file, content, image):
    make_images(tmp_path, image)
    (tmp_path / file).write_text(content)
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    (split,) = available_splits(config)
    (record,) = load_splits(config, (split,))[split]
    assert (record.image_id, record.image) == ("a.jpg", str(tmp_path / image))
    # Of the two, the captions beside the images.
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,y\n")
    assert load_splits(config, (split,))[split][0].captions == ("y",)


def test_images_may_be_beside_a_caption_file_elsewhere(tmp_path):
    (tmp_path / "data").mkdir()
    make_images(tmp_path / "photos", "a.jpg")
    path = tmp_path / "photos" / "list.csv"
    path.write_text("image,caption\na.jpg,x\n")
    config = DataConfig(dataset="files", data_dir=str(tmp_path / "data"), captions_file=str(path))
    (split,) = available_splits(config)
    assert load_splits(config, (split,))[split][0].image == str(tmp_path / "photos" / "a.jpg")


@pytest.mark.parametrize(
    ("name", "content"),
    [("captions.jsonl", ""), ("captions.jsonl", "\n\n"), ("captions.csv", "image,caption\n")],
)
def test_a_file_without_captions_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    assert available_splits(config) == ()
    with pytest.raises(UserError) as caught:
        load_splits(config, ("train", "dev"))
    assert str(caught.value) == f"{tmp_path / name}: holds no caption"


@pytest.mark.parametrize(
    ("setting", "name"),
    [("captions_file", "own.csv"), ("splits", "lists"), ("boxes", "boxes.json")],
)
def test_a_relative_path_is_said_to_be_of_the_current_folder(
    files, tmp_path, monkeypatch, setting, name
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / name).touch()
    with pytest.raises(UserError) as caught:
        load_splits(dataclasses.replace(files, **{setting: name}), ("train",))
    message = str(caught.value)
    assert message.startswith(f"--{setting}={name}: no such f")
    assert (
        f"in the current folder, {tmp_path}/elsewhere; there is --{setting}={tmp_path}/{name}"
        in message
    )


def test_notes_are_printed_on_demand(files, tmp_path, capsys):
    (tmp_path / "images" / "0.png").rename(tmp_path / "images" / "0.PNG")
    load_splits(files, ("train", "dev", "test"))
    assert capsys.readouterr().out == ""
    load_splits(files, ("train", "dev", "test"), with_notes=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        f"{tmp_path}: images found under another spelling: 1, as 'images/0.PNG' for 'images/0.png'"
    )


def test_one_image_of_two_names_is_a_problem_across_splits(tmp_path):
    make_images(tmp_path, "a.JPG")
    (tmp_path / "captions.csv").write_text("image,caption,split\na.jpg,x,train\na.JPG,y,dev\n")
    config = DataConfig(dataset="files", data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"captions\.csv:3: 'a\.JPG' is the file of 'a\.jpg' too"):
        load_splits(config, ("train", "dev"))


def test_available_splits_of_a_missing_folder(tmp_path):
    for dataset in ("files", "flickr8k", "flickr30k", "coco"):
        config = DataConfig(dataset=dataset, data_dir=str(tmp_path / "none"))
        with pytest.raises(UserError, match="--data_dir"):
            available_splits(config)
