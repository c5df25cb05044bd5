"""The feature cache: the output of a frozen encoder for each image, computed once.

A cache is a folder of shards. A shard is a NumPy array (`.npy`) of records, each the features of
one image and their CRC-32; a digest of the encoder and the images that it was made from is part of
its name. Shards appear whole or not at all, so that encoding stops and resumes at any shard.
`index.json` is written once all shards are there. Reading fetches single records: memory does not
grow with the cache.
"""

import hashlib
import itertools
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.config import ImageConfig
from sat_tf.data.image_bytes import read_image
from sat_tf.data.images import decode_image, resize_and_crop
from sat_tf.data.records import Record
from sat_tf.data.unreadable import LIST_FILE, describe_unreadable, find_unreadable
from sat_tf.errors import UserError
from sat_tf.progress import progress_bar
from sat_tf.storage import atomic_path, read_json, write_json

FORMAT_VERSION = 2
INDEX_FILE = "index.json"
# An interruption loses at most one shard; larger shards are not faster.
SHARD_BYTES = 64 * 2**20

# Fingerprints in the index, and what they identify.
_INDEXED = {
    "encoder": "another encoder (network, layer, weights, preprocessing or image settings)",
    "images": "other images (names, sizes or order)",
}
_REMAKE = "delete this file and run the same command again to encode its images again"

# Pixels float32 [n, S, S, 3], RGB, 0..255 -> features [n, rows, columns, D] of any float type.
Encode = Callable[[Any], Any]


class Shard(NamedTuple):
    """A file of features; `members` are the indices of its images."""

    path: Path
    members: range


