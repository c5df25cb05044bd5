"""`import_arctic` as a person calls it, and what can be done with the run that it makes."""

import json
import pickle
import shlex

import arctic_models
import arctic_runs
import numpy as np
import pytest
import tensorflow as tf
from test_commands import call

import sat_tf
from sat_tf.captioner import Captioner

OPTIONS = arctic_models.make_options(**arctic_models.PUBLISHED, dataset="flickr8k")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = ["image,caption,split"]
    for number, split in enumerate(("train", "train", "dev", "test")):
        pixels = random.integers(0, 255, [9, 12, 3]).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        rows += [f"{number}.png,a dog runs,{split}", f"{number}.png,the café on grass,{split}"]
    (folder / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The flags that name a model's files and its encoder."""
    folder = tmp_path_factory.mktemp("model")
    paths = arctic_models.write_model(folder, OPTIONS)
    encoder = arctic_runs.write_encoder(folder / "encoder.keras", OPTIONS["ctx_dim"])
    return {
        **{name: str(path) for name, path in paths.items()},
        "encoder": str(encoder),
        "preprocessing": "none",
        "image_size": str(arctic_runs.SIDE),
    }


def arguments(files, **changes):
    flags = {**files, **changes}
    return [f"--{name}={value}" for name, value in flags.items() if value is not None]


@pytest.fixture(scope="module")
def imported(files, photographs, tmp_path_factory):
    """The run, and what the command said."""
    folder = tmp_path_factory.mktemp("runs")
    workdir = folder / "a run"
    data = {"dataset": "files", "data_dir": photographs, "cache_dir": folder / "cache"}
    done = call("import_arctic", *arguments(files, workdir=workdir, **data))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return workdir, done.stdout


def test_it_tells_what_it_made_and_how_to_use_it(imported):
    workdir, said = imported
    assert f"{workdir}: a run of soft attention and 9 words" in said
    assert f"sat_tf.caption --workdir='{workdir}'" in said
    assert "none to this package" not in said
    names = sorted(path.name for path in workdir.iterdir())
    assert names == ["best", "config.json", "encoder.keras", "vocabulary.json"]
    config = json.loads((workdir / "config.json").read_text())["settings"]
    assert config["data"]["dataset"] == "files"
    assert config["encoder"]["preprocessing"] == "none"
    assert config["training"]["doubly_stochastic_weight"] == pytest.approx(64 / 6)


def test_the_run_captions_and_scores(imported, photographs, tmp_path):
    workdir, _ = imported
    image, scores = str(photographs / "3.png"), tmp_path / "scores.json"
    done = call("caption", f"--workdir={workdir}", "--max_length=5", image)
    assert done.returncode == 0, done.stderr
    path, text = done.stdout.rstrip("\n").split("\t")
    assert path == image and set(text.split()) <= set(arctic_models.WORDS)
    done = call("evaluate", f"--workdir={workdir}", "--split=dev", f"--output={scores}")
    assert done.returncode == 0, done.stderr
    assert {"bleu_4", "perplexity"} <= set(json.loads(scores.read_text())["scores"])


@pytest.mark.slow
def test_the_run_is_exported(imported, tmp_path):
    workdir, _ = imported
    flags = ["--max_length=5", "--beam_size=2"]
    done = call("export", f"--workdir={workdir}", f"--export_dir={tmp_path}/out", *flags)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 captions are those of the run" in done.stdout


def test_training_goes_on_from_it_with_the_command_that_was_told(imported, tmp_path):
    workdir, said = imported
    (line,) = (line for line in said.splitlines() if "sat_tf.train" in line)
    told = shlex.split(line.replace("NEW", f"{tmp_path}/new").partition("sat_tf.train")[2])
    done = call("train", *told, "--max_epochs=1", "--batch_size=2", "--validation_beam_size=2")
    assert done.returncode == 0, done.stderr
    start, trained = Captioner.load(workdir), Captioner.load(tmp_path / "new")
    assert trained.vocabulary.words == start.vocabulary.words
    before, after = (
        captioner.models[0].cell.embedding.embeddings.numpy() for captioner in (start, trained)
    )
    assert 0 < abs(after - before).max() < 0.01
    assert trained.models[0].locations.scale.numpy() == 1


def test_the_data_set_is_the_models_where_a_folder_is_given(files, tmp_path):
    done = call("import_arctic", *arguments(files, workdir=tmp_path / "run", data_dir="photos"))
    assert done.returncode == 0, done.stderr
    assert sat_tf.Captioner.load(tmp_path / "run").settings.data.dataset == "flickr8k"


def test_words_that_are_none_here_are_told(files, tmp_path):
    dictionary = tmp_path / "dictionary.pkl"
    words = ("A", ".", *arctic_models.WORDS[2:])
    dictionary.write_bytes(pickle.dumps(arctic_models.make_dictionary(words), 2))
    changes = {"workdir": tmp_path / "run", "dictionary": dictionary}
    done = call("import_arctic", *arguments(files, **changes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 of its 9 words, 'A' the first of them, are none to")


def bad_files(folder):
    """Files that are wrong, by name."""
    weights = arctic_models.make_weights(OPTIONS)
    del weights["decoder_Wc"]
    arctic_models.write_npz(folder / "lacking.npz", weights)
    marker = folder / "executed"
    (folder / "evil.pkl").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    arctic_runs.write_encoder(folder / "five.keras", 5)
    (folder / "there").mkdir()
    return marker


@pytest.mark.parametrize(
    ("changes", "status", "what"),
    [
        ({"workdir": None}, 2, "--workdir must be given"),
        ({"npz": None}, 2, "--npz must be given"),
        ({"options": None}, 2, "--options must be given"),
        ({"dictionary": None}, 2, "--dictionary must be given"),
        ({"encoder": None}, 1, "--encoder must be given"),
        ({"hidden_size": 5}, 2, "hidden_size"),
        ({"vocabulary_size": 5}, 2, "vocabulary_size"),
        ({"workdir": "there"}, 1, "--workdir=there: is there already"),
        ({"npz": "none.npz"}, 1, "none.npz: no such file"),
        ({"npz": "lacking.npz"}, 1, "lacking.npz: lacks decoder_Wc"),
        ({"options": "evil.pkl"}, 1, "evil.pkl"),
        ({"dictionary": "evil.pkl"}, 1, "evil.pkl"),
        ({"npz": "evil.pkl"}, 1, "evil.pkl"),
        ({"encoder": "five.keras"}, 1, "annotations of 7 numbers"),
        ({"encoder": "none.keras"}, 1, "none.keras: no such file"),
        ({"dataset": "coco"}, 1, "--data_dir"),
    ],
)
def test_a_mistake_gets_one_clear_line(files, tmp_path, changes, status, what):
    marker = bad_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = call("import_arctic", *arguments(files, **{"workdir": "run", **changes}), cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert what in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not done.stdout
    assert not marker.exists(), "a pickle was executed"
    assert sorted(tmp_path.rglob("*")) == before, "something was left behind"
