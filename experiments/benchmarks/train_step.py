"""Time the training step of the decoder, and how long an epoch waits for data.

    python experiments/benchmarks/train_step.py [--batches=10] [--epoch]

Prints milliseconds per step, captions per second, peak memory, the rate of the step's matrix
products and that of square matrices, in float32 and bfloat16, at B=64, T=16, L=196, D=A=H=E=512,
V=10,000. Each precision runs in a new process, for its peak memory; the processes alternate, so
that a change of the machine's speed affects both. --epoch also trains an epoch from cached features
and prints the share of its time that it waits for data.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

B, T, L, SIZE, V = 64, 16, 196, 512, 10_000
ROUNDS = 2
MATRIX = 2048


def forward_products() -> int:
    """Return the multiply-adds of the matrix products in the forward pass of one caption."""
    step = 3 * SIZE * 4 * SIZE  # gates
    step += SIZE * SIZE + L * SIZE + L * SIZE  # hidden projection, scores, context
    step += 2 * SIZE * SIZE + SIZE * V  # deep output
    return T * step + L * SIZE * SIZE + 2 * SIZE * SIZE  # and once: W_a a, initial state


def matrix_rate(dtype: str) -> float:
    """Return the rate of products of square matrices, floating-point operations per second."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal([MATRIX, MATRIX]), dtype)
    product = tf.function(lambda x: tf.matmul(x, a))
    product(a).numpy()
    started = time.monotonic()
    rounds = 8
    for _ in range(rounds):
        result = product(a)
    result.numpy()
    return rounds * 2 * MATRIX**3 / (time.monotonic() - started)


def make_model_and_step(precision_name: str):
    """Return the train step of a model of the sizes above, whose encoder is the identity."""
    import keras
    import tensorflow as tf

    from sat_tf.config import DecoderConfig, TrainingConfig
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.model.precision import precision
    from sat_tf.training.train import make_optimizer, make_train_step

    grid = keras.Input((14, 14, SIZE))
    with precision(precision_name):
        model = CaptionModel(keras.Model(grid, grid), DecoderConfig(), V)
    model.compile(make_optimizer(TrainingConfig()))
    spec = {
        "features": tf.TensorSpec([None, 14, 14, SIZE], tf.float16),
        "image_index": tf.TensorSpec([None], tf.int32),
        "rows": tf.TensorSpec([None], tf.int64),
        "tokens": tf.TensorSpec([None, None], tf.int32),
        "captions": tf.TensorSpec([], tf.float32),
    }
    return make_train_step(model, tf.distribute.get_strategy(), spec)


def measure(precision_name: str, batches: int) -> dict[str, float]:
    """Return the figures of one precision."""
    import tensorflow as tf

    step = make_model_and_step(precision_name)
    batch = {
        "features": tf.cast(tf.random.uniform([B, 14, 14, SIZE]), tf.float16),
        "image_index": tf.range(B),
        "rows": tf.range(B, dtype=tf.int64),
        "tokens": tf.random.uniform([B, T], 3, V, tf.int32),
        "captions": tf.constant(float(B)),
    }
    for _ in range(2):
        float(step(batch)["nll"])
    started = time.monotonic()
    for _ in range(batches):
        float(step(batch)["nll"])
    seconds = (time.monotonic() - started) / batches
    # A training step costs about three forward passes: the gradient is twice the forward one.
    done = 3 * 2 * B * forward_products() / seconds
    return {
        "ms_per_step": 1000 * seconds,
        "captions_per_second": B / seconds,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "gflops": done / 1e9,
        "matrix_gflops": matrix_rate(precision_name) / 1e9,
    }


def measure_waiting(images: int = 1000, num_return_sequences: int = 5) -> dict[str, float]:
    """Return the share of an epoch that the loop waits for its next batch.

    Features of 14x14x512 are read from a cache through the pipeline of `sat_tf.train`.
    """
    import numpy as np
    import tensorflow as tf

    from sat_tf.config import ImageConfig
    from sat_tf.data.feature_cache import FeatureCache
    from sat_tf.data.pipeline import (
        CachedFeatures,
        TokenizedCaptions,
        bucket_by_length,
        caption_batches,
    )
    from sat_tf.data.records import Record

    random = np.random.default_rng(0)
    count = images * num_return_sequences
    tokens = [random.integers(3, V, random.integers(8, 17)).astype(np.int32) for _ in range(count)]
    captions = TokenizedCaptions(tokens, np.repeat(np.arange(images), num_return_sequences))
    pixel = tf.io.encode_jpeg(np.zeros([8, 8, 3], np.uint8)).numpy()
    records = [Record(str(i), pixel, ("",)) for i in range(images)]
    grid = tf.random.uniform([1, 14, 14, SIZE])
    step = make_model_and_step("float32")
    with tempfile.TemporaryDirectory() as folder:
        shape = (14, 14, SIZE)
        cache = FeatureCache(os.path.join(folder, "cache"), records, "benchmark", shape)
        cache.fill(
            lambda batch: tf.tile(grid, [len(batch), 1, 1, 1]),
            ImageConfig(image_size=8, resize="stretch"),
            batch_size=64,
        )
        source = CachedFeatures(cache.read, shape)
        plan = bucket_by_length(captions.lengths, B, 0, 0)
        waited, started = 0.0, time.monotonic()
        batches = iter(caption_batches(captions, plan, source))
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            waited += time.monotonic() - asked
            if batch is None:
                break
            float(step(batch)["nll"])
        whole = time.monotonic() - started
    return {"epoch_seconds": whole, "waiting_percent": 100 * waited / whole}


def main() -> None:
    """Run each measurement in a new process and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--epoch", action="store_true")
    parser.add_argument("--only", choices=("float32", "bfloat16", "waiting"))
    options = parser.parse_args()
    if options.only == "waiting":
        print(json.dumps(measure_waiting()))
    elif options.only:
        print(json.dumps(measure(options.only, options.batches)))
    else:
        names = ["float32", "bfloat16"] * ROUNDS + ["waiting"] * options.epoch
        for name in names:
            command = [sys.executable, __file__, f"--only={name}", f"--batches={options.batches}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(done.stdout.splitlines()[-1])
            shown = "  ".join(f"{key} {value:.1f}" for key, value in figures.items())
            print(f"{name:<9} {shown}", flush=True)


if __name__ == "__main__":
    main()
