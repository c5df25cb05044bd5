"""Time the training step of the decoder.

    python experiments/benchmarks/train_step.py [--size=small] [--loss=self_critical] [--batches=10]
        [--jit_compile] [--against=FOLDER]

Prints milliseconds and processor milliseconds per step, captions per second, peak memory, and the
rate of the step's matrix products as a share of that of square matrices, in float32 and bfloat16;
B=64, T=16 and a size of the model, see `SIZES`; --loss=self_critical takes 16 images with 5 samples
each, whose rate is not printed. Each precision runs in a new process, for its peak
memory; the processes alternate, so that a change of the machine's speed affects both.

--jit_compile compiles the step by XLA, for GPUs. --against=FOLDER runs the script of another
checkout in turn with this one and prints medians and ratios. Runs on a GPU unchanged; there, take
more --batches.
"""

import argparse
import json
import time
from typing import Any, NamedTuple

from versions import compare, device, peak_memory, run_script

B, T = 64, 16
IMAGES = 16  # of a self-critical step


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


def make_step(
    precision_name: str,
    size: Size,
    loss_name: str,
    strategy: Any = None,
    batch_size: int = B,
    jit_compile: bool = False,
) -> Any:
    """Return the train step of a model whose encoder is the identity, a batch and the model."""
    import keras
    import tensorflow as tf

    from sat_tf.config import from_flat
    from sat_tf.data.records import Record
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.model.networks import precision
    from sat_tf.training.optimizers import make_optimizer
    from sat_tf.training.train import make_loss, make_train_step
    from sat_tf.vocabulary import SPECIAL, Vocabulary

    settings: dict[str, Any] = {
        "dataset": "shapes",
        "embedding_size": size.e,
        "hidden_size": size.h,
        "attention_size": size.a,
    }
    if loss_name == "self_critical":
        settings |= {"self_critical": "bleu_4", "start_from": "RUN", "max_length": T}
    config = from_flat(settings)
    grid = keras.Input((size.rows, size.columns, size.d))
    strategy = strategy or tf.distribute.get_strategy()
    words = (*SPECIAL, *(f"word{i}" for i in range(size.v - len(SPECIAL))))
    records = [Record(str(i), "", (f"word{i} word{i + 1} word2 word3",)) for i in range(B)]
    loss = make_loss(config, Vocabulary(words, (1,) * size.v), records)
    with strategy.scope(), precision(precision_name):
        model = CaptionModel(keras.Model(grid, grid), config.decoder, size.v)
        model.compile(make_optimizer(config.training), loss, jit_compile=jit_compile)
    images = batch_size if loss_name == "likelihood" else IMAGES
    shape = [images, size.rows, size.columns, size.d]
    batch = {
        "features": tf.cast(tf.random.uniform(shape), tf.float16),
        "rows": tf.range(images, dtype=tf.int64),
        "captions": tf.constant(float(images)),
    }
    if loss_name == "likelihood":
        batch["image_index"] = tf.range(images)
        batch["tokens"] = tf.random.uniform([images, T], 3, size.v, tf.int32)
    spec = {
        name: tf.TensorSpec([None, *value.shape[1:]] if value.shape.rank else [], value.dtype)
        for name, value in batch.items()
    }
    return make_train_step(model, strategy, spec), batch, model


def measure(
    precision_name: str, size: Size, loss_name: str, batches: int, jit_compile: bool
) -> dict[str, Any]:
    """Return the figures of one precision."""
    from sat_tf.flags import import_tensorflow

    import_tensorflow()  # with the options of the commands
    step, batch, _ = make_step(precision_name, size, loss_name, jit_compile=jit_compile)
    for _ in range(2):
        float(step(batch)["captions"])
    started, processor = time.monotonic(), time.process_time()
    for _ in range(batches):
        sums = step(batch)
    float(sums["captions"])  # waits for the device
    seconds = (time.monotonic() - started) / batches
    processor = (time.process_time() - processor) / batches
    peak = peak_memory()
    figures = {
        "ms_per_step": 1000 * seconds,
        "processor_ms_per_step": 1000 * processor,
        "peak_gb": peak,
        "device": device(),
    }
    if loss_name != "likelihood":
        return figures
    # A training step costs about three forward passes: the gradient is twice the forward one.
    rate = 3 * 2 * B * forward_products(size) / seconds
    matrix = matrix_rate(precision_name)
    return figures | {
        "captions_per_second": B / seconds,
        "gflops": rate / 1e9,
        "matrix_gflops": matrix / 1e9,
        "share_percent": 100 * rate / matrix,
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
    parser.add_argument("--loss", choices=("likelihood", "self_critical"), default="likelihood")
    parser.add_argument("--jit_compile", action="store_true")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--against", metavar="FOLDER", help="another checkout of the package")
    parser.add_argument("--only", metavar="PRECISION", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        size = SIZES[options.size]
        figures = measure(options.only, size, options.loss, options.batches, options.jit_compile)
        print(json.dumps(figures))
        return
    # Defaults are not named: the script of another checkout may have no such option.
    chosen = [] if options.size == "large" else [f"--size={options.size}"]
    chosen += [] if options.loss == "likelihood" else [f"--loss={options.loss}"]
    chosen += ["--jit_compile"] if options.jit_compile else []
    runs = {
        name: [f"--only={name}", f"--batches={options.batches}", *chosen]
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
