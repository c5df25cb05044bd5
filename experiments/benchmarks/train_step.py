"""Time the training step of the decoder.

    python experiments/benchmarks/train_step.py [--size=small] [--batches=10] [--against=FOLDER]

Prints milliseconds and processor milliseconds per step, captions per second, peak memory, and the
rate of the step's matrix products as a share of that of square matrices, in float32 and bfloat16;
B=64, T=16 and a size of the model, see `SIZES`. Each precision runs in a new process, for its peak
memory; the processes alternate, so that a change of the machine's speed affects both.

--against=FOLDER runs the script of another checkout in turn with this one and prints medians and
ratios. Runs on a GPU unchanged; there, take more --batches.
"""

import argparse
import json
import resource
import time
from typing import Any, NamedTuple

from versions import compare, device, run_script

B, T = 64, 16


class Size(NamedTuple):
    """Rows and columns of the grid, and D, E, H, A and V."""

    rows: int
    columns: int
    d: int
    e: int
    h: int
    a: int
    v: int


SIZES = {
    "large": Size(14, 14, 512, 512, 512, 512, 10_000),
    "small": Size(7, 7, 1280, 256, 512, 256, 2_600),
}


def forward_products(size: Size) -> int:
    """Return the multiply-adds of the matrix products in the forward pass of one caption."""
    rows, columns, d, e, h, a, v = size
    locations = rows * columns
    step = (e + h + d) * 4 * h  # gates
    step += h * a + locations * a + locations * d  # hidden projection, scores, context
    step += (h + d) * e + e * v  # deep output
    return T * step + locations * d * a + 2 * d * h  # and once: W_a a, initial state


def matrix_rate(dtype: str) -> float:
    """Return the rate of products of square matrices, floating-point operations per second."""
    import tensorflow as tf

    side = 8192 if tf.config.list_physical_devices("GPU") else 2048
    a = tf.cast(tf.random.normal([side, side]), dtype)
    product = tf.function(lambda x: tf.matmul(x, a))
    product(a).numpy()
    started, rounds = time.monotonic(), 8
    for _ in range(rounds):
        result = product(a)
    result[0, 0].numpy()
    return rounds * 2 * side**3 / (time.monotonic() - started)


def make_step(precision_name: str, size: Size) -> Any:
    """Return the train step of a model whose encoder is the identity."""
    import keras
    import tensorflow as tf

    from sat_tf.config import DecoderConfig, TrainingConfig
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.model.precision import precision
    from sat_tf.training.train import make_optimizer, make_train_step

    grid = keras.Input((size.rows, size.columns, size.d))
    config = DecoderConfig(embedding_size=size.e, hidden_size=size.h, attention_size=size.a)
    with precision(precision_name):
        model = CaptionModel(keras.Model(grid, grid), config, size.v)
    model.compile(make_optimizer(TrainingConfig()))
    spec = {
        "features": tf.TensorSpec([None, size.rows, size.columns, size.d], tf.float16),
        "image_index": tf.TensorSpec([None], tf.int32),
        "rows": tf.TensorSpec([None], tf.int64),
        "tokens": tf.TensorSpec([None, None], tf.int32),
        "captions": tf.TensorSpec([], tf.float32),
    }
    return make_train_step(model, tf.distribute.get_strategy(), spec)


def measure(precision_name: str, size: Size, batches: int) -> dict[str, Any]:
    """Return the figures of one precision."""
    import tensorflow as tf

    step = make_step(precision_name, size)
    batch = {
        "features": tf.cast(tf.random.uniform([B, size.rows, size.columns, size.d]), tf.float16),
        "image_index": tf.range(B),
        "rows": tf.range(B, dtype=tf.int64),
        "tokens": tf.random.uniform([B, T], 3, size.v, tf.int32),
        "captions": tf.constant(float(B)),
    }
    for _ in range(2):
        float(step(batch)["nll"])
    started, processor = time.monotonic(), time.process_time()
    for _ in range(batches):
        sums = step(batch)
    float(sums["nll"])  # waits for the device
    seconds = (time.monotonic() - started) / batches
    processor = (time.process_time() - processor) / batches
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # A training step costs about three forward passes: the gradient is twice the forward one.
    rate = 3 * 2 * B * forward_products(size) / seconds
    matrix = matrix_rate(precision_name)
    return {
        "ms_per_step": 1000 * seconds,
        "processor_ms_per_step": 1000 * processor,
        "peak_gb": peak,
        "captions_per_second": B / seconds,
        "gflops": rate / 1e9,
        "matrix_gflops": matrix / 1e9,
        "share_percent": 100 * rate / matrix,
        "device": device(),
    }


def costs(output: str) -> dict[str, float]:
    """Return the figures in a measurement's output of which less is better."""
    figures = json.loads(output.splitlines()[-1])
    names = ("ms_per_step", "processor_ms_per_step", "peak_gb")
    return {name: figures[name] for name in names if name in figures}


def main() -> None:
    """Run each measurement in a new process and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="large")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--against", metavar="FOLDER", help="another checkout of the package")
    parser.add_argument("--only", metavar="PRECISION", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, SIZES[options.size], options.batches)))
        return
    # The default size is not named: a checkout that has no other knows no --size.
    size = [] if options.size == "large" else [f"--size={options.size}"]
    runs = {
        name: [f"--only={name}", f"--batches={options.batches}", *size]
        for name in options.precisions
    }
    if options.against:
        compare(__file__, options.against, runs, costs, options.rounds)
        return
    for _ in range(options.rounds):
        for name, arguments in runs.items():
            figures = json.loads(run_script(__file__, arguments).splitlines()[-1])
            shown = (
                f"{key} {value if isinstance(value, str) else f'{value:.1f}'}"
                for key, value in figures.items()
            )
            print(f"{name:<9} {'  '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
