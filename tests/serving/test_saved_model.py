"""The SavedModel: the same captions as the run's, whatever stands beside them."""

import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from exported_models import caption_files, random_captioner
from tensorflow.python.tools import saved_model_cli
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from sat_tf.data.images import crop_box
from sat_tf.errors import UserError
from sat_tf.serving import saved_model
from sat_tf.serving.saved_model import WARM_UP_FILE, export

ROOT = Path(__file__).resolve().parents[2]
MAX_PIXELS = 300 * 200


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return random_captioner(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def export_dir(captioner, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "1"
    export(captioner, tmp_path_factory.mktemp("a_run"), folder, max_pixels=MAX_PIXELS)
    return folder


@pytest.fixture
def few_images(monkeypatch):
    """Few images verify an export."""
    monkeypatch.setattr(saved_model, "_SAMPLE", 4)


@pytest.fixture
def written_before(export_dir, monkeypatch):
    """`export` takes the SavedModel that was written before, and goes on from there."""

    def write(run, folder, max_pixels):
        shutil.copytree(export_dir, folder, dirs_exist_ok=True)
        shutil.rmtree(folder / "assets.extra")

    monkeypatch.setattr(saved_model, "write_saved_model", write)


@pytest.fixture(scope="module")
def signatures(export_dir):
    return tf.saved_model.load(str(export_dir)).signatures


@pytest.fixture(scope="module")
def serve(signatures):
    def call(files):
        outputs = signatures["serving_default"](image_bytes=tf.constant(files, tf.string))
        return {name: values.numpy() for name, values in outputs.items()}

    return call


def picture(width=90, height=60, mode="RGB", seed=0):
    """A smooth picture, unlike others."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 255, [4, 6, 3]).astype(np.uint8)
    return PIL.Image.fromarray(small).resize((width, height)).convert(mode)


def encoded(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def sideways():
    """A JPEG that a camera held on its side: to be turned before it is seen."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(seed=4), "JPEG", exif=exif)


FILES = {
    "jpeg": encoded(picture(seed=1), "JPEG"),
    "progressive": encoded(picture(seed=2), "JPEG", progressive=True),
    "gray": encoded(picture(mode="L", seed=3), "JPEG"),
    "sideways": sideways(),
    "cmyk": encoded(picture(mode="CMYK", seed=5), "JPEG"),
    "png": encoded(picture(seed=6), "PNG"),
    "alpha": encoded(picture(mode="RGBA", seed=7), "PNG"),
    "16 bit": encoded(
        PIL.Image.fromarray(np.linspace(0, 65535, 60 * 90).reshape(60, 90).astype(np.uint16)), "PNG"
    ),
    "palette": encoded(picture(mode="P", seed=8), "PNG"),
    "webp": encoded(picture(seed=9), "WEBP"),
    "gif": encoded(picture(seed=10), "GIF"),
    "bmp": encoded(picture(seed=11), "BMP"),
    "pixel": encoded(picture(1, 1, seed=12), "PNG"),
    "strip": encoded(picture(300, 2, seed=13), "PNG"),
}
BROKEN = {
    "empty": b"",
    "text": b"no image",
    "cut jpeg": FILES["jpeg"][:-200],
    "cut png": FILES["png"][:-40],
    "cut webp": FILES["webp"][:-40],
    "cut gif": FILES["gif"][:-40],
    "cut bmp": FILES["bmp"][:-40],
    "too big": encoded(picture(300, 201), "PNG"),
    "header alone": FILES["png"][:33],
}


def test_gives_what_the_run_gives(serve, captioner):
    """Every kind of file, each pixel's way from bytes to attention."""
    outputs = serve(list(FILES.values()))
    expected = captioner.caption_images([captioner.read_image(file) for file in FILES.values()])
    assert outputs["decoded"].all()
    rows, columns = captioner.models[0].grid
    steps = outputs["tokens"].shape[2]
    assert outputs["attention"].shape == (len(FILES), 2, steps, rows, columns)
    for i, captions in enumerate(expected):
        for k, caption in enumerate(captions):
            assert outputs["captions"][i, k].decode() == caption.text
            assert outputs["scores"][i, k] == pytest.approx(caption.score, abs=1e-4)
            length, n = outputs["lengths"][i, k], len(caption.words)
            assert length == len(caption.log_probs)
            np.testing.assert_allclose(
                outputs["log_probabilities"][i, k, :length], caption.log_probs, atol=1e-4
            )
            np.testing.assert_allclose(outputs["attention"][i, k, :n], caption.alphas, atol=1e-4)
            np.testing.assert_allclose(outputs["beta"][i, k, :n], caption.betas, atol=1e-4)
            assert not outputs["attention"][i, k, length:].any()
    assert np.ptp(outputs["scores"][:, 0]) > 1e-3, "the images have the same score"


def test_the_box_is_the_part_that_was_seen(serve, captioner):
    outputs = serve([FILES["jpeg"], FILES["sideways"], FILES["strip"]])
    images = captioner.config.images
    for box, shape in zip(outputs["attention_box"], [(60, 90), (90, 60), (2, 300)], strict=True):
        np.testing.assert_allclose(box, crop_box(tf.constant(shape), images), atol=1e-6)
    np.testing.assert_allclose(outputs["attention_box"][0], [0.1, 21 / 90, 0.9, 69 / 90], atol=1e-6)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_element_harms_no_other(serve, broken):
    whole = [FILES["jpeg"], FILES["png"], FILES["sideways"]]
    expected = serve(whole)
    outputs = serve([whole[0], broken, *whole[1:]])
    assert outputs["decoded"].tolist() == [True, False, True, True]
    for name, values in expected.items():
        shown = np.delete(outputs[name], 1, axis=0)
        if name in ("tokens", "log_probabilities", "beta", "attention"):
            shown = shown[:, :, : values.shape[2]]
        if values.dtype == np.float32:
            np.testing.assert_allclose(shown, values, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(shown, values, err_msg=name)
    assert (outputs["captions"][1] == b"").all()
    assert (outputs["scores"][1] == -np.inf).all()
    for name in ("lengths", "tokens", "log_probabilities", "attention", "beta", "attention_box"):
        assert not outputs[name][1].any(), name


def test_a_batch_of_broken_ones_and_an_empty_batch(serve):
    assert not serve(list(BROKEN.values()))["decoded"].any()
    assert serve([])["captions"].shape == (0, 2)


def test_other_signatures_agree(serve, signatures, captioner):
    pixels = np.stack([np.asarray(picture(seed=seed)) for seed in (1, 6)])
    files = [encoded(picture(seed=seed), "PNG") for seed in (1, 6)]
    by_bytes = serve(files)
    by_pixels = signatures["from_images"](images=tf.constant(pixels))
    views = np.stack([captioner.read_image(file).inputs[0] for file in files])
    features = captioner.models[0].encode_images({"images": tf.constant(views)})
    cached = signatures["from_features"](features=tf.cast(features, tf.float16))
    assert set(by_pixels) == set(by_bytes)
    assert set(by_bytes) - set(cached) == {"attention_box", "decoded"}
    for name, values in by_bytes.items():
        if values.dtype == np.float32:
            np.testing.assert_allclose(by_pixels[name], values, atol=1e-5, err_msg=name)
            if name in cached:
                np.testing.assert_allclose(cached[name], values, atol=0.02, err_msg=name)
        else:
            np.testing.assert_array_equal(by_pixels[name].numpy(), values, err_msg=name)
    assert (
        signatures["from_images"](images=tf.zeros([0, 9, 9, 3], tf.uint8))["captions"].shape[0] == 0
    )


@pytest.mark.usefixtures("few_images")
def test_bfloat16_halves_the_weights(export_dir, captioner, tmp_path, monkeypatch):
    """Here it captions in this process, which need not import TensorFlow again."""
    monkeypatch.setattr(saved_model, "_caption_in_fresh_process", caption_files)
    card = export(captioner, tmp_path, tmp_path / "half", "bfloat16")
    sizes = [
        sum(file.stat().st_size for file in (folder / "variables").glob("*.data*"))
        for folder in (export_dir, tmp_path / "half")
    ]
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.1)
    assert card["precision"] == "bfloat16"
    assert 0 < card["check"]["largest_score_difference"] < 0.3


def test_the_card_describes_the_export(export_dir, captioner):
    card = json.loads((export_dir / "model_card.json").read_text())
    assert card["vocabulary"]["fingerprint"] == captioner.vocabulary.fingerprint
    assert card["settings"]["decoding"]["beam_size"] == 2
    assert card["max_pixels"] == MAX_PIXELS
    assert card["precision"] == "float32"
    assert card["check"]["equal"] == card["check"]["images"] == 64
    assert card["check"]["images_from"] == "the embedded data set (the run's own is not available)"
    assert card["scores"] is None


def test_warm_up_requests_run(export_dir, serve):
    records = tf.data.TFRecordDataset([str(export_dir / WARM_UP_FILE)])
    logs = [PredictionLog.FromString(record.numpy()) for record in records]
    sizes = []
    for log in logs:
        request = log.predict_log.request
        assert request.model_spec.signature_name == "serving_default"
        batch = tf.make_ndarray(request.inputs["image_bytes"])
        sizes.append(len(batch))
        assert serve(batch.tolist())["decoded"].all()
    assert sizes == [1, 4, 16]


def result(captions, scores, decoded):
    """A program that writes such a result, whatever the export does; n images are of the sample."""
    return (
        "import os, sys, numpy\n"
        "n = len(os.listdir(sys.argv[2])) - 1\n"
        f"numpy.savez(sys.argv[3], captions=numpy.array({captions} * (n + 1), numpy.bytes_),\n"
        f"  scores={scores} * (n + 1), decoded=[True] * n + [{decoded}], seconds=[1, 1])"
    )


@pytest.mark.usefixtures("few_images", "written_before")
@pytest.mark.parametrize(
    ("precision", "program", "message"),
    [
        ("float32", "raise ValueError('planted')", "planted"),
        ("float32", "", "prints no error"),
        ("float32", result(["a dog"], [-1.0], False), "from the run's"),
        ("float32", result(["a dog"], [float("nan")], False).replace("nan", "numpy.nan"), "is nan"),
        ("float32", result([""], [-1.0], True), "rejects images of the sample"),
        ("bfloat16", result(["a dog"], [-1.0], False), "more than rounding"),
    ],
    ids=["fails", "writes nothing", "other scores", "NaN", "decodes anything", "other captions"],
)
def test_an_export_that_fails_its_check_leaves_nothing(
    captioner, tmp_path, monkeypatch, precision, program, message
):
    check = tmp_path / "check.py"
    check.write_text(program)
    monkeypatch.setattr(saved_model, "_CHECK", check)
    target = tmp_path / "exports" / "1"
    with pytest.raises(UserError, match=message):
        export(captioner, tmp_path, target, precision)
    assert list(target.parent.iterdir()) == []


def test_mutated_files_harm_no_neighbour(signatures):
    spec = importlib.util.spec_from_file_location(
        "mutated_images", ROOT / "experiments" / "mutated_images.py"
    )
    mutated_images = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutated_images)
    images = [picture(seed=seed) for seed in range(3)]
    done = mutated_images.campaign(signatures["serving_default"], images, count=80)
    assert done["mutated"] == 80
    assert 0 < done["decoded"] < 80
    assert done["harmed"] == 0


def documented_commands():
    """The lines of docs/serving.md for `saved_model_cli`, and for the file that it reads."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    return re.findall(r"^((?:python -c|saved_model_cli) .*)$", text, re.MULTILINE)


def test_documented_saved_model_cli_commands_work(export_dir, tmp_path, monkeypatch, capsys):
    """On JPEG files; the commands are those of the page but for the folder's name."""
    for name, kind in (("a.jpg", "jpeg"), ("b.jpg", "sideways")):
        (tmp_path / name).write_bytes(FILES[kind])
    commands = [shlex.split(line.replace("OUT", str(export_dir))) for line in documented_commands()]
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    for program, *arguments in commands:
        if program == "python":
            subprocess.run([sys.executable, *arguments], check=True)
            continue
        # Here: each process would import TensorFlow again.
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as finished:
            saved_model_cli.main()
        assert not finished.value.code, (arguments, capsys.readouterr().err)
    printed = capsys.readouterr().out
    for name in ("serving_default", "from_images", "from_features", "attention_box"):
        assert name in printed
    captions = np.load(tmp_path / "results" / "captions.npy", allow_pickle=True)
    assert captions.shape == (2, 2)
    assert np.load(tmp_path / "results" / "decoded.npy").all()
