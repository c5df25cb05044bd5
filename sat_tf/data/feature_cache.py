"""The cache of annotations: each image encoded once, read in any order.

Reading asks the shards for single images: memory holds what was asked for, however large the
cache.
"""

import dataclasses
import hashlib
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sat_tf.config import ImageConfig
from sat_tf.data.feature_shards import (
    ANNOTATION,
    Index,
    images_per_shard,
    read_image,
    read_tail,
    shard_path,
    write_shard,
)
from sat_tf.data.images import decode_image, resize_and_crop
from sat_tf.data.records import Record
from sat_tf.errors import UserError

_LISTED = 20

# Rows, columns and D of an image's annotations.
Grid = tuple[int, int, int]
# Pixels float32 [n, S, S, 3], 0..255 -> annotations [n, rows, columns, D].
Encode = Callable[[Any], Any]


class FeatureCache:
    """A cache that is whole, for any number of readers.

    Raises:
      UserError: a shard is missing.
    """

    def __init__(self, folder: Path, index: Index) -> None:
        self._folder = folder
        self._index = index
        checksums = []
        for shard in index.shards:
            tail = read_tail(folder, index, shard)
            if tail is None:
                path = shard_path(folder, shard)
                raise UserError(f"{path}: has just gone or changed; run the same command again")
            checksums.append(tail.checksums)
        self._checksums = np.concatenate(checksums)

    def __len__(self) -> int:
        return self._index.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and D of an image's annotations."""
        return self._index.grid

    def read(self, indices: np.ndarray) -> np.ndarray:
        """The annotations of images; may be called from several threads at once.

        Args:
          indices: numbers of the images, counted as the records were, int [n].

        Returns:
          float16 [n, rows, columns, D].

        Raises:
          IndexError: there is no such image.
          UserError: a shard is missing or damaged.
        """
        annotations = np.empty((len(indices), *self.shape), ANNOTATION)
        for out, number in zip(annotations, np.asarray(indices).tolist(), strict=True):
            if not 0 <= number < len(self):
                raise IndexError(f"image {number} of {len(self)}")
            read_image(self._folder, self._index, number, self._checksums[number], out)
        return annotations


def prepare_cache(
    folder: str | os.PathLike[str],
    records: Sequence[Record],
    encode: Encode,
    images: ImageConfig,
    fingerprint: str,
    *,
    batch_size: int = 32,
) -> FeatureCache:
    """Opens the cache of `records`' annotations, after encoding what it lacks.

    What an earlier call finished before it was interrupted is kept. Annotations beyond float16's
    range of 65,504 are refused rather than clipped: as a rule they mean pixels other than those
    that the encoder was trained on.

    Args:
      folder: of this cache alone; made when missing.
      records: the images, in the order in which `read` counts them; all files or all bytes.
      encode: pixels float32 [n, S, S, 3], RGB, 0..255 -> annotations [n, rows, columns, D] of any
        float type.
      images: how images become pixels.
      fingerprint: of the encoder and `images`.
      batch_size: images encoded at a time.

    Raises:
      UserError: the folder holds the cache of another encoder or of other images; it can't be
        written or the disk is too small; images can't be read (said at the end, of all of
        them); annotations that float16 can't hold.
    """
    folder = Path(folder)
    if not records:
        raise UserError(f"{folder}: there are no images to encode; look at the data set's splits")
    sources = [_source(record) for record in records]
    try:
        index = _agreed_index(folder, fingerprint, sources)
        if index is None:
            digest, grid = _digest(fingerprint, sources).hex(), _grid(encode, images)
            index = Index(fingerprint, digest, len(sources), grid, images_per_shard(grid))
        todo = _unfinished(folder, index, sources)
        if todo:
            numbers = [number for shard in todo for number in index.members(shard)]
            pixels = _pixel_batches(records, numbers, images, batch_size)
            _announce(folder, index, todo, _seconds_per_image(pixels, encode))
            index.save(folder)
            encoded = tqdm(
                _encoded(pixels, encode, records),
                desc="encoding",
                total=len(numbers),
                unit="image",
                disable=None,  # shown on terminals
            )
            unread = set(numbers) - _write_shards(folder, index, todo, encoded)
            if unread:
                raise UserError(_unread_message(records, sorted(unread)))
        return FeatureCache(folder, index)
    except OSError as error:
        raise UserError(
            f"{folder}: can't hold a cache of annotations ({error}); give another --cache_dir"
        ) from None


def find_cache(
    folder: str | os.PathLike[str], records: Sequence[Record], fingerprint: str
) -> FeatureCache | None:
    """Opens the cache of `records`' annotations if there is one; encodes nothing.

    Args:
      folder: of this cache alone.
      records: see `prepare_cache`.
      fingerprint: see `prepare_cache`.

    Raises:
      UserError: it is of another encoder or of other images, or not whole.
    """
    folder, sources = Path(folder), [_source(record) for record in records]
    index = _agreed_index(folder, fingerprint, sources)
    if index is None:
        return None
    missing = _unfinished(folder, index, sources)
    if missing:
        raise UserError(f"{folder}: {len(missing):,} of {len(index.shards):,} shards are not whole")
    return FeatureCache(folder, index)


def _source(record: Record) -> bytes:
    """Digest that tells an image from others and from an earlier state of itself, cheaply."""
    state = record.image
    if isinstance(state, str):
        # A file that is not there is reported when it is its turn to be read.
        state = str(os.path.getsize(state) if os.path.isfile(state) else None).encode()
    return hashlib.sha256(record.image_id.encode() + b"\0" + state).digest()


def _digest(fingerprint: str, sources: Sequence[bytes]) -> bytes:
    return hashlib.sha256(fingerprint.encode() + b"\0" + b"".join(sources)).digest()


