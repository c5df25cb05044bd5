"""The cache of annotations as it lies on disk: an index and shards.

A shard holds the annotations of consecutive images, then a CRC-32 of each, then a digest of what
they were made from. It appears whole or not at all, so that encoding can stop and go on at any
shard.
"""

import contextlib
import dataclasses
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sat_tf.errors import UserError
from sat_tf.storage import atomic_path, read_json, write_json

FORMAT_VERSION = 1
INDEX_FILE = "index.json"
ANNOTATION = np.dtype("<f2")
# What an interruption can lose; larger shards would bring no speed.
SHARD_BYTES = 64 * 2**20

_CHECKSUM = np.dtype("<u4")
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Index:
    """What a cache holds, and of what.

    encoder: fingerprint of the encoder and the image config.
    images: digest of the images, in order, hexadecimal.
    count: images.
    grid: rows, columns and D of an image's annotations.
    images_per_shard: the last shard may hold fewer.
    """

    encoder: str
    images: str
    count: int
    grid: tuple[int, int, int]
    images_per_shard: int

    @property
    def image_bytes(self) -> int:
        """Bytes of an image's annotations."""
        return int(np.prod(self.grid)) * ANNOTATION.itemsize

    @property
    def shards(self) -> range:
        """Numbers of the shards."""
        return range(-(-self.count // self.images_per_shard))

    def members(self, shard: int) -> range:
        """Numbers of the images in `shard`."""
        start = shard * self.images_per_shard
        return range(start, min(start + self.images_per_shard, self.count))

    def shard_bytes(self, shard: int) -> int:
        """Size of `shard`'s file."""
        each = self.image_bytes + _CHECKSUM.itemsize
        return len(self.members(shard)) * each + _DIGEST_BYTES

    def save(self, folder: Path) -> None:
        """Writes the index into `folder`."""
        document = {"format_version": FORMAT_VERSION, "dtype": "float16"}
        write_json(folder / INDEX_FILE, document | dataclasses.asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Index | None":
        """The index in `folder`, if there is one; `UserError` when it is not one of ours."""
        path = folder / INDEX_FILE
        if not path.exists():
            return None
        document = read_json(path, "the index of a cache of annotations")
        try:
            if (
                document.pop("format_version") != FORMAT_VERSION
                or document.pop("dtype") != "float16"
            ):
                raise ValueError("another version")
            index = cls(**document | {"grid": tuple(document["grid"])})
            if min(index.count, index.images_per_shard, index.image_bytes) < 1:
                raise ValueError("sizes must be positive")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: not an index that this version reads ({error}); delete {folder} or "
                "give another --cache_dir"
            ) from None
        return index


@dataclass(frozen=True)
class Tail:
    """What stands behind a shard's annotations: uint32 [images], and 32 bytes."""

    checksums: np.ndarray
    digest: bytes


def images_per_shard(grid: tuple[int, int, int]) -> int:
    """How many images' annotations make a shard."""
    return max(1, SHARD_BYTES // (int(np.prod(grid)) * ANNOTATION.itemsize))


def shard_path(folder: Path, shard: int) -> Path:
    """File of a shard."""
    return folder / f"shard-{shard:05d}.bin"


def write_shard(path: Path, annotations: Iterable[np.ndarray], count: int, digest: bytes) -> None:
    """Writes a shard, image by image; nothing when fewer than `count` come.

    Args:
      path: of the shard.
      annotations: float16 [rows, columns, D] of each image.
      count: images that belong into the shard.
      digest: of what the annotations are made from.
    """
    checksums = []
    with contextlib.suppress(_FewerError), atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            for image in annotations:
                content = image.astype(ANNOTATION, copy=False).tobytes()
                checksums.append(zlib.crc32(content))
                file.write(content)
            file.write(np.asarray(checksums, _CHECKSUM).tobytes() + digest)
        if len(checksums) < count:
            raise _FewerError


class _FewerError(Exception):
    """Keeps a shard that lacks images from being moved into place."""


def read_tail(folder: Path, index: Index, shard: int) -> Tail | None:
    """The tail of a shard, if its file is there in its full size."""
    path, size = shard_path(folder, shard), index.shard_bytes(shard)
    if not path.is_file() or path.stat().st_size != size:
        return None
    count = len(index.members(shard))
    with open(path, "rb") as file:
        file.seek(count * index.image_bytes)
        content = file.read()
    checksums = np.frombuffer(content, _CHECKSUM, count)
    return Tail(checksums, content[checksums.nbytes :])


def read_image(folder: Path, index: Index, number: int, checksum: int, out: np.ndarray) -> None:
    """Reads the annotations of one image into `out`, float16 [rows, columns, D].

    Raises:
      UserError: the shard is missing, or the annotations are not those that were written.
    """
    shard, place = divmod(number, index.images_per_shard)
    path = shard_path(folder, shard)
    content = out.reshape(-1).view(np.uint8).data
    try:
        # Opened for each image: no descriptors to run out of, nothing that threads share.
        with open(path, "rb", buffering=0) as file:
            file.seek(place * index.image_bytes)
            whole = file.readinto(content) == index.image_bytes
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); {_REMAKE}") from None
    if not whole or zlib.crc32(content) != checksum:
        raise UserError(f"{path}: the annotations of image {number} are damaged; {_REMAKE}")


_REMAKE = "delete this file and run the same command again, which makes it anew"
