"""The command that prints statistics and problems of a data set."""

import pytest
from box_files import entity, instances, make_entities, make_instances
from caption_files import karpathy, make_images, write_json
from command_line import call


def check(*arguments, blocked=()):
    return call("check_captions", *arguments, blocked=blocked)


HEAVY = ("tensorflow", "keras", "tensorflow_datasets")


@pytest.fixture
def files(tmp_path):
    make_images(tmp_path, "a.png", "b.png")
    lines = ["image,caption,split", "a.png,A dog runs .,train", "b.png,A cat runs .,dev"]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    return tmp_path


def test_a_data_set_without_fault(files):
    done = check("--dataset=files", f"--data_dir={files}", blocked=HEAVY)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "images                                   1           1" in done.stdout
    assert "10,000                 1           3    33.33%  as set\n" in done.stdout
    assert done.stdout.endswith("\n\nproblems: 0\n")


def test_every_problem_is_printed_not_only_the_first(files):
    with (files / "captions.csv").open("a") as file:
        file.write("".join(f"\nnone{number}.png,A dog,train" for number in range(50)))
        file.write("\nb.png,...,dev")
    done = check("--dataset=files", f"--data_dir={files}", blocked=HEAVY)
    assert done.returncode == 1
    assert not done.stderr
    told = done.stdout.split("problems: ")[1].splitlines()
    assert told[0] == "51"
    assert told[1:-1] == [
        f"{files}/captions.csv:{number + 4}: no such image in {files}: 'none{number}.png'"
        for number in range(50)
    ]
    assert told[-1] == f"{files}/captions.csv:54: the caption of 'b.png' is empty"
    assert "images                                   1           1" in done.stdout


def test_what_was_read_otherwise_is_noted(files):
    (files / "a.png").rename(files / "A.PNG")
    text = (files / "captions.csv").read_text().replace(",", ";")
    (files / "captions.csv").write_text(text)
    done = check("--dataset=files", f"--data_dir={files}", blocked=HEAVY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n\n")[-2:] == [
        "notes: 2\n"
        f"{files}/captions.csv: read with ';' between columns, image, caption, split\n"
        f"{files}: images found under another spelling: 1, as 'A.PNG' for 'a.png'",
        "problems: 0\n",
    ]


def test_images_that_can_t_be_read_are_problems(files):
    (files / "b.png").write_bytes(b"<html>404</html>")
    arguments = ["--dataset=files", f"--data_dir={files}"]
    line = f"{files}/b.png: is a web page (HTML): download the image again\n"
    done = check(*arguments, blocked=HEAVY)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith(f"\n\nproblems: 1\n{line}")
    assert "images                                   1           1" in done.stdout
    done = check(*arguments, "--skip_unreadable", blocked=HEAVY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\n\nleft out: 1 images\n{line}\nproblems: 0\n")
    assert "images                                   1           0" in done.stdout


def test_damage_inside_is_found_by_decoding(files):
    whole = (files / "b.png").read_bytes()
    (files / "b.png").write_bytes(whole[:60] + whole[-12:])
    arguments = ["--dataset=files", f"--data_dir={files}"]
    assert check(*arguments, blocked=HEAVY).returncode == 0
    done = check(*arguments, "--decode")
    assert done.returncode == 1
    assert done.stdout.endswith(f"problems: 1\n{files}/b.png: is damaged or cut off (PNG)\n")


def test_a_document_that_is_none(tmp_path):
    make_images(tmp_path / "flickr30k-images", "a.jpg")
    (tmp_path / "dataset_flickr30k.json").write_text('{"images": [}')
    done = check("--dataset=flickr30k", f"--data_dir={tmp_path}", blocked=HEAVY)
    assert done.returncode == 1
    assert not done.stderr
    assert "problems: 1\n" in done.stdout
    assert f"{tmp_path}/dataset_flickr30k.json:1: is not JSON" in done.stdout


def test_coco_with_karpathy_s_splits_needs_no_tensorflow(tmp_path):
    make_images(tmp_path / "val2014", "a.jpg", "b.jpg")
    splits = write_json(
        tmp_path / "k.json",
        karpathy({"restval": ["a.jpg"], "test": ["b.jpg"]}, lambda name: "val2014"),
    )
    arguments = ["--dataset=coco", f"--data_dir={tmp_path}", f"--splits={splits}"]
    done = check(*arguments, blocked=HEAVY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["train", "test"]


def test_shapes(tmp_path):
    sizes = ["--shapes_train=6", "--shapes_dev=2", "--shapes_test=2", "--shapes_size=48"]
    done = check("--dataset=shapes", f"--data_dir={tmp_path}", *sizes)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:3] == [
        ["train", "dev", "test"],
        ["images", "6", "2", "2"],
        ["captions", "30", "10", "10"],
    ]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--dataset=flickr30k", "--data_dir=none"], "--data_dir=none: no such folder"),
        (["--dataset=flickr30k"], "needs --data_dir"),
        (["--dataset=shapes", "--splits=x"], "--splits"),
    ],
)
def test_a_mistake_gets_one_line(arguments, what):
    done = check(*arguments, blocked=HEAVY)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_a_file_without_a_caption(files):
    (files / "captions.csv").write_text("image,caption\n")
    done = check("--dataset=files", f"--data_dir={files}", blocked=HEAVY)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.endswith(f"problems: 1\n{files}/captions.csv: holds no caption\n")


def check_boxes(files, boxes):
    return check("--dataset=files", f"--data_dir={files}", f"--boxes={boxes}")


def test_objects_are_counted_by_split(files):
    found = [("b.png", "cat", [0, 0, 2, 2]), ("b.png", "cat", [2, 0, 2, 2])]
    boxes = make_instances(files / "instances.json", {"b.png": (4, 5)}, found, ["cat"])
    done = check_boxes(files, boxes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    told = done.stdout.split("\n\n")
    assert [line.split() for line in told[-3].splitlines()[1:]] == [
        ["train", "0", "in", "0", "of", "1", "images"],
        ["dev", "2", "in", "1", "of", "1", "images"],
    ]
    note = f"{boxes}: has no boxes of the split train, as of 'a.png'"
    assert told[-2:] == [f"notes: 1\n{note}", "problems: 0\n"]


def test_problems_of_boxes_are_told_after_those_of_captions(files):
    with (files / "captions.csv").open("a") as file:
        file.write("\nb.png,...,dev")
    document = instances({"b.png": (4, 5)}, [("b.png", "cat", [0, 0, 2, -2])] * 25, ["cat"])
    boxes = write_json(files / "instances.json", document)
    done = check_boxes(files, boxes)
    assert done.returncode == 1
    assert not done.stderr
    what = "must have bbox ([left, top, width, height], in pixels)"
    assert done.stdout.split("problems: ")[1].splitlines() == [
        "26",
        f"{files}/captions.csv:4: the caption of 'b.png' is empty",
        *(f"{boxes}: annotations[{number}]: {what}" for number in range(25)),
    ]


def test_boxes_of_other_images_are_a_problem(files):
    make_entities(files, "x", [entity(["1"], (1, 1, 9, 9))], ["[/EN#1/animals A dog] runs ."])
    done = check_boxes(files, files)
    assert done.returncode == 1
    found = [
        f"{files}: has no boxes of the split {split}, as of '{image}.png'"
        for split, image in (("train", "a"), ("dev", "b"))
    ]
    assert done.stdout.split("problems: ")[1].splitlines() == ["2", *found]


def test_boxes_that_are_not_there_get_one_line(files):
    done = check_boxes(files, "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --boxes=none: no such file or folder in the ")
    assert len(done.stderr.splitlines()) == 1