def _agreed_index(folder: Path, fingerprint: str, sources: Sequence[bytes]) -> Index | None:
    """The folder's index, if there is one; it is of this encoder and these images.

    A cache that was never finished may change its images: one that could not be read has been
    mended or taken out. Its shards say for themselves what they hold.
    """
    images = _digest(fingerprint, sources).hex()
    index = Index.load(folder)
    if index is None:
        return None
    if index.encoder != fingerprint:
        raise UserError(
            f"{folder}: holds annotations by encoder {index.encoder}, not by this one, "
            f"{fingerprint} (fingerprints of network, layer, weights, preprocessing and image "
            "settings); give another --cache_dir or delete the folder"
        )
    if index.images == images:
        return index
    if all(read_tail(folder, index, shard) for shard in index.shards):
        raise UserError(
            f"{folder}: holds the annotations of {index.count:,} images (digest {index.images}), "
            f"which are not these {len(sources):,} ({images}); give another --cache_dir or "
            "delete the folder"
        )
    return dataclasses.replace(index, images=images, count=len(sources))


def _unfinished(folder: Path, index: Index, sources: Sequence[bytes]) -> dict[int, bytes]:
    """The shards that are not there as they should be, each with its digest."""
    unfinished = {}
    for shard in index.shards:
        members = index.members(shard)
        digest = _digest(index.encoder, sources[members.start : members.stop])
        tail = read_tail(folder, index, shard)
        if tail is None or tail.digest != digest:
            unfinished[shard] = digest
    return unfinished


def _pixel_batches(
    records: Sequence[Record], numbers: list[int], config: ImageConfig, batch_size: int
) -> tf.data.Dataset:
    """Batches of (numbers int64 [n], pixels float32 [n, S, S, 3]); leaves out the unreadable."""
    sources = [records[number].image for number in numbers]
    in_files = isinstance(sources[0], str)

    def load(number: tf.Tensor, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        encoded = tf.io.read_file(source) if in_files else source
        return number, resize_and_crop(decode_image(encoded), config)

    return (
        tf.data.Dataset.from_tensor_slices((tf.constant(numbers, tf.int64), sources))
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .ignore_errors()
        .batch(batch_size)
        .prefetch(1)
    )


def _grid(encode: Encode, config: ImageConfig) -> Grid:
    """Rows, columns and D of `encode`'s annotations."""
    size = config.image_size
    _, rows, columns, channels = encode(tf.zeros([1, size, size, 3])).shape
    return int(rows), int(columns), int(channels)


def _seconds_per_image(pixels: tf.data.Dataset, encode: Encode) -> float:
    """Measured with the first batch: reading it, and encoding it once `encode` is traced."""
    start = time.perf_counter()
    for _, batch in pixels.take(1):
        reading = time.perf_counter() - start
        np.asarray(encode(batch))
        start = time.perf_counter()
        np.asarray(encode(batch))
        return (reading + time.perf_counter() - start) / len(batch)
    return 0.0  # no image can be read


def _announce(folder: Path, index: Index, todo: Iterable[int], seconds_per_image: float) -> None:
    """Says what is to come; `UserError` when the disk has no room for it."""
    count = sum(len(index.members(shard)) for shard in todo)
    size = sum(index.shard_bytes(shard) for shard in todo)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{folder}: {count:,} images take {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB "
            "are free: give another --cache_dir, or --nocache_features"
        )
    space = f"{size / 1e9:.1f} GB" if size > 1e8 else f"{size / 1e6:.1f} MB"
    minutes = count * seconds_per_image / 60
    duration = f"about {minutes:.0f} min" if minutes > 1 else "under a minute"
    print(
        f"encoding {count:,} images into {folder}: {space}, {duration}", file=sys.stderr, flush=True
    )


def _encoded(
    pixels: tf.data.Dataset, encode: Encode, records: Sequence[Record]
) -> Iterator[tuple[int, np.ndarray]]:
    """Number and float16 [rows, columns, D] of each image that can be read, in order."""
    for numbers, batch in pixels:
        annotations = np.asarray(encode(batch))
        with np.errstate(over="ignore"):  # turns into infinity, refused below
            annotations = annotations.astype(ANNOTATION)
        finite = np.isfinite(annotations).all(axis=(1, 2, 3))  # over rows, columns, D -> [n]
        if not finite.all():
            record = records[int(numbers[int(np.argmin(finite))])]
            raise UserError(
                f"{_name(record)}: its annotations are not numbers within 65,504, the range of "
                "float16: check --preprocessing and --encoder_weights, or add --nocache_features"
            )
        yield from zip(numbers.numpy().tolist(), annotations, strict=True)


def _write_shards(
    folder: Path, index: Index, todo: Mapping[int, bytes], encoded: Iterable[tuple[int, np.ndarray]]
) -> set[int]:
    """Writes each shard as soon as its images are there; returns the numbers that came."""
    came = set()

    def annotations(group: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
        for number, value in group:
            came.add(number)
            yield value

    for shard, group in itertools.groupby(encoded, lambda one: one[0] // index.images_per_shard):
        count = len(index.members(shard))
        write_shard(shard_path(folder, shard), annotations(group), count, todo[shard])
    return came


def _unread_message(records: Sequence[Record], numbers: Sequence[int]) -> str:
    names = [f"  {_name(records[number])}" for number in numbers[:_LISTED]]
    if len(numbers) > _LISTED:
        names.append(f"  ... and {len(numbers) - _LISTED:,} more")
    lines = "\n".join(names)
    return (
        f"{len(numbers):,} of {len(records):,} images can't be read:\n{lines}\n"
        "mend them or take them out, and run the same command again: shards without them are kept"
    )


def _name(record: Record) -> str:
    return record.image if isinstance(record.image, str) else record.image_id
