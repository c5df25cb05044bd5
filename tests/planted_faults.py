"""Faults planted into a run on coloured squares and into its data."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import Config, override
from sat_tf.doctor import CheckResult, Status
from sat_tf.doctor.checks import CHECKS
from sat_tf.doctor.run_context import RunContext, Sample
from sat_tf.model.encoder import build_encoder, save_encoder
from sat_tf.model.weights import learned_weights, provenance, write_checkpoint


def check(name: str, workdir, **changes) -> CheckResult:
    """Return the result of a check of the run in a folder, with some settings changed."""
    return CHECKS[name](RunContext(workdir, override(Config.load(workdir), **changes)))


def fork(context: RunContext, **changes) -> RunContext:
    """Return a context with other settings that shares the run's model and its traced functions."""
    other = RunContext(context.workdir, override(context.config, **changes))
    other.__dict__.update({name: getattr(context, name) for name in ("run", "_evaluator")})
    return other


def fork_with_images(context: RunContext, **changes) -> RunContext:
    """Return a `fork` that shares images and features, too; captions and caches may differ."""
    other = fork(context, **changes)
    for split in ("train", "dev"):
        sample = getattr(context, split)
        rows = {record.image_id: row for row, record in enumerate(sample.records)}
        records = enumerate(other.records[split])
        indices, chosen = zip(
            *((i, one) for i, one in records if one.image_id in rows), strict=True
        )
        known = [rows[record.image_id] for record in chosen]
        other.__dict__[split] = Sample(
            np.array(indices), [*chosen], sample.images[known], sample.features[known]
        )
    return other


def change_images(context: RunContext, change: Callable[[np.ndarray], np.ndarray]) -> RunContext:
    """Return a `fork` whose training images, [n, 32, 32, 3], are what `change` returns."""
    other, images = fork(context), change(context.train.images).astype(np.float32)
    other.__dict__["train"] = context.train._replace(images=images, features=other.encode(images))
    return other


def assert_fails(result: CheckResult, *parts: str) -> None:
    """Assert that a check failed, with advice and with these parts in its evidence."""
    assert result.status is Status.FAIL, result
    assert result.advice
    for part in parts:
        assert part in result.evidence


def rename_best_epoch(run, epoch):
    """Rename the best weights, as if they had been saved after another epoch."""
    (prefix,) = {path.stem for path in (run / "best").glob("*.index")}
    for path in [*(run / "best").iterdir()]:
        text = path.name.replace(prefix, f"ckpt-{epoch}")
        path.rename(path.with_name(text))


def change_captions(photographs, change):
    """Replace the list of all captions in captions.csv by what `change` returns."""
    path = photographs / "captions.csv"
    head, *rows = path.read_text().splitlines()
    names, captions, splits = zip(*(row.split(",") for row in rows), strict=True)
    changed_rows = map(",".join, zip(names, change(list(captions)), splits, strict=True))
    path.write_text("\n".join([head, *changed_rows]) + "\n")


def load_network(squares) -> keras.Model:
    """Load the network that the run was trained with, to change it."""
    return keras.saving.load_model(squares / "encoder.keras", compile=False)


def replace_encoder(
    context: RunContext, run, network: keras.Model, preprocessing: str = "tf"
) -> RunContext:
    """Replace the encoder in a copy of the run's folder; return its context."""
    network.save(run / "network.keras")
    config = Config.load(run)
    encoder = dataclasses.replace(
        config.encoder, encoder=str(run / "network.keras"), preprocessing=preprocessing
    )
    config = dataclasses.replace(config, encoder=encoder)
    config.save(run)
    save_encoder(build_encoder(config.encoder, config.images.image_size), run / "encoder.keras")
    # As if it had been trained with this encoder, so that its checkpoint belongs to it.
    belongs_to = provenance(run, config, context.run.vocabulary)
    checkpoint = tf.train.Checkpoint(**learned_weights(context.run.model, belongs_to))
    write_checkpoint(checkpoint, run / "best", context.best_epoch)
    changed, images = RunContext(run, config), context.train.images
    changed.__dict__["train"] = context.train._replace(features=changed.encode(images))
    return changed
