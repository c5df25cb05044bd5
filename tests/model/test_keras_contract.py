"""What users of Keras expect of the model and its layers: fit, save, load, summary, policies."""

import dataclasses
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras_models import (
    LAYERS,
    TRAINING,
    L,
    captions_dataset,
    compile_model,
    fit,
    make_model,
    mean_losses,
    run_loop,
)

from sat_tf.config import DecodingConfig
from sat_tf.model.losses import CaptionLoss

DEEP = {"attention": "hard", "lstm_layers": 2, "lstm_encoder": True, "dropout": 0.3}


def in_new_process(code):
    """Run code in a process of its own, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# --- Layers


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_rebuilt_from_their_config(name):
    layer, inputs = LAYERS[name]()
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    config = keras.saving.serialize_keras_object(layer)
    restored = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert type(restored) is type(layer)
    assert restored.get_config() == layer.get_config()
    outputs = layer(*inputs)  # called without being built
    for other in (twin, restored):
        other(*inputs)
        weights = {weight.path: weight for weight in other.weights}
        assert len(weights) == len(other.weights)
        for weight in layer.weights:
            weights[weight.path].assign(weight)
        for one, copy in zip(
            tf.nest.flatten(outputs), tf.nest.flatten(other(*inputs)), strict=True
        ):
            np.testing.assert_array_equal(one, copy, err_msg=name)


def test_every_registered_layer_is_tested():
    registered = keras.saving.get_custom_objects()
    layers = {
        cls.__name__
        for name, cls in registered.items()
        if name.startswith("sat_tf>") and issubclass(cls, keras.layers.Layer)
    }
    assert layers - {"CaptionModel"} == set(LAYERS)


# --- Fit


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A soft model that was fitted with Keras's callbacks, their folder and the history."""
    folder, model = tmp_path_factory.mktemp("fit"), make_model(dropout=0.0)
    model.compile(keras.optimizers.Adam(0.05))
    callbacks = [
        keras.callbacks.TensorBoard(folder / "tensorboard"),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=1),
        keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        keras.callbacks.CSVLogger(folder / "log.csv"),
    ]
    history = fit(model, callbacks, epochs=3, validation_data=captions_dataset())
    return model, folder, history


def test_fit_with_callbacks(fitted):
    _, folder, history = fitted
    assert set(history) == {
        f"{part}{name}"
        for part in ("", "val_")
        for name in ("loss", "nll", "penalty", "perplexity")
    }
    assert history["loss"][-1] < history["loss"][0]
    assert list((folder / "tensorboard").rglob("events*"))
    lines = (folder / "log.csv").read_text().splitlines()
    assert len(lines) == 1 + len(history["loss"])


