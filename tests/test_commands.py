"""The commands, and their errors: one line without a stack trace."""

import functools
import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from box_files import make_instances
from command_line import call, call_process
from exported_models import caption_files
from tiny_run import IMAGE_SIZE, tiny_encoder

from sat_tf.captioner import Captioner, Run
from sat_tf.config import Config, DataConfig
from sat_tf.datasets import load_splits
from sat_tf.evaluate import describe, other_data_set
from sat_tf.metrics.grounding import grounding, no_grounding
from sat_tf.metrics.registry import SCORES
from sat_tf.model.weights import provenance, save_weights
from sat_tf.serving import saved_model


def small(photographs):
    """Arguments of a run that trains in seconds."""
    return [
        "--dataset=files",
        f"--data_dir={photographs}",
        f"--encoder={tiny_encoder(photographs)}",
        f"--image_size={IMAGE_SIZE}",
        "--resize=stretch",
        "--preprocessing=none",
        "--embedding_size=8",
        "--hidden_size=8",
        "--attention_size=8",
        "--max_epochs=1",
        "--log_attention=1",
    ]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A folder of images with a caption file, as a person has it."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = ["image,caption,split"]
    for number in range(8):
        pixels = random.integers(0, 255, [40, 50, 3]).astype(np.uint8)
        name = f"{number}.jpg" if number % 2 else f"{number}.png"
        encode = tf.io.encode_jpeg if number % 2 else tf.io.encode_png
        (folder / name).write_bytes(encode(pixels).numpy())
        split = ("train", "train", "dev", "test")[number // 2]
        rows += [f"{name},A dog runs .,{split}", f"{name},the cat's ball,{split}"]
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Commands share what they load of a run, its compiled searches and its scores."""
    load, evaluate = functools.cache(Captioner.load), functools.cache(Captioner.evaluate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Captioner, "load", lambda *runs, **changes: load(*map(str, runs), **changes))
        patch.setattr(Captioner, "evaluate", evaluate)
        yield


@pytest.fixture(scope="module")
def run(photographs, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "run"
    done = call_process("train", *small(photographs), f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "scores on test" in done.stdout
    assert (workdir / "attention.png").stat().st_size > 1000
    assert "bleu_4" in json.loads((workdir / "scores.json").read_text())["scores"]
    return workdir


@pytest.fixture(scope="module")
def second_run(run, tmp_path_factory):
    """A copy of the run with other weights."""
    workdir = tmp_path_factory.mktemp("second") / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("best"))
    loaded = Run.load(run, Config.load(run))
    random = np.random.default_rng(0)
    for weight in loaded.model.decoder.trainable_weights:
        weight.assign_add(random.normal(scale=0.3, size=weight.shape))
    save_weights(
        loaded.model, workdir / "best", provenance(workdir, loaded.config, loaded.vocabulary)
    )
    return workdir


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A folder of all that `evaluate` writes of a split, and what it said."""
    folder = tmp_path_factory.mktemp("evaluated")
    found = [("5.jpg", "cat", [5, 10, 20, 20]), ("4.png", "dog", [0, 0, 25, 40])]
    sizes = {"4.png": (40, 50), "5.jpg": (40, 50)}
    boxes = make_instances(folder / "instances.json", sizes, found, ["cat", "dog"])
    done = call(
        "evaluate",
        f"--workdir={run}",
        "--split=dev",
        f"--boxes={boxes}",
        f"--output={folder}/scores.json",
        f"--captions={folder}/captions.json",
        f"--report={folder}/report.html",
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_evaluate_prints_and_writes_scores(evaluated):
    folder, said = evaluated
    written = json.loads((folder / "scores.json").read_text())
    assert written["images"] == 2
    assert {"bleu_1", "bleu_4_no_bp", "perplexity"} <= set(written["scores"])
    assert f"{written['scores']['perplexity']:.2f}" in said
    assert "left out: meteor needs Java" in said
    assert {
        "distinct_captions",
        "novel_captions",
        "attention_entropy",
        "state_sensitivity",
    } <= set(written["scores"])
    low, high = written["intervals"]["perplexity"]
    assert low <= written["scores"]["perplexity"] <= high
    assert f"[{low:.2f}, {high:.2f}]" in said
    (of_run,) = written["runs"]
    assert of_run["settings"]["decoder"]["hidden_size"] == 8
    assert len(of_run["vocabulary"]) == len(of_run["encoder"]) == 64
    assert written["beta_by_word_class"] is not None
    assert written["captions"][0]["references"] == ["A dog runs .", "the cat's ball"]
    found = json.loads((folder / "captions.json").read_text())
    assert [sorted(entry) for entry in found] == [["caption", "image_id"]] * 2
    assert [entry["image_id"] for entry in found] == ["4.png", "5.jpg"]
    assert [entry["caption"] for entry in found] == [c["caption"] for c in written["captions"]]


@pytest.mark.usefixtures("without_java")
def test_a_run_is_scored_on_data_that_it_was_not_trained_on(run, photographs, evaluated, tmp_path):
    """The same images elsewhere get the same scores, and are another data set."""
    other = shutil.copytree(photographs, tmp_path / "other")
    data = ["--dataset=files", f"--data_dir={other}", f"--boxes={evaluated[0]}/instances.json"]
    others = ["--split=dev", "--faithfulness=1", f"--output={tmp_path}/scores.json"]
    done = call("evaluate", f"--workdir={run}", *data, *others)
    assert done.returncode == 0, done.stderr
    assert f"Not the data the run was trained on: {other}" in done.stdout
    assert "reference captions" in done.stdout
    written = json.loads((tmp_path / "scores.json").read_text())
    expected = json.loads((evaluated[0] / "scores.json").read_text())
    assert written["data"]["data_dir"] == str(other)
    assert "data" not in expected
    covered = {name for name, score in SCORES.items() if score.group == "faithfulness"}
    shared = expected["scores"].keys() - {"novel_captions"}
    assert written["scores"].keys() == shared | covered
    for name in shared:
        score = written["scores"][name]
        # Cached features have half the precision.
        assert score == pytest.approx(expected["scores"][name], abs=0.01)
    assert "trained on" not in evaluated[1]
    own = {"dataset": "files", "data_dir": str(photographs), "boxes": "instances.json"}
    assert other_data_set([run], dict(own)) is None  # boxes are known of the same images


def test_attention_of_references_is_that_of_teacher_forcing(run, photographs, evaluated):
    """The references one by one, as `caption --text` scores them."""
    folder, _ = evaluated
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    data = DataConfig(
        dataset="files", data_dir=str(photographs), boxes=str(folder / "instances.json")
    )
    captioner, sums = Captioner.load(run), no_grounding()
    for record in load_splits(data, ["dev"])["dev"]:
        for text in record.captions:
            (caption,) = captioner.score_text([captioner.read_image(record.image)], text)
            sums += grounding(caption.words, caption.alphas, record.objects)
    hits, mass, words = sums[0, 0]
    assert words == 2
    assert scores["reference_pointing_accuracy"] == pytest.approx(100 * hits / words)
    # The cached features of the evaluation have half the precision.
    found = scores["reference_attention_correctness"]
    assert found == pytest.approx(100 * mass / words, rel=1e-3)


@pytest.mark.usefixtures("without_java")
def test_two_runs_are_scored_together_with_the_images_of_the_split_alone(
    run, second_run, photographs, tmp_path
):
    for name in ("captions.csv", "4.png", "5.jpg"):  # of dev
        (tmp_path / name).write_bytes((photographs / name).read_bytes())
    captioner = Captioner.load(run, second_run, data_dir=str(tmp_path))
    result = captioner.evaluate("dev")
    assert "bleu_4" in result.scores
    assert "novel_captions" not in result.scores
    _, document = describe(captioner, result)
    assert len(document["runs"]) == document["images"] == 2


def test_captions_of_another_system_get_the_same_scores(run, photographs, evaluated, tmp_path):
    """What `--captions` wrote comes back as the same scores, with or without the run."""
    expected = json.loads((evaluated[0] / "scores.json").read_text())["scores"]
    for images in ([f"--workdir={run}"], ["--dataset=files", f"--data_dir={photographs}"]):
        output = tmp_path / "again.json"
        results = [f"--results={evaluated[0]}/captions.json", "--split=dev", *images]
        done = call("evaluate", *results, f"--output={output}")
        assert done.returncode == 0, done.stderr
        scores = json.loads(output.read_text())["scores"]
        assert scores["bleu_4"] == expected["bleu_4"]
        assert scores.items() <= expected.items()


def test_lines_of_text_are_scored_against_lines_of_text(tmp_path):
    (tmp_path / "captions.txt").write_text("a dog runs\n\n")
    (tmp_path / "0.txt").write_text("A dog runs .\nthe cat\n")
    (tmp_path / "1.txt").write_text("\na cat\n")
    files = ["--results=captions.txt", "--references=0.txt,1.txt"]
    done = call("evaluate", *files, "--output=scores.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert done.stderr == ""
    assert scores["bleu_1_no_bp"] == pytest.approx(100)
    assert scores["mean_length"] == 1.5
    assert "meteor" not in scores


def test_two_runs_are_compared(run, evaluated, tmp_path):
    output, boxes = tmp_path / "difference.json", f"--boxes={evaluated[0]}/instances.json"
    done = call("evaluate", f"--compare={run},{run}", "--split=dev", boxes, f"--output={output}")
    assert done.returncode == 0, done.stderr
    written = json.loads(output.read_text())
    found = written["differences"]["perplexity"]
    assert found == {"difference": 0.0, "interval": [0.0, 0.0], "p": 1.0}
    assert "perplexity" in done.stdout
    words = written["runs"][str(run)]["vocab_size"]
    assert "vocab_size" not in written["differences"]
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[1:])
    assert told["vocab_size"].split() == [f"{words:.3f}"] * 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--workdir or --compare or --results must be given"),
        (["--compare=one"], "name two runs"),
        (["--compare=one,two", "--workdir=RUN"], "leave --workdir"),
        (["--compare=one,two"], "--compare=one: holds no run (no such folder in the current"),
        (["--workdir=one,two"], "--workdir=one: holds no run"),
        (["--compare=one,two", "--report=x.html"], "--report is not for --compare"),
        (["--results=none.json"], "captions of which images"),
        (["--results=none.txt"], "give the files of --references too"),
        (["--results=none.txt", "--references=none"], "none.txt: can't be read"),
        (["--results=x.json", "--references=none"], "--references is for"),
        (["--workdir=RUN", "--references=none"], "--references is not for"),
    ],
)
def test_evaluate_names_conflicting_flags(arguments, complaint, tmp_path):
    done = call("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_caption_continues_after_an_unreadable_image(run, photographs, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    paths = [str(photographs / "0.png"), str(broken), "none.jpg", str(photographs / "1.jpg")]
    done = call("caption", f"--workdir={run}", f"--figure={tmp_path}/where.png", *paths)
    assert done.returncode == 1
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [paths[0], paths[3]]
    assert all(len(line) == 2 for line in lines)
    assert "broken.jpg" in done.stderr
    assert "none.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.glob("where*")) == ["where-1.png", "where-2.png"]


def test_caption_writes_the_captions_of_a_folder_for_cocos_server(run, photographs, tmp_path):
    """Without references, in COCO's format; what can't be read is left out, and named."""
    folder, written = tmp_path / "test2014", tmp_path / "captions.json"
    folder.mkdir()
    names = [f"COCO_test2014_{number:012}.jpg" for number in (1, 42)]
    for name in names:
        shutil.copy(photographs / "0.png", folder / name)
    arguments = [f"--workdir={run}", f"--captions={written}"]
    done = call("caption", *arguments, folder)
    assert done.returncode == 0, done.stderr
    (caption,) = {entry["caption"] for entry in json.loads(written.read_text())}
    assert json.loads(written.read_text()) == [
        {"image_id": number, "caption": caption} for number in (1, 42)
    ]
    assert done.stdout == f"{written}: captions of 2 images\n"
    broken = folder / f"COCO_test2014_{43:012}.jpg"
    broken.write_bytes(b"no image")
    done = call("caption", *arguments, folder)
    assert done.returncode == 1
    assert f"{broken}: is no image of a known format" in done.stderr
    assert [entry["image_id"] for entry in json.loads(written.read_text())] == [1, 42]
    shutil.copy(photographs / "0.png", broken)
    done = call("caption", *arguments, folder)
    assert done.returncode == 0
    assert "captions.json.partial: has 2 captions; resuming" in done.stderr
    assert [entry["image_id"] for entry in json.loads(written.read_text())] == [1, 42, 43]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.json", "test2014"]


def test_captions_that_were_interrupted_are_resumed(run, photographs, tmp_path, monkeypatch):
    """Of the same run and search: neither a whole file nor a lost caption is left in between."""
    images, target = [str(photographs / f"{n}.png") for n in (0, 2, 4)], tmp_path / "captions.json"
    captioner = Captioner.load(run)
    read_image, read = captioner.read_image, []

    def interrupted(path, **options):
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(path)
        return read_image(path, **options)

    arguments = [f"--workdir={run}", f"--captions={target}", "--decode_batch_size=1", *images]
    with monkeypatch.context() as patch:
        patch.setattr(captioner, "read_image", interrupted)
        done = call("caption", *arguments)
    assert done.returncode == 130
    assert "stopped after 2 captions" in done.stderr
    (partial,) = tmp_path.iterdir()
    partial.write_text(partial.read_text() + '{"image": "cut')
    done = call("caption", *arguments)
    assert done.returncode == 0
    assert "has 2 captions; resuming" in done.stderr
    assert [entry["image_id"] for entry in json.loads(target.read_text())] == images
    expected = [caption.text for caption in captioner.caption(images)]
    assert [entry["caption"] for entry in json.loads(target.read_text())] == expected
    lines = ['{"decoding": "other"}', json.dumps({"image": images[0], "caption": "other"})]
    partial.write_text("\n".join(lines))
    done = call("caption", *arguments)
    assert "of another run or search" in done.stderr
    assert [entry["caption"] for entry in json.loads(target.read_text())] == expected


def test_caption_rejects_what_captions_exclude(run, tmp_path):
    for arguments, complaint in (
        (["--captions=c.json", "--report=r.html"], "--report is not for --captions"),
        (["--captions=c.json", "--num_return_sequences=2"], "--num_return_sequences is not for"),
        (["--image_info=i.json"], "--image_info is for --captions"),
        (["--captions=c.json", "--image_info=i.json"], "i.json: can't be read"),
    ):
        done = call("caption", f"--workdir={run}", *arguments, "a.jpg", cwd=tmp_path)
        assert done.returncode == 1
        assert complaint in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def odd_name(photographs, tmp_path_factory):
    """An image whose name is not Unicode."""
    odd = os.fsdecode(bytes(tmp_path_factory.mktemp("odd")) + b"/gr\xf6sse.png")
    try:
        return shutil.copy(photographs / "0.png", odd)
    except OSError:
        pytest.skip("the file system has no such names")


@pytest.fixture(scope="module")
def printed(run, photographs, odd_name):
    """Two captions of each of two images, by a process that has imported nothing before."""
    images = [odd_name, str(photographs / "0.png")]
    done = call_process("caption", f"--workdir={run}", "--num_return_sequences=2", *images)
    assert done.returncode == 0, done.stderr
    assert "loading TensorFlow ..." in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_caption_takes_a_name_that_is_not_unicode(run, photographs, odd_name, printed, tmp_path):
    images = [odd_name, str(photographs / "0.png")]
    written = tmp_path / "captions.json"
    assert call("caption", f"--workdir={run}", f"--captions={written}", *images).returncode == 0
    assert [entry["image_id"] for entry in json.loads(written.read_text())] == images
    shown = odd_name.encode(errors="backslashreplace").decode()
    assert "\\udcf6" in shown
    assert [line[0] for line in printed] == [shown] * 2 + images[1:] * 2


def test_caption_prints_several_with_their_log_probabilities(printed):
    for first, second in (printed[:2], printed[2:]):
        assert first[0] == second[0]
        assert first[1] != second[1]
        assert float(first[2]) > float(second[2])


def test_caption_scores_a_sentence(run, photographs, tmp_path):
    figure, image = tmp_path / "where.png", str(photographs / "0.png")
    done = call("caption", f"--workdir={run}", "--text=A dog yodels.", f"--figure={figure}", image)
    assert done.returncode == 0, done.stderr
    assert "yodels" in done.stderr
    path, total, each = done.stdout.rstrip("\n").split("\t")
    words, probabilities = zip(*(word.split() for word in each.split(", ")), strict=True)
    assert (path, words) == (image, ("a", "dog", "yodels", "<end>"))
    assert float(total) == pytest.approx(np.log(np.array(probabilities, float)).sum(), abs=0.1)
    assert figure.stat().st_size > 1000


def test_caption_and_evaluate_write_reports(run, photographs, evaluated, tmp_path):
    report, broken = tmp_path / "captions.html", tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    images = [str(photographs / "0.png"), str(broken), str(photographs / "1.jpg")]
    done = call("caption", f"--workdir={run}", f"--report={report}", *images)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert all(path in report.read_text() for path in (images[0], images[2]))
    assert images[1] not in report.read_text()
    page = (evaluated[0] / "report.html").read_text()
    assert all(text in page for text in ("4.png", "5.jpg", "smoothed BLEU-4"))
    documents = map(json.loads, re.findall(r'data-role="document">(.*)</script>', page))
    assert {one["image_id"]: one["objects"] for one in documents} == {
        "4.png": [{"name": "dog", "box": [0, 0, 1, 0.5]}],
        "5.jpg": [{"name": "cat", "box": [0.25, 0.1, 0.75, 0.5]}],
    }


def test_two_runs_caption_together(run, second_run, photographs):
    """Probabilities are averaged: their logarithm is above the mean of the logarithms."""
    image, total = str(photographs / "0.png"), []
    for workdirs in (run, second_run, f"{run},{second_run}"):
        done = call("caption", f"--workdir={workdirs}", "--text=a", image)
        assert done.returncode == 0, done.stderr
        total.append(float(done.stdout.split("\t")[1]))
    assert total[2] > (total[0] + total[1]) / 2
    assert len(set(total)) == 3


def test_export_captions_as_the_run_does(run, tmp_path, monkeypatch):
    """Here it captions in this process, which need not import TensorFlow again."""
    monkeypatch.setattr(saved_model, "_caption_in_fresh_process", caption_files)
    target = tmp_path / "exports" / "1"
    done = call("export", f"--workdir={run}", f"--export_dir={target}", "--beam_size=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"loading {run} ...\n"
    assert "2 of 2 captions are those of the run" in done.stdout
    card = json.loads((target / "model_card.json").read_text())
    assert card["settings"]["decoding"]["beam_size"] == 2
    again = call("export", f"--workdir={run}", f"--export_dir={target}")
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: --export_dir={target}: is there already")


@pytest.mark.parametrize(
    ("command", "arguments", "what"),
    [
        ("train", ["--workdir=RUN", "--hidden_sise=3"], "hidden_sise"),
        ("train", ["--workdir=RUN", "--hidden_size=many"], "--hidden_size"),
        ("train", ["--workdir=RUN", "--optimizer=best"], "sgd"),
        ("train", ["--hidden_size=3"], "--workdir"),
        ("train", ["--workdir=RUN", "--flagfile=none.flags"], "none.flags"),
        ("train", ["--workdir=RUN", "--dataset=files"], "--data_dir"),
        ("train", ["--workdir=RUN", "--finetune_from=all"], "--nocache_features"),
        ("train", ["--workdir=RUN", "--dataset=files", "--data_dir=none"], "--data_dir=none"),
        ("train", ["--workdir=RUN", "stray"], "stray"),
        ("evaluate", ["--workdir=none"], "--workdir=none"),
        ("caption", ["--workdir=none"], "no image given"),
        ("caption", ["--workdir=none", "--figure=x.doc", "a.jpg"], "--figure"),
        ("caption", ["--workdir=none", "a.jpg"], "--workdir=none"),
        ("evaluate", ["--workdir=none", "--output=/"], "--output=/: is a folder"),
        ("extract_features", ["--nocache_features"], "--nocache_features"),
        ("export", ["--workdir=none", "--export_dir=OUT"], "--workdir=none"),
        ("export", ["--workdir=none"], "--export_dir"),
        ("export", ["--workdir=A,B", "--export_dir=OUT"], "one run"),
        ("export", ["--workdir=none", "--export_dir=OUT", "--precision=half"], "bfloat16"),
        ("evaluate", ["--workdir=none", "--beam_size=0"], "--beam_size"),
        ("evaluate", ["--workdir=none", "--report=/"], "--report=/: is a folder"),
        ("evaluate", ["--workdir=none", "--output=/proc/x/y"], "--output=/proc/x/y: nothing can"),
        ("export", ["--workdir=none", "--export_dir=."], "--export_dir=.: is there already"),
        (
            "export",
            ["--workdir=none", "--export_dir=v[1]"],
            ": TensorFlow takes [ ] \\ * ? in a path",
        ),
        ("caption", ["--workdir=none", "--report=/", "a.jpg"], "--report=/: is a folder"),
    ],
)
def test_a_wrong_command_line_gets_one_line(tmp_path, command, arguments, what):
    done = call(command, *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert what in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not done.stdout
    assert not list(tmp_path.iterdir()), "something was left behind"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--num_return_sequences=4"], "--num_return_sequences=4"),
        (["--top_k=3"], "--search=sample"),
        (["--min_length=50"], "--min_length=50"),
        (["--text=..."], "--text=...: has no word"),
        (["--text="], "--text=: has no word"),
    ],
)
def test_a_wrong_search_is_named(run, photographs, arguments, what):
    done = call("caption", f"--workdir={run}", *arguments, str(photographs / "0.png"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and what in done.stderr
    assert not done.stdout


def test_bad_captions_stop_the_command_before_it_writes(photographs, tmp_path):
    captions = tmp_path / "captions.csv"
    captions.write_text("image,caption,split\n0.png,,train\nnone.png,a dog,dev\n")
    done = call(
        "train",
        *small(photographs),
        f"--captions_file={captions}",
        f"--workdir={tmp_path}/run",
    )
    assert done.returncode == 1
    assert "captions.csv:2" in done.stderr
    assert "captions.csv:3" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
