"""The feature cache: the output of a frozen encoder for each image, computed once.

Features are kept under a digest of the encoder and of the bytes of the image. Names, order, splits
and data sets do not matter: a data set that grows has its new images encoded, and one that shares
images with another finds them encoded.

A cache is a folder of shards. A shard is a NumPy array (`.npy`) of records, each the features of
one image and their CRC-32, followed by a footer: the digests of its images, 32 bytes each. Shards
appear whole or not at all and never change, so that encoding stops and resumes at any shard, and
several processes may share a cache. Opening a cache reads the footers alone, and reading fetches
single records: memory does not grow with the cache.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data.pipeline import ImageReader
from sat_tf.data.records import Record
from sat_tf.data.unreadable import (
    LIST_FILE,
    READERS,
    describe_unreadable,
    find_unreadable,
    map_in_threads,
)
from sat_tf.errors import UserError
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path
from sat_tf.workers import ALONE, Workers

FORMAT_VERSION = 3
# An interruption loses at most one shard; larger shards are not faster.
SHARD_BYTES = 64 * 2**20

_DIGEST_BYTES = 32  # of SHA-256
_REMAKE = "delete this file and run the same command again to encode its images again"

# Pixels float32 [n, S, S, 3], RGB, 0..255 -> features [n, rows, columns, D] of any float type.
Encode = Callable[[Any], Any]


class FeatureCache:
    """The features of a sequence of images, kept on disk as float16.

    Opening a cache reads the images, for their digests, and encodes nothing; `fill` encodes what is
    missing. Several threads may read.

    Args:
      folder: of the caches of one encoder; need not exist.
      records: the images, in the order in which `read` counts them; all files or all bytes.
      fingerprint: of the encoder and the image settings.
      shape: rows, columns and D of an image's features.
      workers: that open the cache together, and share out what is to be read and encoded.

    Raises:
      UserError: there are no images, or a file of the folder can't be read.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        records: Sequence[Record],
        fingerprint: str,
        shape: tuple[int, int, int],
        workers: Workers = ALONE,
    ) -> None:
        self.folder = Path(folder)
        self.shape = shape
        if not records:
            raise UserError(f"{folder}: there are no images to encode; check the data set's splits")
        self._records, self._workers = records, workers
        self._dtype = np.dtype([("features", "<f2", shape), ("checksum", "<u4")])
        self.images_per_shard = max(1, SHARD_BYTES // self._dtype.itemsize)
        # None for a file that can't be read, which is reported when it is to be encoded.
        ours = records[workers.index :: workers.count]
        start = hashlib.sha256(f"{FORMAT_VERSION} {fingerprint} ".encode())
        digest = functools.partial(_digest, start=start)
        self._digests = workers.share(map_in_threads(digest, ours, READERS, "reading images"))
        self._find_records()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def missing(self) -> list[int]:
        """The images without features, of equal ones only the first."""
        absent = np.flatnonzero(self._shard < 0).tolist()
        return sorted({self._digests[i] or i: i for i in reversed(absent)}.values())

    @property
    def is_empty(self) -> bool:
        """Whether no image has features, and no file that may have had them is damaged."""
        return not self._damaged and bool((self._shard < 0).all())

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the features of images, float16 [n, rows, columns, D], by their indices.

        Several threads may call this at once.

        Raises:
          IndexError: an index is out of range.
          UserError: features are missing or damaged; names the image or the file.
        """
        features = np.empty((len(indices), *self.shape), np.float16)
        for out, index in zip(features, np.asarray(indices).tolist(), strict=True):
            if not 0 <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
            if self._shard[index] < 0:
                raise UserError(f"{self.folder}: has no features of {_name(self._records[index])}")
            path, offset = self._paths[self._shard[index]], int(self._offset[index])
            try:
                # Opened for each image: threads share no file position, and no descriptors run out.
                record = np.fromfile(path, self._dtype, 1, offset=offset)
            except OSError as error:
                raise UserError(f"{path}: can't be read ({error.strerror}); {_REMAKE}") from None
            if not len(record) or zlib.crc32(record["features"].data) != record["checksum"][0]:
                raise UserError(
                    f"{path}: the features of {_name(self._records[index])} are damaged; {_REMAKE}"
                )
            out[...] = record["features"][0]
        return features

    def fill(self, encode: Encode, images: ImageConfig, batch_size: int = 32) -> None:
        """Encode the images that are missing; print what is to come and show progress.

        Several workers encode a shard each, again and again, until all are done.

        Features beyond float16's range of 65,504 are rejected rather than clipped: as a rule the
        pixels are not in the range that the encoder was trained on.

        Raises:
          UserError: the folder can't be written or the disk is too small; images can't be read
            (raised after the others are encoded; names them); features exceed float16.
        """
        workers = self._workers
        # Other commands may be encoding too: what the chief misses is shared out.
        encodable = workers.from_chief([i for i in self.missing if self._digests[i]])
        ours = encodable[workers.index :: workers.count]
        with workers.together(), self._writing():
            if workers.is_chief:
                for damaged in self._damaged:
                    damaged.unlink(missing_ok=True)
                if encodable:
                    self._announce(len(encodable))
        features = self._encode(ours, encode, images, batch_size)
        with progress_bar(features, desc="encoding", total=len(ours), unit="image") as bar:
            encoded = iter(bar)
            for _ in range(0, -(-len(encodable) // workers.count), self.images_per_shard):
                # After each shard, so that a worker is not taken for stuck that takes longer.
                with workers.together(), self._writing():
                    self._write_shard(itertools.islice(encoded, self.images_per_shard))
        with workers.together():
            workers.wait_until(self._has_all)
            if unread := np.flatnonzero(self._shard < 0).tolist():
                raise UserError(_unread_message(self._records, unread, self.folder))

    def _has_all(self) -> bool:
        """Look for shards again, and return whether all images have features."""
        self._find_records()
        return bool((self._shard >= 0).all())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors of the file system into a `UserError`."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder.absolute()}: can't hold a feature cache "
                f"({error.strerror or error}): give another --cache_dir"
            ) from None

    def _find_records(self) -> None:
        """Find the record of each image in the shards of the folder."""
        self._paths: list[Path] = []
        self._damaged: list[Path] = []
        found: dict[bytes | None, tuple[int, int]] = {}
        wanted = set(self._digests)
        for path in sorted(self.folder.glob("shard-*.npy")):
            offset, digests = self._open_shard(path)
            if not digests:
                self._damaged.append(path)
            for row, digest in enumerate(digests):
                if digest in wanted:
                    found[digest] = len(self._paths), offset + row * self._dtype.itemsize
            self._paths.append(path)
        positions = [found.get(digest, (-1, 0)) for digest in self._digests]
        # Index of each image's file, -1 if it has none, and the byte at which its record begins.
        self._shard, self._offset = np.array(positions, np.int64).T.copy()

    def _open_shard(self, path: Path) -> tuple[int, list[bytes]]:
        """Return where the records of a shard begin, and their digests; none if it is not whole."""
        try:
            records = np.lib.format.open_memmap(path, mode="r")
            offset = int(records.offset)
            with path.open("rb") as file:
                file.seek(offset + records.nbytes)
                footer = file.read()
        except OSError as error:
            raise UserError(
                f"{path.absolute()}: can't be read ({error.strerror}): make it readable, or give "
                "another --cache_dir"
            ) from None
        except (ValueError, EOFError, OverflowError):  # no such header, or no so many records
            return 0, []
        digests = [footer[i : i + _DIGEST_BYTES] for i in range(0, len(footer), _DIGEST_BYTES)]
        is_whole = records.dtype == self._dtype and len(footer) == _DIGEST_BYTES * records.size
        return offset, digests if is_whole else []

    def _write_shard(self, encoded: Iterator[tuple[int, np.ndarray]]) -> None:
        """Write index and features of images, at most those of a shard, if there are any."""
        content, footer = np.empty(self.images_per_shard, self._dtype), bytearray()
        for row, (index, features) in enumerate(encoded):
            content[row] = features, zlib.crc32(features.data)
            footer += self._digests[index] or b""
        if not footer:
            return
        # Its name depends on its images, so that two processes that encode the same ones at once
        # write the same file.
        name = f"shard-{hashlib.sha256(footer).hexdigest()[:16]}.npy"
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            np.save(file, content[: len(footer) // _DIGEST_BYTES])
            file.write(footer)

    def _announce(self, count: int) -> None:
        """Print how much is to come; `UserError` if the disk has no room."""
        size = count * self._dtype.itemsize
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise UserError(
                f"{self.folder.absolute()}: {count:,} images take {size / 1e9:.1f} GB, but only "
                f"{free / 1e9:.1f} GB are free: give another --cache_dir, or train a run with "
                "--nocache_features"
            )
        space = f"{size / 1e9:.1f} GB" if size > 1e8 else f"{size / 1e6:.1f} MB"
        print(f"encoding {count:,} images into {self.folder}: {space}", file=sys.stderr, flush=True)

    def _encode(
        self, rows: Sequence[int], encode: Encode, images: ImageConfig, batch_size: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield index and float16 [rows, columns, D] of each image that can be read, in order."""
        if not rows:
            return
        # One by one up to here, so that an image that can't be read takes no others with it.
        single = tf.data.Dataset.from_tensor_slices({"rows": tf.constant(rows, tf.int64)}).batch(1)
        pixels = ImageReader(self._records, images).attach(single).ignore_errors()
        for batch in pixels.unbatch().batch(batch_size).prefetch(1):
            indices = batch["rows"].numpy()
            with np.errstate(over="ignore"):  # becomes infinity, rejected below
                features = np.asarray(encode(batch["images"])).astype("<f2")
            finite = np.isfinite(features).all(axis=(1, 2, 3))  # over rows, columns, D -> [n]
            if not finite.all():
                raise UserError(
                    f"{_name(self._records[indices[finite.argmin()]])}: its features are not "
                    "numbers within 65,504, the range of float16: check the --preprocessing and "
                    "--encoder_weights of the training, or train a run with --nocache_features"
                )
            yield from zip(indices.tolist(), features, strict=True)


def find_cache(
    folder: str | os.PathLike[str],
    records: Sequence[Record],
    fingerprint: str,
    shape: tuple[int, int, int],
) -> FeatureCache | None:
    """Open a complete cache, or return None if it has no features of any of the images.

    Arguments are those of `FeatureCache`.

    Raises:
      UserError: it lacks the features of some of the images, or a file of it is truncated.
    """
    cache = FeatureCache(folder, records, fingerprint, shape)
    missing = cache.missing
    if not missing:
        return cache
    if cache.is_empty:
        return None
    raise UserError(
        f"{folder}: has no features of {len(missing):,} images, the first "
        f"{_name(records[missing[0]])}: they have changed since they were encoded, or their "
        "features were deleted or damaged"
    )


def _digest(record: Record, start: "hashlib._Hash") -> bytes | None:
    """Return the SHA-256 of what is hashed in `start` and the image; None if it can't be read."""
    image = record.image
    try:
        with open(image, "rb") if isinstance(image, str) else io.BytesIO(image) as file:
            return hashlib.file_digest(file, start.copy).digest()
    except OSError:
        return None


def _unread_message(records: Sequence[Record], indices: Sequence[int], folder: Path) -> str:
    unread = [records[index] for index in indices]
    found = find_unreadable(unread, decode=True)
    errors = [found.get(i, f"{_name(one)}: can't be read") for i, one in enumerate(unread)]
    advice = (
        "repair them and run the same command again: all others are encoded; or leave them out of "
        "a new run, or of an evaluation, with --skip_unreadable"
    )
    return describe_unreadable(errors, len(records), advice, folder / LIST_FILE)


def _name(record: Record) -> str:
    return record.image if isinstance(record.image, str) else record.image_id
