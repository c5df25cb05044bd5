"""The doctor: a healthy run passes clean, and each fault that is planted in it is found."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from coloured_squares import red_encoder, squares_settings, write_squares
from test_commands import call

from sat_tf.captioner import Run
from sat_tf.config import EncoderSettings, Settings, changed
from sat_tf.data.feature_shards import Index, read_tail, shard_path, write_shard
from sat_tf.diagnosis import patient
from sat_tf.diagnosis.examination import CHECKS, examine, is_clean
from sat_tf.diagnosis.findings import Finding, Verdict
from sat_tf.diagnosis.patient import Patient
from sat_tf.model.encoder import build_encoder, resolve_encoder, save_encoder
from sat_tf.model.weights import save_weights
from sat_tf.training.loop import train
from sat_tf.vocabulary import END, Vocabulary

FIND = {check.name: check.find for check in CHECKS}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """A folder with images, captions, an encoder and a run that learned from them."""
    folder = write_squares(tmp_path_factory.mktemp("squares"))
    red_encoder(folder / "encoder.keras")
    assert train(squares_settings(folder), folder / "run")
    return folder


@pytest.fixture
def run(squares, tmp_path):
    """A copy of the run, to plant faults in."""
    shutil.copytree(squares / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photographs(squares, tmp_path):
    """A copy of the images and captions, to plant faults in."""
    folder = tmp_path / "photographs"
    shutil.copytree(squares, folder, ignore=shutil.ignore_patterns("run", "features"))
    return folder


def find(name: str, workdir, **changes) -> Finding:
    return FIND[name](Patient(workdir, changed(Settings.load(workdir), **changes)))


def assert_fault(finding: Finding, *words: str) -> None:
    assert finding.verdict is Verdict.FAULT, finding
    assert finding.advice
    for word in words:
        assert word in finding.evidence


def test_a_healthy_run_passes_clean(squares):
    found = dict(examine(Patient(squares / "run", Settings.load(squares / "run"))))
    assert list(found) == [check.name for check in CHECKS]
    assert {name: one.evidence for name, one in found.items() if not is_clean(one.verdict)} == {}
    assert all(one.verdict is Verdict.HEALTHY for one in found.values())


def test_another_runs_vocabulary(run):
    path = run / "vocabulary.json"
    own = Vocabulary.load(path)
    Vocabulary((*own.words[:3], *reversed(own.words[3:])), own.counts).save(path)
    found = dict(examine(Patient(run, Settings.load(run))))
    assert_fault(found.pop("files of the run"), "another vocabulary")
    assert {one.verdict for one in found.values()} == {Verdict.NOT_CHECKED}


def test_captions_that_are_not_as_they_should_be(run, photographs):
    with open(photographs / "captions.csv", "a") as file:
        file.write("none.png,a dog,train\n")
    assert_fault(find("data set", run, data_dir=str(photographs)), "captions.csv:182", "none.png")


@pytest.mark.parametrize(
    ("curves", "advice"),
    [
        ({"loss": [3, 2, 1, 1.1], "perplexity": [9, 4, 4.1, 5]}, ""),
        ({"loss": [3, 2, 1, 0.5], "perplexity": [4, 3, 2, 2.7]}, "--dropout"),
        ({"loss": [3, 2, 1], "perplexity": [2, 3, 4]}, "--dropout"),
        ({"loss": [4, 3, 2, 1], "perplexity": [9, 2, 2.3, 2]}, "--dropout"),
        ({"loss": [3, 2, np.nan], "perplexity": [4, 3, 2]}, "--dropout"),
        ({"loss": [3, 1, 2.5], "perplexity": [4, 4, 4]}, "--learning_rate"),
    ],
    ids=["healthy", "left behind", "from the start on", "chosen late", "no number", "blows up"],
)
def test_curves_that_come_apart(run, curves, advice):
    entries = [
        dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    keep_best_epoch(run, 3)
    finding = find("training curves", run)
    assert (finding.verdict is Verdict.FAULT) == bool(advice)
    assert advice in finding.advice


def keep_best_epoch(run, epoch):
    """As if the best weights had been saved after another epoch."""
    (prefix,) = {path.stem for path in (run / "best").glob("*.index")}
    for path in [*(run / "best").iterdir()]:
        text = path.name.replace(prefix, f"ckpt-{epoch}")
        path.rename(path.with_name(text))
    state = run / "best" / "checkpoint"
    state.write_text(state.read_text().replace(f'"{prefix}"', f'"ckpt-{epoch}"'))


def test_training_captions_of_other_words(run, photographs):
    rewrite(photographs, lambda captions: [text.replace("one", "patch") for text in captions])
    finding = find("vocabulary", run, data_dir=str(photographs))
    assert_fault(finding, "not in it (one)", "new (patch)")


def rewrite(photographs, change):
    """Changes the captions of captions.csv, all at once."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    changed_rows = map(",".join, zip(names, change(list(captions)), splits, strict=True))
    path.write_text("\n".join([head, *changed_rows]) + "\n")


