"""Faults planted into runs on coloured squares and their data, and what the doctor finds."""

import dataclasses
import shutil

import keras
import tensorflow as tf

from sat_tf.captioner import Run
from sat_tf.config import Config, override
from sat_tf.doctor.results import CheckResult, Status
from sat_tf.doctor.run_context import RunContext
from sat_tf.doctor.runner import CHECKS
from sat_tf.model.encoder import build_encoder, save_encoder
from sat_tf.model.weights import save_weights

FIND = {check.name: check.find for check in CHECKS}


def find(name: str, workdir, **changes) -> CheckResult:
    return FIND[name](RunContext(workdir, override(Config.load(workdir), **changes)))


def assert_fault(finding: CheckResult, *words: str) -> None:
    assert finding.verdict is Status.FAULT, finding
    assert finding.advice
    for word in words:
        assert word in finding.evidence


def keep_best_epoch(run, epoch):
    """As if the best weights had been saved after another epoch."""
    (prefix,) = {path.stem for path in (run / "best").glob("*.index")}
    for path in [*(run / "best").iterdir()]:
        text = path.name.replace(prefix, f"ckpt-{epoch}")
        path.rename(path.with_name(text))
    state = run / "best" / "checkpoint"
    state.write_text(state.read_text().replace(f'"{prefix}"', f'"ckpt-{epoch}"'))


def rewrite(photographs, change):
    """Changes the captions of captions.csv, all at once."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    changed_rows = map(",".join, zip(names, change(list(captions)), splits, strict=True))
    path.write_text("\n".join([head, *changed_rows]) + "\n")


def give_encoder(run, network: keras.Model, preprocessing: str) -> None:
    """Puts another encoder into a run."""
    network.save(run / "network.keras")
    config = Config.load(run)
    encoder = dataclasses.replace(
        config.encoder, encoder=str(run / "network.keras"), preprocessing=preprocessing
    )
    config = dataclasses.replace(config, encoder=encoder)
    config.save(run)
    save_encoder(build_encoder(config.encoder, config.images.image_size), run / "encoder.keras")


def network_of(image_batch) -> keras.Model:
    return keras.saving.load_model(image_batch / "encoder.keras", compile=False)


def change_weights(workdir, change) -> None:
    """Changes the best weights of a run: calls `change` with a dictionary of them by path."""
    run = Run.load(workdir, Config.load(workdir))
    change({weight.path: weight for weight in run.model.weights})
    (epoch,) = [path.stem.rpartition("-")[2] for path in (workdir / "best").glob("*.index")]
    shutil.rmtree(workdir / "best")
    save_weights(run.model, workdir / "best", run.vocabulary.fingerprint)
    keep_best_epoch(workdir, epoch)


def change_images(photographs, change):
    """Changes the pixels of all images, uint8 [32, 32, 3]."""
    for path in photographs.glob("*.png"):
        pixels = change(tf.io.decode_png(path.read_bytes()).numpy())
        path.write_bytes(tf.io.encode_png(pixels).numpy())
