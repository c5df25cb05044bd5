"""`import_arctic` as a person calls it, and what can be done with the run that it makes."""

import shlex

import arctic_models
import arctic_runs
import numpy as np
import pytest
import tensorflow as tf
from absl.flags import FlagValues
from command_line import call

from sat_tf import flags
from sat_tf.captioner import Captioner
from sat_tf.config import Config
from sat_tf.import_arctic import describe_run, given_config
from sat_tf.serving.saved_model import export
from sat_tf.training.train import batch_plan, batches, prepare

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
    """The run, and what the command printed."""
    folder = tmp_path_factory.mktemp("runs")
    workdir = folder / "a run"
    data = {"dataset": "files", "data_dir": photographs, "cache_dir": folder / "cache"}
    done = call("import_arctic", *arguments(files, workdir=workdir, **data))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return workdir, done.stdout


def test_it_prints_what_was_written_and_how_to_use_it(imported):
    workdir, printed = imported
    assert f"{workdir}: a run of soft attention and 9 words" in printed
    assert f"sat_tf.caption --workdir='{workdir}'" in printed
    assert "not words of this package" not in printed
    names = sorted(path.name for path in workdir.iterdir())
    assert names == ["best", "config.json", "encoder.keras", "vocabulary.json"]
    config = Config.load(workdir)
    assert config.data.dataset == "files"
    assert config.encoder.preprocessing == "none"
    assert config.training.doubly_stochastic_weight == pytest.approx(64 / 6)


def test_training_starts_from_it_with_the_printed_command(imported, tmp_path, monkeypatch):
    workdir, printed = imported
    (line,) = (line for line in printed.splitlines() if "sat_tf.train" in line)
    given = shlex.split(line.replace("NEW", f"{tmp_path}/new").partition("sat_tf.train")[2])
    monkeypatch.setattr(flags, "FLAGS", FlagValues())
    flags.define_settings()
    flags.define_command_flags("workdir")
    flags.parse(["train", *given, "--batch_size=2"])
    config, new = flags.settings_from_flags(), flags.FLAGS.workdir
    run, start = prepare(config, new), Captioner.load(workdir)
    run.model.update(next(iter(batches(run, batch_plan(run.captions, run.config.training, 0)))))
    assert run.vocabulary.words == start.vocabulary.words
    before, after = (
        model.decoder.embedding.embeddings.numpy() for model in (start.models[0], run.model)
    )
    assert 0 < abs(after - before).max() < 0.01
    assert run.model.flatten_grid.scale.numpy() == 1


def test_the_run_captions_and_scores(imported, monkeypatch):
    monkeypatch.setenv("PATH", "")  # without Java, and so without METEOR
    result = Captioner.load(imported[0], max_length=3).evaluate("dev")
    (caption,) = result.captions
    assert set(caption.words) <= set(arctic_models.WORDS)
    assert {"bleu_4", "perplexity"} <= set(result.scores)


@pytest.mark.slow
def test_the_run_is_exported(imported, tmp_path):
    captioner = Captioner.load(imported[0], max_length=5, beam_size=2)
    card = export(captioner, imported[0], tmp_path / "out")
    assert card["check"]["equal"] == card["check"]["images"] == 1


def test_the_data_set_is_the_models_where_a_folder_is_given():
    given = {"data_dir": "photos"}
    assert given_config(given, "flickr8k").data.dataset == "flickr8k"
    assert given_config({**given, "dataset": "files"}, "flickr8k").data.dataset == "files"
    for config in (given_config(given, "another"), given_config({}, "flickr8k")):
        assert config.data.dataset == Config().data.dataset


def test_words_that_are_split_here_are_counted():
    printed = describe_run(Config(), "run", ("A", ".", *arctic_models.WORDS[2:]))
    assert printed.startswith("2 of its 9 words, 'A' the first of them, are not words of this")


def bad_files(folder):
    """Files that are wrong, by name."""
    weights = arctic_models.make_weights(OPTIONS)
    del weights["decoder_Wc"]
    arctic_models.write_npz(folder / "lacking.npz", weights)
    marker = folder / "executed"
    (folder / "evil.pkl").write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
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