def test_words_that_the_vocabulary_lacks(run, photographs):
    rewrite(photographs, lambda captions: [text.replace("square", "box") for text in captions])
    finding = find("unknown words", run, data_dir=str(photographs))
    assert_fault(finding, "12.5% of train")
    assert "--vocabulary_size" in finding.advice


def test_images_saved_as_0_to_1(run, photographs):
    for path in photographs.glob("*.png"):
        pixels = tf.io.decode_png(path.read_bytes())
        path.write_bytes(tf.io.encode_png(pixels // 255).numpy())
    finding = find("pixel range", run, data_dir=str(photographs))
    assert_fault(finding, "0 to 1", "black or blank")


def give_encoder(run, network: keras.Model, preprocessing: str) -> None:
    """Puts another encoder into a run."""
    network.save(run / "network.keras")
    settings = changed_encoder(Settings.load(run), str(run / "network.keras"), preprocessing)
    settings.save(run)
    save_encoder(build_encoder(settings.encoder, settings.images.image_size), run / "encoder.keras")


def changed_encoder(settings: Settings, encoder: str, preprocessing: str) -> Settings:
    own = dataclasses.replace(settings.encoder, encoder=encoder, preprocessing=preprocessing)
    return dataclasses.replace(settings, encoder=own)


def network_of(squares) -> keras.Model:
    return keras.saving.load_model(squares / "encoder.keras", compile=False)


def test_pixels_of_another_range(squares, run):
    """The network takes -1 to 1 and is given 0 to 255: all it sees is saturated or nothing."""
    give_encoder(run, network_of(squares), "none")
    finding = find("pixel range", run)
    assert_fault(finding, "--preprocessing=none")
    assert "--preprocessing=tf" in finding.advice or "--preprocessing=torch" in finding.advice


@pytest.mark.parametrize(
    ("preprocessing", "checks"),
    [("tf", {"pixel range", "channel order"}), ("caffe", set()), ("auto", set())],
)
def test_what_imagenet_s_own_weights_were_trained_on_is_known(run, preprocessing, checks):
    settings = Settings.load(run)
    encoder = EncoderSettings(encoder="vgg16", preprocessing=preprocessing)
    resolved = resolve_encoder(encoder)
    patient = Patient(run, dataclasses.replace(settings, encoder=resolved))
    faults = {
        name
        for name in ("pixel range", "channel order")
        if FIND[name](patient).verdict is Verdict.FAULT
    }
    assert faults == checks


def test_red_and_blue_exchanged(squares, run):
    """A network that looks for red where it is given blue."""
    network = network_of(squares)
    kernel, bias = network.get_layer("above").get_weights()
    network.get_layer("above").set_weights([kernel[:, :, ::-1], bias])
    give_encoder(run, network, "tf")
    assert_fault(find("channel order", run), "sees RGB", "100% of 64 images")
    assert_fault(find("overfits 16 captions", run), "nats of each of 16 training captions (2.8 if")


def test_two_captions_of_images_that_look_alike(squares, run, photographs):
    """A coin's nat, spread over eight words, is less than what a word may cost."""
    network = network_of(squares)
    layer = network.get_layer("shades")
    layer.set_weights([0 * weight for weight in layer.get_weights()])
    give_encoder(run, network, "tf")
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[:2], rows[-1]]))
    finding = find("overfits 16 captions", run, data_dir=str(photographs))
    assert_fault(finding, "nats of each of 2 training captions (0.7 if")
    assert finding.figures["nats_per_word"] < 0.1