def test_a_checkpoint_of_fit_continues(fitted):
    """Weights, optimizer and loss are restored: the next epoch is that of the model itself."""
    model, folder, history = fitted
    restored = keras.saving.load_model(folder / f"{len(history['loss'])}.keras")
    for one, other in zip(model.weights, restored.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    for one, other in zip(model.optimizer.variables, restored.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert restored.loss == model.loss
    expected, found = fit(model, epochs=1), fit(restored, epochs=1)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)


@pytest.mark.parametrize(
    "changes", [{}, {"attention": "hard", "lstm_dropout": 0.2}], ids=["soft", "hard"]
)
def test_fit_has_the_losses_of_our_loop(changes):
    config = dataclasses.replace(TRAINING, optimizer="rmsprop", scheduled_sampling=0.5)
    by_fit, by_loop = make_model(**changes), make_model(**changes)
    for model in (by_fit, by_loop):
        compile_model(model, config, run_eagerly=True)
    losses = mean_losses(by_loop, run_loop(by_loop, epochs=1, eager=True))
    np.testing.assert_allclose(fit(by_fit, epochs=1)["loss"], losses, rtol=1e-5)
    for one, other in zip(by_fit.weights, by_loop.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)
    assert (by_fit.reward_baseline.numpy() != 0) == (changes != {})


def test_fit_takes_arrays_without_image_index():
    model = make_model()
    model.compile(run_eagerly=True)
    random = np.random.default_rng(0)
    inputs = {
        "features": random.normal(size=(6, 2, 3, 4)).astype(np.float32),
        "tokens": random.integers(3, 9, (6, 4)).astype(np.int32),
    }
    history = model.fit(inputs, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_an_encoder_without_gradient_is_named():
    model = make_model(trainable_encoder=True)
    model.compile()
    with pytest.raises(ValueError, match=r"conv2d.*encoder\.trainable = False"):
        model.update(next(iter(captions_dataset())))


# --- Predict, generate, summary


def test_predict_is_teacher_forcing(fitted):
    model, _, _ = fitted
    batches = captions_dataset()
    predicted = model.predict(batches, verbose=0)
    expected = [model(batch) for batch in batches]
    for found, *parts in zip(predicted, *expected, strict=True):
        rows = [row for part in parts for row in part.numpy()]
        assert found.shape[0] == len(rows)
        for number, row in enumerate(rows):
            np.testing.assert_allclose(found[number], row, atol=1e-5)


def test_generate_and_score_agree(fitted):
    model, _, _ = fitted
    batch = next(iter(captions_dataset()))
    decoding = DecodingConfig(beam_size=1, max_length=5)
    decoded = model.generate({"features": batch["features"]}, decoding)
    best = {"features": batch["features"], "tokens": decoded.tokens[:, 0]}
    np.testing.assert_allclose(
        model.score(best, decoding).log_probs, decoded.log_probs[:, 0], atol=1e-5
    )


def test_summary_shows_shapes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    make_model().summary(print_fn=lambda line: out.write(line + "\n"), line_length=200)
    text = out.getvalue()
    assert "(None, 2, 3, 4)" in text
    assert f"(None, {L}, 4)" in text
    assert "logits=(None, None, 9)" in text
    assert "?" not in text


# --- Save and load


@pytest.fixture(scope="module")
def fresh_process(tmp_path_factory):
    """A deep model, and a process that loads its file and then trains others on two devices.

    Returns:
      The model, what the process did with it, what it had registered before, and its losses and
      weights on one device and on two: see `keras_models.use_saved_model`, `print_distributed`.
    """
    folder, model = tmp_path_factory.mktemp("saved"), make_model(**DEEP)
    random = np.random.default_rng(1)
    for weight in model.decoder.weights:
        weight.assign(random.normal(0, 0.5, weight.shape))
    loss = CaptionLoss(label_smoothing=0.1)
    model.compile(keras.optimizers.Adam(0.01), loss, clip_norm=1.0, run_eagerly=True)
    fit(model, epochs=1)
    model.save(folder / "m.keras")
    # No more than a user of a saved model does before `load_model`.
    code = "import keras, sat_tf; sat_tf.CaptionModel; print(*keras.saving.get_custom_objects())"
    code += "; import keras_models; two = keras_models.two_devices()"
    code += f"; keras_models.use_saved_model({str(folder)!r}); keras_models.print_distributed(two)"
    lines = in_new_process(code).splitlines()
    return model, np.load(folder / "outputs.npz"), lines[0].split(), json.loads(lines[-1])


@pytest.fixture(scope="module")
def loaded(fresh_process):
    return fresh_process[:3]


def test_accessing_the_model_registers_every_layer(loaded):
    """So that a process that only loads a saved model finds the layers of its encoder too."""
    _, _, registered = loaded
    assert {f"sat_tf>{name}" for name in LAYERS} <= set(registered)


def test_a_loaded_model_computes_the_same_bits(loaded):
    model, found, _ = loaded
    batch = next(iter(captions_dataset()))
    for name, value in model(batch)._asdict().items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    decoded = model.generate(batch, DecodingConfig(beam_size=1, max_length=5))
    np.testing.assert_array_equal(found["tokens"], decoded.tokens)
    assert found["baseline"] == model.reward_baseline.numpy() != 0


def test_a_loaded_model_continues_its_training(loaded):
    _, found, _ = loaded
    assert np.isfinite(found["loss"]).all()
    assert found["iterations"] == 2 * len(list(captions_dataset()))


# --- Mixed precision


# A run in bfloat16 is compiled in the tests from end to end, float16 in those of two devices.
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    model = make_model(dtype=policy, attention="hard", dropout=0.0)
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    assert model.decoder.compute_dtype == policy.removeprefix("mixed_")
    batch = next(iter(captions_dataset()))
    output = model(batch)
    assert output.logits.dtype == output.alphas.dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    exact = make_model(attention="hard", dropout=0.0)
    exact.set_weights(model.get_weights())
    np.testing.assert_allclose(output.logits, exact(batch).logits, atol=0.05)
    history = fit(model, epochs=3)
    assert history["nll"][-1] < history["nll"][0]


def test_a_step_that_overflows_is_skipped():
    model = make_model(dtype="mixed_float16", attention="hard", trainable_encoder=False)
    model.compile(keras.optimizers.SGD(0.1))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    batch = next(iter(captions_dataset()))
    before, scale = model.get_weights(), float(model.optimizer.dynamic_scale.numpy())
    model.update(
        {**batch, "features": tf.fill(batch["features"].shape, tf.constant(np.inf, tf.float16))}
    )
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert float(model.optimizer.dynamic_scale.numpy()) == scale / 2
    model.update(batch)
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_loss_scaling_changes_no_step():
    """In float32 arithmetic, clipping included: a scale that is a power of two is exact."""
    moved = []
    for wrap in (lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer):
        model = make_model(dropout=0.0)
        model.compile(wrap(keras.optimizers.SGD(0.1)), clip_norm=0.01)
        model.update(next(iter(captions_dataset())))
        moved.append(model.get_weights())
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)


# --- Several devices


@pytest.fixture(scope="module")
def trained(fresh_process):
    return fresh_process[3]


def test_two_devices_train_as_one(trained):
    one, two = trained["one"], trained["two"]
    assert [sums["captions"] for sums in one["steps"]] == [4, 3]
    for first, second in zip(one["steps"], two["steps"], strict=True):
        assert first == pytest.approx(second, rel=1e-5)
    np.testing.assert_allclose(one["weights"], two["weights"], atol=1e-6)


def test_two_devices_scale_the_loss_together(trained):
    """In float16, steps that overflow are skipped on both, and the scale is halved once each."""
    float16 = trained["two in float16"]
    assert float16["steps"][0] == pytest.approx(trained["one"]["steps"][0], rel=1e-2)
    assert float16["steps"][:2] == float16["steps"][2:4]
    assert 1.0 < float16["loss_scale"] <= 2.0**18
    assert float16["losses"][-1] < float16["losses"][0]


def test_fit_on_two_devices_has_the_losses_of_our_loop(trained):
    """Without graphs: two steps take less time than tracing one. Float16 has a graph."""
    by_loop, by_fit = trained["hard"], trained["hard by fit"]
    assert by_fit["losses"] == pytest.approx(by_loop["losses"], rel=1e-5)
    np.testing.assert_allclose(by_fit["weights"], by_loop["weights"], atol=1e-6)
    assert by_fit["baseline"] == pytest.approx(by_loop["baseline"])


def test_the_baseline_moves_with_the_whole_minibatch(trained):
    """b_k = 0.9 b_{k-1} + 0.1 reward_k, from 0, of two replicas together."""
    baseline = 0.0
    for sums in trained["hard"]["steps"]:
        baseline = 0.9 * baseline + 0.1 * sums["reward"] / sums["captions"]
    assert trained["hard"]["baseline"] == pytest.approx(baseline, rel=1e-5)
