"""Memory and time of writing and reading the cache of annotations, at two sizes of the cache.

    python experiments/benchmarks/cache_memory.py [--images 500 4000] [--batches 200]

The annotations are synthetic, 14 x 14 x 512; reading takes random batches of 64. Each step runs in
a process of its own. What it holds should not grow with the cache, but for 4 bytes an image.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageSettings
from sat_tf.data.captions import Record
from sat_tf.data.features import FeatureCache, prepare_cache

GRID = (14, 14, 512)
BATCH = 64
# Small enough that making the cache is writing it.
IMAGES = ImageSettings(image_size=16, resize="squash")
FINGERPRINT = "synthetic"


def main() -> None:
    """Prints a line for each size and step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 4_000])
    parser.add_argument("--batches", type=int, default=200)
    arguments = parser.parse_args()
    for count in arguments.images:
        size = count * np.prod(GRID) * 2
        with tempfile.TemporaryDirectory() as folder:
            write = in_own_process("write", folder, count, arguments.batches)
            read = in_own_process("read", folder, count, arguments.batches)
        print(
            f"{count} images, {size / 1e9:.1f} GB: "
            f"written with a peak of {write['peak_mb']:.0f} MB at "
            f"{size / write['seconds'] / 1e6:.0f} MB/s, "
            f"read with a peak of {read['peak_mb']:.0f} MB in "
            f"{1_000 * read['seconds'] / arguments.batches:.1f} ms a batch of {BATCH}",
            flush=True,
        )


def in_own_process(step: str, folder: str, count: int, batches: int) -> dict[str, float]:
    """What `measure` gives in a new process."""
    command = [sys.executable, __file__, step, folder, str(count), str(batches)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(step: str, folder: Path, count: int, batches: int) -> dict[str, float]:
    """Seconds that writing the cache, or reading `batches`, takes, and the peak of memory in MB."""
    start = time.perf_counter()
    cache = open_cache(folder, count)
    if step == "read":
        random = np.random.default_rng(1)
        start = time.perf_counter()
        for _ in range(batches):
            cache.read(random.integers(0, count, BATCH))
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def open_cache(folder: Path, count: int) -> FeatureCache:
    """The synthetic cache in `folder`; made if it is not there."""
    image = tf.io.encode_png(tf.zeros([16, 16, 3], tf.uint8)).numpy()
    records = [Record(f"{number}", image, ("",)) for number in range(count)]
    random = np.random.default_rng(0)
    annotations = random.normal(size=(32, *GRID)).astype(np.float16)
    return prepare_cache(
        folder, records, lambda pixels: annotations[: len(pixels)], IMAGES, FINGERPRINT
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("write", "read"):
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))))
    else:
        main()