@pytest.mark.parametrize(
    "turn",
    [
        keras.layers.Permute((2, 1, 3)),
        lambda grid: keras.ops.flip(grid, axis=1),
        lambda grid: keras.ops.flip(grid, axis=2),
        # As who reshapes channels first without transposing them.
        lambda grid: keras.layers.Reshape(grid.shape[1:])(keras.layers.Permute((3, 1, 2))(grid)),
    ],
    ids=["transposed", "upside down", "mirrored", "channels first"],
)
def test_a_grid_in_another_order(squares, run, turn):
    network = network_of(squares)
    give_encoder(run, keras.Model(network.inputs, turn(network.outputs[0])), "tf")
    assert_fault(find("grid order", run), "of the side away")


def test_an_encoder_of_other_weights(squares, run):
    network = network_of(squares)
    layer = network.get_layer("shades")
    layer.set_weights([1.1 * weight for weight in layer.get_weights()])
    give_encoder(run, network, "tf")
    assert_fault(find("encoder", run), "root mean square")
    assert find("files of the run", run).verdict is Verdict.HEALTHY


def test_a_cache_of_other_images(squares, run, tmp_path):
    """Its index and its checksums are as they should be; the images' order is not."""
    cache = tmp_path / "features"
    shutil.copytree(squares / "features", cache)
    (folder,) = cache.glob("*/train")
    index = Index.load(folder)
    path, tail = shard_path(folder, 0), read_tail(folder, index, 0)
    kept = np.fromfile(path, "<f2", index.count * int(np.prod(index.grid)))
    write_shard(path, kept.reshape(-1, *index.grid)[::-1], index.count, tail.digest)
    finding = find("feature cache", run, cache_dir=str(cache))
    assert_fault(finding, "other annotations")
    assert f"delete {folder}" in finding.advice
    path.write_bytes(b"?" * 9 + path.read_bytes()[9:])
    finding = find("feature cache", run, cache_dir=str(cache))
    assert_fault(finding, "annotations of image 0 are damaged")
    assert "run the same command" not in finding.evidence
    path.write_bytes(path.read_bytes()[:-40])
    assert_fault(find("feature cache", run, cache_dir=str(cache)), "1 of 1 shards are not whole")
    # What needs annotations goes on without it.
    assert find("attention on h", run, cache_dir=str(cache)).verdict is Verdict.HEALTHY
    shutil.rmtree(cache)
    empty = find("feature cache", run, cache_dir=str(cache))
    assert empty.verdict is Verdict.NOT_NEEDED


def test_a_cache_of_an_image_that_was_replaced(run, photographs):
    """Among those that are not looked at, and of the same number: its size tells."""
    (photographs / "001.png").write_bytes((photographs / "002.png").read_bytes() + b" ")
    finding = find("feature cache", run, data_dir=str(photographs))
    assert_fault(finding, "144 images that are not the train split's 144")


def change_weights(workdir, change) -> None:
    """Changes the best weights of a run: calls `change` with a dictionary of them by path."""
    run = Run.load(workdir, Settings.load(workdir))
    change({weight.path: weight for weight in run.model.weights})
    (epoch,) = [path.stem.rpartition("-")[2] for path in (workdir / "best").glob("*.index")]
    shutil.rmtree(workdir / "best")
    save_weights(run.model, workdir / "best", run.vocabulary.fingerprint)
    keep_best_epoch(workdir, epoch)


