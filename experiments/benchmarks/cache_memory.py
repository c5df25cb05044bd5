"""Measure memory and time of writing and reading the feature cache, at two sizes of the cache.

    python experiments/benchmarks/cache_memory.py [--images 500 4000] [--batches 200]

The features are synthetic, 14 x 14 x 512; reading takes random batches of 64. Each step runs in a
new process, whose memory should not grow with the cache. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data.feature_cache import FeatureCache
from sat_tf.data.records import Record

GRID = (14, 14, 512)
BATCH = 64
# Small enough that making the cache is writing it.
IMAGES = ImageConfig(image_size=16, resize="stretch")
FINGERPRINT = "synthetic"


def main() -> None:
    """Print a line for each size and step."""
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
            f"{count} images, {size / 1e9:.1f} GB\n"
            f"  written: {size / write['seconds'] / 1e6:.0f} MB/s, {peak_of(write)}\n"
            f"  read: {1_000 * read['seconds'] / arguments.batches:.1f} ms a batch of {BATCH}, "
            f"{peak_of(read)}",
            flush=True,
        )


def peak_of(measured: dict[str, float]) -> str:
    """Describe the peak of resident memory."""
    return f"peak {measured['peak_mb']:.0f} MB, {measured['grown_mb']:.0f} MB over the start"


def in_own_process(step: str, folder: str, count: int, batches: int) -> dict[str, float]:
    """Return the result of `measure` in a new process."""
    command = [sys.executable, __file__, step, folder, str(count), str(batches)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def measure(step: str, folder: Path, count: int, batches: int) -> dict[str, float]:
    """Measure the time and the memory that writing the cache, or reading `batches` of it, takes.

    `grown_mb` is the peak of resident memory, less what the process held before.
    """
    forget_peak()
    before = resident_mb("VmRSS")
    start = time.perf_counter()
    cache = open_cache(folder, count)
    if step == "read":
        random = np.random.default_rng(1)
        start = time.perf_counter()
        for _ in range(batches):
            cache.read(random.integers(0, count, BATCH))
    seconds = time.perf_counter() - start
    peak = resident_mb("VmHWM")
    return {"seconds": seconds, "peak_mb": peak, "grown_mb": peak - before}


def resident_mb(which: str) -> float:
    """Return resident memory now (VmRSS) or its peak (VmHWM) since it was last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{which}:")[1].split()[0]) / 1024


def forget_peak() -> None:
    """Reset VmHWM: importing TensorFlow takes more memory for a moment than it keeps."""
    Path("/proc/self/clear_refs").write_text("5")


def open_cache(folder: Path, count: int) -> FeatureCache:
    """Open the synthetic cache in `folder`, filling it if it is missing."""
    image = tf.io.encode_png(tf.zeros([16, 16, 3], tf.uint8)).numpy()
    records = [Record(f"{number}", image, ("",)) for number in range(count)]
    random = np.random.default_rng(0)
    features = random.normal(size=(32, *GRID)).astype(np.float16)
    cache = FeatureCache(folder, records, FINGERPRINT, GRID)
    cache.fill(lambda pixels: features[: len(pixels)], IMAGES)
    return cache


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("write", "read"):
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))))
    else:
        main()
