"""Tiny caption models and batches, and what processes of their own do with them."""

import itertools
import json

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import DecoderConfig, DecodingConfig, TrainingConfig
from sat_tf.data.pipeline import CachedFeatures, TokenizedCaptions, caption_batches
from sat_tf.model.caption_model import CaptionModel, FlattenGrid
from sat_tf.model.decoder import (
    AdditiveAttention,
    AttentionDecoder,
    AttentionLSTMCell,
    DeepOutput,
    InitialState,
    LSTMState,
)
from sat_tf.model.encoder import Preprocessing
from sat_tf.model.losses import CaptionLoss
from sat_tf.model.networks import NormalizedConvolution
from sat_tf.training.optimizers import make_optimizer
from sat_tf.training.self_critical import one_per_image
from sat_tf.training.train import make_train_step

GRID, L, V = (2, 3, 4), 6, 9
SIZES = {"embedding_size": 3, "hidden_size": 5, "attention_size": 4}
# A small norm, so that clipping acts: it must act on the sum over devices.
TRAINING = TrainingConfig(
    optimizer="sgd",
    learning_rate=0.1,
    clip_norm=0.5,
    weight_decay=0.01,
    label_smoothing=0.1,
)


def make_model(dtype=None, trainable_encoder=None, **changes) -> CaptionModel:
    """A model over features as they are, or over a convolution, frozen or not."""
    keras.utils.set_random_seed(0)
    grid = keras.Input(GRID)
    convolution = keras.layers.Conv2D(GRID[-1], 1, name="conv2d")
    encoder = keras.Model(grid, grid if trainable_encoder is None else convolution(grid))
    encoder.trainable = bool(trainable_encoder)
    return CaptionModel(encoder, DecoderConfig(**SIZES, **changes), V, dtype=dtype)


def captions_dataset(context=None, of_images=False, **options) -> tf.data.Dataset:
    """Two minibatches of 4 and 3 captions, of different lengths, from our pipeline.

    With `of_images` they have one caption of each of 3 and 2 images.
    """
    random = np.random.default_rng(0)
    grids = random.normal(size=(5, *GRID)).astype(np.float16)
    tokens = [np.array([*random.integers(3, V, n), 1], np.int32) for n in (2, 3, 3, 4, 2, 5, 3)]
    captions = TokenizedCaptions(tokens, np.array([0, 0, 1, 2, 3, 4, 4]))
    plan = [np.array([0, 1, 2, 6]), np.array([3, 4, 5])]
    if of_images:
        captions, plan = one_per_image(captions), [np.arange(3), np.arange(3, 5)]
    source = CachedFeatures(lambda rows: grids[rows], GRID)
    return caption_batches(captions, plan, source, context=context, **options)


def compile_model(model, config=TRAINING, **options) -> None:
    model.compile(
        make_optimizer(config),
        CaptionLoss.from_training(config),
        clip_norm=config.clip_norm,
        weight_decay=config.weight_decay,
        **options,
    )


def fit(model, callbacks=(), epochs=2, batches=None, **options):
    """The history of fit."""
    batches = captions_dataset() if batches is None else batches
    return model.fit(
        batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks], **options
    ).history


def run_loop(model, epochs=2, batches=None, strategy=None, eager=False):
    """The sums of each step of each epoch, by the step of our own loop, with a graph or without."""
    batches = captions_dataset() if batches is None else batches
    step = make_train_step(model, strategy or tf.distribute.get_strategy(), batches.element_spec)
    step = step.python_function if eager else step
    return [
        [{name: float(value) for name, value in step(batch).items()} for batch in batches]
        for _ in range(epochs)
    ]


def mean_losses(model, epochs):
    """The mean loss of the captions of each epoch."""
    return [
        sum(model.loss.total(sums) for sums in epoch) / sum(sums["captions"] for sums in epoch)
        for epoch in epochs
    ]


def _features():
    return tf.constant(np.random.default_rng(0).normal(size=(2, L, 4)), tf.float32)


def _rows(size, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(2, size)), tf.float32)


