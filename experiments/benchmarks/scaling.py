"""Measure how time and memory grow with the number of images.

    python experiments/benchmarks/scaling.py [--images 1000 10000 100000] [--grid 7 7 32]
        [--units 128] [--batches 150]

Steps, each in a new process: encode images through a small frozen encoder into the feature
cache; train an epoch from that cache, a caption an image; caption the images with three beams;
evaluate: caption and score them. Prints time and processor time per image, peak memory and how much
of it the step added, and the share of the epoch that the loop waits for its next batch; waiting
for a core that other processes have is printed apart. All should be the same at any number of
images, but for two: an evaluation keeps all captions with their attention, and an encoding keeps
the features of a shard, 64 MB, which few images do not fill. --units are E, H and A; --batches are
the most that an epoch has. Linux only.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from versions import device, run_script

STEPS = ("encode", "epoch", "caption", "evaluate")
BATCH, WORDS, V = 64, 10, 1_000
SIDE = 28  # of the images, pixels


def resident_mb(which: str) -> float:
    """Return resident memory now (VmRSS) or its peak (VmHWM) since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) / 1024


def queued() -> float:
    """Return the seconds that this thread was ready to run but had no core."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@contextlib.contextmanager
def measured(figures: dict[str, float], images: int) -> Iterator[None]:
    """Add time and processor time per image, and the peak memory, of the body to `figures`."""
    # Importing TensorFlow takes more memory for a moment than it keeps: reset the peak.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mb("VmRSS")
    started, processor = time.perf_counter(), time.process_time()
    yield
    figures["ms_per_image"] = 1000 * (time.perf_counter() - started) / images
    figures["processor_ms_per_image"] = 1000 * (time.process_time() - processor) / images
    figures["peak_mb"] = resident_mb("VmHWM")
    figures["grown_mb"] = figures["peak_mb"] - before


def measure(
    step: str, folder: str, count: int, grid: tuple[int, int, int], units: int, batches: int
) -> dict[str, float]:
    """Return the figures of one step."""
    import keras
    import numpy as np
    import tensorflow as tf

    from sat_tf.config import DecoderConfig, DecodingConfig, ImageConfig, TrainingConfig
    from sat_tf.data.feature_cache import FeatureCache
    from sat_tf.data.pipeline import (
        CachedFeatures,
        bucket_by_length,
        caption_batches,
        image_batches,
        tokenize_captions,
    )
    from sat_tf.data.records import Record
    from sat_tf.evaluator import Evaluator
    from sat_tf.model.caption_model import CaptionModel
    from sat_tf.model.generation import make_captions
    from sat_tf.training.optimizers import make_optimizer
    from sat_tf.training.train import make_train_step
    from sat_tf.vocabulary import SPECIAL, Vocabulary

    random = np.random.default_rng(0)
    words = np.asarray([f"word{number}" for number in range(V - len(SPECIAL))])
    vocabulary = Vocabulary((*SPECIAL, *words), (1,) * V)
    pixels = random.integers(0, 256, [SIDE, SIDE, 3]).astype(np.uint8)
    image = tf.io.encode_jpeg(pixels).numpy()
    lengths = random.integers(5, WORDS + 1, count)
    records = [
        # What follows the end of a JPEG is not read, but makes it another image for the cache.
        Record(str(number), image + b"%d" % number, (" ".join(random.choice(words, length)),))
        for number, length in enumerate(lengths)
    ]
    rows, columns, size = grid
    source_pixels = keras.Input((SIDE, SIDE, 3))
    strides = (SIDE // rows, SIDE // columns)
    features = keras.layers.Conv2D(size, strides, strides, activation="relu")(source_pixels)
    encoder = keras.Model(source_pixels, features)
    encoder.trainable = False
    config = DecoderConfig(embedding_size=units, hidden_size=units, attention_size=units)
    model = CaptionModel(encoder, config, V)
    images = ImageConfig(image_size=SIDE, resize="stretch")
    cache = FeatureCache(folder, records, "scaling", grid)
    source = CachedFeatures(cache.read, grid)
    decoding = DecodingConfig(beam_size=3, max_length=WORDS, min_length=WORDS)
    figures: dict[str, float] = {}
    if step == "encode":
        encode = tf.function(
            encoder, input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3])], autograph=False
        )
        with measured(figures, count):
            cache.fill(encode, images)
    elif step == "epoch":
        captions = tokenize_captions(records, vocabulary)
        plan = bucket_by_length(captions.lengths, BATCH, 0, 0)[:batches]
        model.compile(make_optimizer(TrainingConfig()))
        dataset = caption_batches(captions, plan, source)
        train = make_train_step(model, tf.distribute.get_strategy(), dataset.element_spec)
        float(train(next(iter(dataset)))["nll"])  # compiles
        waited = without_core = 0.0
        with measured(figures, sum(map(len, plan))):
            iterator, started = iter(dataset), time.perf_counter()
            for _ in plan:
                asked, before = time.perf_counter(), queued()
                batch = next(iterator)
                waited += time.perf_counter() - asked
                without_core += queued() - before
                sums = train(batch)
            float(sums["nll"])  # waits for the device
            whole = time.perf_counter() - started
        figures["waiting_percent"] = 100 * (waited - without_core) / whole
        figures["without_core_percent"] = 100 * without_core / whole
        figures["ms_per_step"] = 1000 * whole / len(plan)
    elif step == "caption":
        for batch in image_batches(BATCH, source, BATCH):
            model.generate(batch, decoding)  # compiles
        with measured(figures, count):
            for batch in image_batches(count, source, BATCH):
                make_captions(model.generate(batch, decoding), vocabulary, [model.grid])
    else:
        evaluator = Evaluator([model], vocabulary, decoding, images)
        evaluator.evaluate(records[: 2 * BATCH], [source], BATCH)  # compiles
        with measured(figures, count):
            evaluator.evaluate(records, [source], BATCH)
    return figures


def main() -> None:
    """Print a line for each number of images and step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--grid", type=int, nargs=3, default=[7, 7, 32])
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--batches", type=int, default=1_000_000)
    parser.add_argument("--only", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        sizes = tuple(options.grid), options.units, options.batches
        print(json.dumps(measure(*options.only, options.images[0], *sizes)))
        return
    print(device())
    for count in options.images:
        with tempfile.TemporaryDirectory() as folder:
            for step in dict.fromkeys(["encode", *options.steps]):  # all others read the cache
                grid = [str(size) for size in options.grid]
                arguments = ["--only", step, folder, "--images", str(count), "--grid", *grid]
                arguments += ["--units", str(options.units), "--batches", str(options.batches)]
                figures: dict[str, Any] = json.loads(
                    run_script(__file__, arguments).splitlines()[-1]
                )
                shown = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
                print(f"{count:>7} images  {step:<7}  {shown}", flush=True)


if __name__ == "__main__":
    main()
