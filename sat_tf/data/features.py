"""The cache of annotations: each image encoded once, kept on disk as float16.

A folder holds `index.json` and shards. A shard holds the annotations of a run of images, then a
CRC-32 of each and a digest of what it was made from; it appears whole or not at all, so that
encoding can stop and go on at any shard. Reading asks the file for single images: memory holds
what was asked for, however large the cache.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from sat_tf.config import ImageSettings
from sat_tf.data.captions import Record
from sat_tf.data.images import decode_image, fit_image
from sat_tf.errors import UserError
from sat_tf.storage import atomic_path, read_json, write_json

FORMAT_VERSION = 1
INDEX_FILE = "index.json"
DTYPE = np.dtype("<f2")
# What an interruption can lose; larger shards would bring no speed.
SHARD_BYTES = 64 * 2**20

_CHECKSUM = np.dtype("<u4")
_DIGEST_BYTES = hashlib.sha256().digest_size
_GB = 1e9
_LISTED = 20

# Pixels float32 [n, S, S, 3], 0..255 -> annotations [n, rows, columns, D].
Encode = Callable[[Any], Any]


@dataclass(frozen=True)
class _Index:
    """What a cache holds, and of what.

    encoder: fingerprint of encoder and image settings.
    images: digest of the images, in order.
    count: images.
    grid: rows, columns and D of each image's annotations.
    images_per_shard: the last shard may hold fewer.
    """

    encoder: str
    images: str
    count: int
    grid: tuple[int, int, int]
    images_per_shard: int

    @property
    def image_bytes(self) -> int:
        return int(np.prod(self.grid)) * DTYPE.itemsize

    @property
    def shards(self) -> range:
        return range(-(-self.count // self.images_per_shard))

    def members(self, shard: int) -> range:
        """Numbers of the images in a shard."""
        start = shard * self.images_per_shard
        return range(start, min(start + self.images_per_shard, self.count))

    def shard_bytes(self, shard: int) -> int:
        each = self.image_bytes + _CHECKSUM.itemsize
        return len(self.members(shard)) * each + _DIGEST_BYTES


class FeatureCache:
    """A whole cache, open for reading from any number of threads."""

    def __init__(self, folder: Path, index: _Index, checksums: np.ndarray) -> None:
        self._folder = folder
        self._index = index
        self._checksums = checksums

    def __len__(self) -> int:
        return self._index.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and D of an image's annotations."""
        return self._index.grid

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Annotations of images.

        Args:
          indices: numbers of the images in the records' order, int [n].

        Returns:
          float16 [n, rows, columns, D].

        Raises:
          IndexError: there is no such image.
          UserError: a shard is missing or damaged.
        """
        annotations = np.empty((len(indices), *self._index.grid), DTYPE)
        for row, number in enumerate(indices):
            annotations[row] = self._read_image(int(number))
        return annotations

    def _read_image(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(f"image {number} of {len(self)}")
        shard, place = divmod(number, self._index.images_per_shard)
        path = _shard_path(self._folder, shard)
        size = self._index.image_bytes
        try:
            # Opened for each image: no descriptors to run out of, nothing shared by threads.
            with open(path, "rb", buffering=0) as file:
                file.seek(place * size)
                content = file.read(size)
        except OSError as error:
            raise UserError(f"{path}: can't be read ({error.strerror}); {_REMAKE}") from None
        if zlib.crc32(content) != self._checksums[number]:
            raise UserError(f"{path}: annotations of image {number} are damaged; {_REMAKE}")
        return np.frombuffer(content, DTYPE).reshape(self._index.grid)


_REMAKE = "delete this file and run the same command again, which makes it anew"


def prepare_cache(
    folder: str | os.PathLike[str],
    records: Sequence[Record],
    encode: Encode,
    images: ImageSettings,
    fingerprint: str,
    *,
    batch_size: int = 32,
) -> FeatureCache:
    """Opens the cache of `records`' annotations; first encodes what it lacks.

    Shards that an interrupted call left are kept. Activations beyond float16's range (65,504) are
    refused, not clipped: in practice they mean that the pixels are not those the encoder expects.

    Args:
      folder: of this cache alone; made if missing.
      records: the images, in the order that `read` counts them.
      encode: pixels float32 [n, S, S, 3], RGB, 0..255 -> annotations [n, rows, columns, D].
      images: how images become pixels.
      fingerprint: of the encoder and `images`.
      batch_size: images encoded at a time.

    Raises:
      UserError: the folder holds a cache of another encoder or of other images, the disk is too
        small, images can't be read (all of them named at the end), annotations are not finite in
        float16.
    """
    folder = Path(folder)
    try:
        index = _read_index(folder)
        sources = _digests_of(records)
        wanted = _digest(fingerprint, sources)
        if index:
            _check_index(folder, index, fingerprint, wanted)
        if index is None or index.images != wanted or _missing(folder, index, sources):
            pixels = _Pixels(records, images, batch_size)
            index = _fill(folder, index, pixels, encode, fingerprint, sources)
        checksums = [_checksums(folder, index, shard) for shard in index.shards]
    except OSError as error:
        raise UserError(f"{folder}: can't hold a cache ({error}); give another --cache_dir") from None
    return FeatureCache(folder, index, np.concatenate(checksums))
