"""The training step: the loss it minimises, and that several devices change nothing."""

import json
import subprocess
import sys

import numpy as np
import pytest

# In a process of its own: TensorFlow divides the processor into devices only before its first use.
SCRIPT = """
import json, sys
import keras, numpy as np, tensorflow as tf
from sat_tf.config import DecoderConfig, TrainingConfig
from sat_tf.data.pipeline import CachedFeatures, TokenizedCaptions, caption_batches
from sat_tf.model.caption_model import CaptionModel
from sat_tf.training.objective import make_likelihood
from sat_tf.training.step import make_optimizer, make_train_step

processor = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(processor, [half, half])
devices = int(sys.argv[1])
strategy = (
    tf.distribute.get_strategy()
    if devices == 1
    else tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
)
random = np.random.default_rng(0)
grids = random.normal(size=(5, 2, 3, 4)).astype(np.float16)
tokens = [np.array([*random.integers(3, 9, n), 1], np.int32) for n in (2, 3, 3, 4, 2, 5, 3)]
captions = TokenizedCaptions(tokens, np.array([0, 0, 1, 2, 3, 4, 4]))
plan = [np.array([0, 1, 2, 6]), np.array([3, 4, 5])]
source = CachedFeatures(lambda rows: grids[rows], (2, 3, 4))
# A small norm, so that clipping acts: it has to act on the sum over devices.
config = TrainingConfig(
    clip_norm=0.5, learning_rate=0.1, optimizer="sgd", weight_decay=0.01, label_smoothing=0.1
)
keras.utils.set_random_seed(0)
with strategy.scope():
    grid = keras.Input((2, 3, 4))
    sizes = {"embedding_size": 3, "hidden_size": 5, "attention_size": 4}
    decoder = DecoderConfig(**sizes, **json.loads(sys.argv[2]))
    model = CaptionModel(keras.Model(grid, grid), decoder, 9)
    optimizer = make_optimizer(config)
    optimizer.build(model.trainable_variables)
batches = strategy.distribute_datasets_from_function(
    lambda context: caption_batches(captions, plan, source, context=context)
)
objective = make_likelihood(model, config)
step = make_train_step(model, optimizer, objective, config, strategy, batches.element_spec)
controls = {"baseline": tf.constant(0.0), "sampled_inputs": tf.constant(0.0)}
sums = [{name: float(value) for name, value in step(batch, controls).items()} for batch in batches]
weights = [variable.numpy().ravel().tolist() for variable in model.trainable_variables]
print(json.dumps({"sums": sums, "weights": sum(weights, [])}))
"""


def run(devices, **decoder):
    command = [sys.executable, "-c", SCRIPT, str(devices), json.dumps(decoder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_train_as_one():
    one, two = run(1, dropout=0.0), run(2, dropout=0.0)
    assert [sums["captions"] for sums in one["sums"]] == [4, 3]
    for first, second in zip(one["sums"], two["sums"], strict=True):
        assert first == pytest.approx(second, rel=1e-5)
    np.testing.assert_allclose(one["weights"], two["weights"], atol=1e-6)


def test_what_is_drawn_is_drawn_on_two_devices():
    found = run(2, dropout=0.3, lstm_dropout=0.2, attention="hard")
    assert {"reinforce", "entropy", "reward"} <= set(found["sums"][0])
    assert np.isfinite(found["weights"]).all()
