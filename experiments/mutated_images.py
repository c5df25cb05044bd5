"""Caption mutated image files with an export, in batches with intact ones, and check for damage.

    python experiments/mutated_images.py EXPORT_DIR IMAGE ... [--count=2000] [--seed=0]

The images are written in every format that sat_tf reads, and these files are mutated: bits are
flipped, ends cut off, headers swapped, bytes removed, repeated and replaced. Every batch contains
intact images at its even positions; their outputs must be those of a batch without mutated files.
Prints how many mutated files were decoded; exit status 1 if an output changed. (A crash ends the
process; the number of the batch is printed before.)
"""

import argparse
import io
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tensorflow as tf

BATCH = 16
COMPARED = ("captions", "lengths", "attention_box", "decoded")
SHOWN_EVERY = 25  # batches
_HEADER = 32  # bytes that contain the header of every format
_MAX_FLIPS = 20


def in_every_format(image: PIL.Image.Image) -> list[bytes]:
    """Return the image as files of all formats."""
    rgb = image.convert("RGB")
    # Pillow writes 16 bits for gray images alone.
    deep = PIL.Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    palette, turned = rgb.quantize(16), PIL.Image.Exif()
    turned[0x0112] = 6  # orientation
    kinds: list[tuple[PIL.Image.Image, str, dict[str, Any]]] = [
        (rgb, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True, "exif": turned.tobytes()}),
        (rgb.convert("L"), "JPEG", {}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "PNG", {}),
        (rgb.convert("RGBA"), "PNG", {}),
        (deep, "PNG", {}),
        (rgb.convert("P"), "PNG", {}),
        (palette, "PNG", {"transparency": 3, "bits": 4}),
        (rgb, "PNG", {"exif": turned.tobytes()}),
        (rgb, "WEBP", {}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb.convert("RGBA"), "WEBP", {"exif": turned.tobytes()}),
        (rgb, "GIF", {}),
        (palette, "GIF", {"transparency": 3}),
        (rgb, "BMP", {}),
    ]
    files = []
    for pixels, name, options in kinds:
        buffer = io.BytesIO()
        pixels.save(buffer, name, **options)
        files.append(buffer.getvalue())
    return files


def _flip(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    data = bytearray(file)
    for position in random.integers(0, len(data), random.integers(1, _MAX_FLIPS)):
        data[position] ^= 1 << random.integers(0, 8)
    return bytes(data)


def _flip_in_header(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    return _flip(random, file[: 4 * _HEADER], other) + file[4 * _HEADER :]


def _truncate(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    return file[: random.integers(0, len(file))]


def _swap_header(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    size = random.integers(1, _HEADER)
    return other[:size] + file[size:]


def _remove(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    start, end = sorted(random.integers(0, len(file), 2))
    return file[:start] + file[end:]


def _repeat(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    start, end = sorted(random.integers(0, len(file), 2))
    return file[:end] + file[start:]


def _extreme(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    """Replace bytes by 0, 127 or 255, so that sizes and lengths become extreme."""
    start = random.integers(0, min(len(file), 4 * _HEADER))
    size = random.integers(1, 5)
    return file[:start] + bytes([random.choice([0, 0x7F, 0xFF])]) * size + file[start + size :]


def _noise(random: np.random.Generator, file: bytes, other: bytes) -> bytes:
    kept = random.integers(0, _HEADER)
    return file[:kept] + random.bytes(random.integers(0, len(file)))


MUTATIONS: tuple[Callable[[np.random.Generator, bytes, bytes], bytes], ...] = (
    _flip,
    _flip_in_header,
    _truncate,
    _swap_header,
    _remove,
    _repeat,
    _extreme,
    _noise,
)


def campaign(
    caption: Callable[..., dict[str, tf.Tensor]],
    images: Sequence[PIL.Image.Image],
    count: int,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> dict[str, int]:
    """Mutate `count` files and caption them in batches with intact ones.

    Args:
      caption: the signature `serving_default`.
      images: from which the files are made.
      count: number of mutated files.
      seed: of the mutations.
      log: called with lines of progress.

    Returns:
      The numbers of `mutated` files, of those that were `decoded`, and of `harmed` neighbours:
      intact images with other outputs than in a batch without mutated files.
    """
    random = np.random.default_rng(seed)
    files = [file for image in images for file in in_every_format(image)]
    whole = [files[i] for i in random.choice(len(files), BATCH)]
    untouched = np.arange(0, BATCH, 2)
    expected = caption(image_bytes=tf.constant(whole))
    if not expected["decoded"].numpy().all():
        raise ValueError("an intact file was not decoded")
    done = {"mutated": 0, "decoded": 0, "harmed": 0}
    for number in range(-(-count // (BATCH // 2))):
        if number % SHOWN_EVERY == 0:
            log(f"batch {number}: {done}")
        batch = list(whole)
        for position in range(1, BATCH, 2):
            file, other = (files[i] for i in random.integers(0, len(files), 2))
            batch[position] = MUTATIONS[random.integers(len(MUTATIONS))](random, file, other)
        found = caption(image_bytes=tf.constant(batch))
        done["mutated"] += BATCH // 2
        done["decoded"] += int(found["decoded"].numpy()[1::2].sum())
        same = np.isclose(found["scores"], expected["scores"], rtol=1e-5).all(axis=1)
        for name in COMPARED:
            equal = found[name].numpy() == expected[name].numpy()
            same &= equal.reshape(BATCH, -1).all(axis=1)
        done["harmed"] += int((~same[untouched]).sum())
    return done


def main() -> int:
    """Run the campaign on the given images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export_dir")
    parser.add_argument("image", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    caption = tf.saved_model.load(options.export_dir).signatures["serving_default"]
    images = [PIL.Image.open(path) for path in options.image]
    done = campaign(caption, images, options.count, options.seed, print)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{done}; {time.monotonic() - started:.0f} s, peak memory {memory:.1f} GB")
    return 1 if done["harmed"] else 0


if __name__ == "__main__":
    sys.exit(main())