def test_weights_that_are_not_what_they_were(run):
    def blur(weights):
        kernel = weights["decoder/deep_output/words/kernel"]
        kernel.assign(0.5 * kernel)

    change_weights(run, blur)
    assert_fault(find("perplexity", run), "when the weights were saved, after epoch 10")


def test_weights_that_are_no_numbers(run):
    def spoil(weights):
        kernel = weights["decoder/deep_output/words/kernel"]
        kernel.assign(np.nan * kernel)

    change_weights(run, spoil)
    assert_fault(find("files of the run", run), "decoder/deep_output/words/kernel")


def test_a_scale_that_is_no_scale(run):
    change_weights(run, lambda weights: weights["locations/scale"].assign(0.0))
    assert_fault(find("encoder", run), "0 when the run began")


def test_a_training_that_stopped_before_it_had_weights_to_keep(run):
    shutil.rmtree(run / "best")
    assert_fault(find("files of the run", run), "best: holds no checkpoint")
    (run / "metrics.jsonl").unlink()
    finding = find("files of the run", run)
    assert_fault(finding, "stopped before its first validation")
    assert "go on" in finding.advice


def test_perplexity_of_a_part_tells_that_of_the_whole(run, monkeypatch):
    monkeypatch.setattr(patient, "CAPTIONED", 10)
    finding = find("perplexity", run)
    assert finding.verdict is Verdict.HEALTHY
    assert "on 10 validation images" in finding.evidence
    assert finding.figures["low"] < finding.figures["now"] < finding.figures["high"]


def test_dead_attention(run):
    def kill(weights):
        kernel = weights["decoder/lstm_0/attention/hidden_projection/kernel"]
        kernel.assign(tf.zeros_like(kernel))

    change_weights(run, kill)
    assert_fault(find("attention on h", run), "another caption's h 0.0 %")


def test_one_caption_for_all(run):
    def blind(weights):
        weights["locations/scale"].assign(1e6)

    change_weights(run, blind)
    assert_fault(find("captions alike", run), "3% of 36 captions differ", "100.0%")


def test_captions_that_do_not_end(run):
    def go_on(weights):
        bias = weights["decoder/deep_output/words/bias"]
        bias.assign(bias - 1e3 * tf.one_hot(END, bias.shape[0]))

    change_weights(run, go_on)
    assert_fault(find("captions cut", run), "100.0% are cut at --max_decode_words=12")


def test_limits_that_captions_exceed(run):
    finding = find("captions cut", run, max_decode_words=7)
    assert_fault(finding, "cut at --max_decode_words=7", "100.0% are longer")
    assert finding.figures["cut"] > 0.5


def test_captions_left_out_of_the_training(run):
    settings = Settings.load(run)
    data = dataclasses.replace(settings.data, max_caption_words=7)
    finding = FIND["captions cut"](Patient(run, dataclasses.replace(settings, data=data)))
    assert_fault(finding, "100.0% left out by --max_caption_words=7")
    assert finding.figures["cut"] == 0


def test_captions_that_slipped_by_a_line(run, photographs):
    rewrite(photographs, lambda captions: captions[1:] + captions[:1])
    assert_fault(find("images and references", run, data_dir=str(photographs)), "of train", "dev")