# Each layer of the package, not yet built, with inputs.
LAYERS = {
    "AdditiveAttention": lambda: (
        AdditiveAttention(4, num_layers=2, gate="channel", temperature=2.0, initializer="port"),
        (_rows(5), _features()),
    ),
    "AttentionLSTMCell": lambda: (
        AttentionLSTMCell(5, AdditiveAttention(4, gate="none"), initializer="authors"),
        (_rows(3), LSTMState(_rows(5), _rows(5, 1)), _features()),
    ),
    "InitialState": lambda: (
        InitialState(5, num_states=2, num_layers=2, dropout=0.5, seed=3, initializer="port"),
        (_features(),),
    ),
    "DeepOutput": lambda: (
        DeepOutput(V, 3, num_layers=2, activation="relu", use_context=False, dropout=0.5, seed=3),
        (_rows(5), _rows(4), _rows(3)),
    ),
    "AttentionDecoder": lambda: (
        AttentionDecoder(
            V,
            DecoderConfig(
                **SIZES, lstm_layers=2, lstm_encoder=True, attention_query="hidden_and_word"
            ),
            seed=3,
        ),
        (_features(), tf.constant([[3, 1], [4, 5]])),
    ),
    "FlattenGrid": lambda: (
        FlattenGrid("coordinates", null_location=True),
        (tf.reshape(_features(), [2, *GRID]),),
    ),
    "Preprocessing": lambda: (Preprocessing("caffe"), (tf.random.uniform([2, 4, 4, 3]),)),
    "NormalizedConvolution": lambda: (
        NormalizedConvolution(3),
        (tf.random.uniform([2, 4, 4, 3]),),
    ),
}


def use_saved_model(folder: str) -> None:
    """Load a model in this process, compute with it, train it further, and write the results."""
    model = keras.saving.load_model(f"{folder}/m.keras")
    batch = next(iter(captions_dataset()))
    results = dict(model(batch)._asdict())
    decoded = model.generate(batch, DecodingConfig(beam_size=1, max_length=5))
    results |= {"tokens": decoded.tokens, "baseline": model.reward_baseline.numpy()}
    model.run_eagerly = True
    results["loss"] = fit(model, epochs=1)["loss"]
    results["iterations"] = model.optimizer.iterations.numpy()
    np.savez(f"{folder}/outputs.npz", **results)


def two_devices() -> tf.distribute.Strategy:
    """Divide the processor into two devices: in a process of its own, before TensorFlow's use."""
    processor = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(processor, [half, half])
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def print_distributed(two: tf.distribute.Strategy) -> None:
    """Train on one device and on two, by fit and by our loop; print losses and weights as JSON."""

    def train(strategy, by, eager=False, epochs=1, loss_scale=None, **changes):
        with strategy.scope():
            model = make_model(**changes)
            compile_model(model, run_eagerly=True)  # in fit; our loop has `eager`
        if loss_scale:
            model.optimizer.dynamic_scale.assign(loss_scale)
        batches = strategy.distribute_datasets_from_function(captions_dataset)
        if by == "fit":
            result = {"losses": fit(model, epochs=epochs, batches=batches)["loss"]}
        else:
            sums = run_loop(model, epochs, batches, strategy, eager)
            steps = [*itertools.chain(*sums)]
            result = {"steps": steps, "losses": mean_losses(model, sums)}
        if loss_scale:
            result["loss_scale"] = model.optimizer.dynamic_scale.numpy()
        weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
        baseline = model.reward_baseline.numpy()
        return {**result, "weights": weights.tolist(), "baseline": baseline}

    soft = {"dropout": 0.0}
    hard = {"dropout": 0.3, "lstm_dropout": 0.2, "attention": "hard"}
    # With this scale gradients of 1 overflow in float16; it is halved until they do not.
    float16 = {"dtype": "mixed_float16", "loss_scale": 2.0**20, "epochs": 8, "dropout": 0.0}
    print(
        json.dumps(
            {
                "one": train(tf.distribute.get_strategy(), "loop", eager=True, **soft),
                "two": train(two, "loop", eager=True, **soft),
                "two in float16": train(two, "loop", **float16),
                "hard": train(two, "loop", eager=True, **hard),
                "hard by fit": train(two, "fit", **hard),
            },
            default=float,
        )
    )