class FeatureCache:
    """The features of a sequence of images, kept on disk as float16.

    Opening a cache encodes nothing; `fill` encodes what is missing. Several threads may read.

    Args:
      folder: of this cache alone; need not exist.
      records: the images, in the order in which `read` counts them; all files or all bytes.
      fingerprint: of the encoder and the image settings.
      shape: rows, columns and D of an image's features.

    Raises:
      UserError: there are no images, or the folder holds a complete cache of another encoder or
        of other images.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        records: Sequence[Record],
        fingerprint: str,
        shape: tuple[int, int, int],
    ) -> None:
        self.folder = Path(folder)
        self.shape = shape
        if not records:
            raise UserError(f"{folder}: there are no images to encode; check the data set's splits")
        self._records = records
        self._dtype = np.dtype([("features", "<f2", shape), ("checksum", "<u4")])
        self._per_shard = max(1, SHARD_BYTES // self._dtype.itemsize)
        sources = [_source_digest(record) for record in records]
        self.shards = []
        for number, start in enumerate(range(0, len(records), self._per_shard)):
            members = range(start, min(start + self._per_shard, len(records)))
            digest = _digest(fingerprint, sources[start : members.stop])[:16]
            path = self.folder / f"shard-{number:05d}-{digest}.npy"
            self.shards.append(Shard(path, members))
        self._index = {"encoder": fingerprint, "images": _digest(fingerprint, sources)}
        self._check_index()
        # Byte at which the records of each shard begin; None if the shard is missing.
        self._offsets = [self._records_offset(shard) for shard in self.shards]

    def __len__(self) -> int:
        return len(self._records)

    @property
    def missing(self) -> list[Shard]:
        """The shards that are missing or truncated."""
        pairs = zip(self.shards, self._offsets, strict=True)
        return [shard for shard, offset in pairs if offset is None]

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the features of images; several threads may call this at once.

        Args:
          indices: positions of the images in the records, int [n].

        Returns:
          float16 [n, rows, columns, D].

        Raises:
          IndexError: an index is out of range.
          UserError: a shard is missing or damaged; names its file.
        """
        features = np.empty((len(indices), *self.shape), np.float16)
        for out, index in zip(features, np.asarray(indices).tolist(), strict=True):
            if not 0 <= index < len(self):
                raise IndexError(f"image {index} of {len(self)}")
            number, row = divmod(index, self._per_shard)
            path, offset = self.shards[number].path, self._offsets[number]
            if offset is None:
                raise UserError(f"{path}: is missing or truncated; {_REMAKE}")
            try:
                # Opened for each image: threads share no file position, and no descriptors run out.
                record = np.fromfile(
                    path, self._dtype, 1, offset=offset + row * self._dtype.itemsize
                )
            except OSError as error:
                raise UserError(f"{path}: can't be read ({error.strerror}); {_REMAKE}") from None
            if not len(record) or zlib.crc32(record["features"].data) != record["checksum"][0]:
                raise UserError(f"{path}: the features of image {index} are damaged; {_REMAKE}")
            out[...] = record["features"][0]
        return features

    def fill(self, encode: Encode, images: ImageConfig, batch_size: int = 32) -> None:
        """Encode the images of missing shards; print what is to come and show progress.

        Features beyond float16's range of 65,504 are rejected rather than clipped: as a rule the
        pixels are not in the range that the encoder was trained on.

        Args:
          encode: the encoder, see `Encode`.
          images: how images become pixels.
          batch_size: images encoded at a time.

        Raises:
          UserError: the folder can't be written or the disk is too small; images can't be read
            (raised after the others are encoded; names them); features exceed float16.
        """
        missing = self.missing
        try:
            if missing:
                self._encode_shards(missing, encode, images, batch_size)
            if missing or not (self.folder / INDEX_FILE).exists():
                # Shards that were made before images of an unfinished cache changed.
                wanted = {shard.path for shard in self.shards}
                for path in set(self.folder.glob("shard-*.npy")) - wanted:
                    path.unlink(missing_ok=True)
                index = {"format_version": FORMAT_VERSION, "count": len(self)} | self._index
                write_json(self.folder / INDEX_FILE, index)
        except OSError as error:
            raise UserError(
                f"{self.folder}: can't hold a feature cache ({error}); give another --cache_dir"
            ) from None
        self._offsets = [self._records_offset(shard) for shard in self.shards]

    def _check_index(self) -> None:
        """Raise `UserError` if the folder is a complete cache of something else."""
        path = self.folder / INDEX_FILE
        if not path.is_file():
            return
        found = read_json(path, "the index of a feature cache")
        advice = "give another --cache_dir or delete the folder"
        if (
            not isinstance(found, dict)
            or found.get("format_version") != FORMAT_VERSION
            or not found.keys() >= _INDEXED.keys()
        ):
            raise UserError(f"{path}: is not an index of format {FORMAT_VERSION}; {advice}")
        for name, what in _INDEXED.items():
            if found[name] != self._index[name]:
                raise UserError(
                    f"{self.folder}: is a complete feature cache of {what}: fingerprint "
                    f"{found[name]} instead of {self._index[name]}; {advice}"
                )

    def _records_offset(self, shard: Shard) -> int | None:
        """Return the byte at which a shard's records begin; None if it is not there in full."""
        try:
            records = np.load(shard.path, mmap_mode="r")  # reads the header alone
        except (OSError, ValueError, EOFError):
            return None
        is_whole = (records.dtype, len(records)) == (self._dtype, len(shard.members))
        return int(records.offset) if is_whole else None

    def _encode_shards(
        self, shards: Sequence[Shard], encode: Encode, images: ImageConfig, batch_size: int
    ) -> None:
        indices = [index for shard in shards for index in shard.members]
        pixels = _pixel_batches(self._records, indices, images, batch_size)
        self._announce(len(indices))
        progress = progress_bar(
            self._encoded(pixels, encode), desc="encoding", total=len(indices), unit="image"
        )
        unread = set(indices)
        for number, group in itertools.groupby(progress, lambda one: one[0] // self._per_shard):
            path, members = self.shards[number]
            content = np.empty(len(members), self._dtype)
            for index, features in group:
                content[index - members.start] = features, zlib.crc32(features)
                unread.remove(index)
            if unread.isdisjoint(members):
                with atomic_path(path) as temporary:
                    np.save(temporary, content)
        if unread:
            raise UserError(_unread_message(self._records, sorted(unread), self.folder))

    def _announce(self, count: int) -> None:
        """Print how much is to come; `UserError` if the disk has no room."""
        size = count * self._dtype.itemsize
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise UserError(
                f"{self.folder}: {count:,} images take {size / 1e9:.1f} GB, but only "
                f"{free / 1e9:.1f} GB are free: give another --cache_dir, or --nocache_features"
            )
        space = f"{size / 1e9:.1f} GB" if size > 1e8 else f"{size / 1e6:.1f} MB"
        print(f"encoding {count:,} images into {self.folder}: {space}", file=sys.stderr, flush=True)

    def _encoded(self, pixels: tf.data.Dataset, encode: Encode) -> Iterator[tuple[int, np.ndarray]]:
        """Yield index and float16 [rows, columns, D] of each image that can be read, in order."""
        for indices, batch in pixels:
            with np.errstate(over="ignore"):  # becomes infinity, rejected below
                features = np.asarray(encode(batch)).astype("<f2")
            finite = np.isfinite(features).all(axis=(1, 2, 3))  # over rows, columns, D -> [n]
            if not finite.all():
                record = self._records[int(indices[int(np.argmin(finite))])]
                raise UserError(
                    f"{_name(record)}: its features are not numbers within 65,504, the range of "
                    "float16: check --preprocessing and --encoder_weights, or add "
                    "--nocache_features"
                )
            yield from zip(indices.numpy().tolist(), features, strict=True)


def find_cache(
    folder: str | os.PathLike[str],
    records: Sequence[Record],
    fingerprint: str,
    shape: tuple[int, int, int],
) -> FeatureCache | None:
    """Open a complete cache, or return None if there is none; arguments as of `FeatureCache`.

    Raises:
      UserError: it is of another encoder or of other images, or shards of it are missing.
    """
    if not Path(folder, INDEX_FILE).exists():
        return None
    cache = FeatureCache(folder, records, fingerprint, shape)
    if missing := len(cache.missing):
        raise UserError(
            f"{folder}: {missing:,} of {len(cache.shards):,} shards are missing or truncated"
        )
    return cache


def _source_digest(record: Record) -> bytes:
    """Return a digest of an image's name and of its bytes, or the size of its file."""
    state = record.image
    if isinstance(state, str):
        # A missing file is reported when it is its turn to be read.
        state = str(os.path.getsize(state) if os.path.isfile(state) else None).encode()
    return hashlib.sha256(record.image_id.encode() + b"\0" + state).digest()


def _digest(fingerprint: str, sources: Sequence[bytes]) -> str:
    return hashlib.sha256(fingerprint.encode() + b"\0" + b"".join(sources)).hexdigest()


def _pixel_batches(
    records: Sequence[Record], indices: list[int], config: ImageConfig, batch_size: int
) -> tf.data.Dataset:
    """Batch the readable images: indices int64 [n] and pixels float32 [n, S, S, 3]."""

    @tf.autograph.experimental.do_not_convert
    def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # One by one: a tensor of all images would be a second copy of those held in memory.
        encoded = tf.numpy_function(lambda i: read_image(records[i].image), [index], tf.string)
        return index, resize_and_crop(decode_image(tf.ensure_shape(encoded, [])), config)

    return (
        tf.data.Dataset.from_tensor_slices(tf.constant(indices, tf.int64))
        .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .ignore_errors()
        .batch(batch_size)
        .prefetch(1)
    )


def _unread_message(records: Sequence[Record], indices: Sequence[int], folder: Path) -> str:
    unread = [records[index] for index in indices]
    found = find_unreadable(unread, decode=True)
    errors = [found.get(i, f"{_name(one)}: can't be read") for i, one in enumerate(unread)]
    advice = (
        "repair them and run the same command again: complete shards are kept; or leave them out "
        "with --skip_unreadable"
    )
    return describe_unreadable(errors, len(records), advice, folder / LIST_FILE)


def _name(record: Record) -> str:
    return record.image if isinstance(record.image, str) else record.image_id