@pytest.mark.parametrize("slipped", [False, True])
def test_captions_of_one_place_that_slipped(run, photographs, slipped):
    """Where lines slip by one, the last caption of each image is the next image's."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    last = captions[1:] + captions[:1] if slipped else captions
    each = zip(names, captions, captions, last, splits, strict=True)
    lines = [f"{name},{one},{split}" for name, *three, split in each for one in three]
    path.write_text("\n".join([head, *lines]))
    finding = find("images and references", run, data_dir=str(photographs))
    assert max(finding.figures["train"], finding.figures["dev"]) < 0.25
    if slipped:
        assert_fault(finding, "counting caption 3 of an image alone")
    else:
        assert finding.verdict is Verdict.HEALTHY


def change_images(photographs, change):
    """Changes the pixels of all images, uint8 [32, 32, 3]."""
    for path in photographs.glob("*.png"):
        pixels = change(tf.io.decode_png(path.read_bytes()).numpy())
        path.write_bytes(tf.io.encode_png(pixels).numpy())


def test_one_picture_for_all(run, photographs):
    change_images(photographs, lambda pixels: np.indices(pixels.shape).sum(0).astype(np.uint8))
    assert_fault(find("pixel range", run, data_dir=str(photographs)), "all show the same picture")


def test_grey_images_do_not_tell_red_from_blue(run, photographs):
    change_images(photographs, lambda pixels: np.repeat(pixels[..., :1], 3, axis=2))
    assert find("channel order", run, data_dir=str(photographs)).verdict is Verdict.NOT_NEEDED


def test_a_patch_is_seen_on_white(run, photographs):
    change_images(photographs, lambda pixels: np.where(pixels == 10, 255, pixels).astype(np.uint8))
    assert find("grid order", run, data_dir=str(photographs)).verdict is Verdict.HEALTHY


def test_a_record_of_the_training_that_is_damaged(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], "{}", *lines[4:]]))
    found = dict(examine(Patient(run, Settings.load(run))))
    for name in ("training curves", "perplexity"):
        assert found[name].verdict is Verdict.NOT_CHECKED
        assert "metrics.jsonl:4: is no record" in found[name].evidence


def test_a_run_that_was_not_trained_here_is_not_asked_how_it_was(run):
    shutil.rmtree(run / "checkpoints")
    assert find("training curves", run).verdict is Verdict.HEALTHY
    (run / "metrics.jsonl").unlink()
    for name in ("training curves", "vocabulary", "encoder", "perplexity"):
        assert find(name, run).verdict is Verdict.NOT_NEEDED


def test_few_images_are_no_fault(run, photographs):
    """Of shares of few images nothing is said."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, rows[0], *rows[-2:]]) + "\n")
    changes = {"data_dir": str(photographs), "cache_dir": "none"}
    for name in (
        "channel order",
        "captions alike",
        "images and references",
        "overfits 16 captions",
    ):
        assert find(name, run, **changes).verdict is Verdict.NOT_NEEDED
    for name in ("pixel range", "grid order", "attention on h"):
        assert find(name, run, **changes).verdict is Verdict.HEALTHY


def test_an_image_that_can_t_be_read(run, photographs):
    (photographs / "000.png").write_bytes(b"no image")
    settings = changed(Settings.load(run), data_dir=str(photographs))
    found = dict(examine(Patient(run, settings)))
    assert found["pixel range"].verdict is Verdict.NOT_CHECKED
    assert "000.png" in found["pixel range"].evidence
    assert found["training curves"].verdict is Verdict.HEALTHY


def test_the_command_says_what_it_found(squares, run, tmp_path):
    output = tmp_path / "findings.json"
    done = call("doctor", f"--workdir={squares / 'run'}", f"--output={output}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is wrong" in done.stdout
    assert done.stderr == ""
    document = json.loads(output.read_text())
    assert document["healthy"] is True
    assert document["settings"]["decoder"]["hidden_size"] == 64
    assert list(document["findings"]) == list(FIND)
    assert document["findings"]["grid order"]["figures"]["rows"] < 0.1
    (run / "encoder.keras").unlink()
    done = call("doctor", f"--workdir={run}", f"--output={output}")
    assert done.returncode == 1
    assert done.stderr == ""
    assert "fault: files of the run; not checked: training curves" in done.stdout
    assert "encoder.keras: no such file" in " ".join(done.stdout.split())
    document = json.loads(output.read_text())
    assert document["healthy"] is False
    assert document["findings"]["files of the run"]["advice"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "--workdir must be given"),
        (["--workdir=none"], "--workdir=none: holds no run"),
        (["--workdir=A,B"], "one run"),
        (["--workdir=none", "--output=/"], "--output=/: is a folder"),
        (["--workdir=none", "--split=dev"], "split"),
    ],
)
def test_a_mistake_gets_one_clear_line(arguments, what, tmp_path):
    done = call("doctor", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ") and what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout
