"""A SavedModel of `sat_tf.export` that captions the images of a shard."""

import concurrent.futures
import itertools
import math
import time
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from sat_tf.beam.manifest import Input, names_of
from sat_tf.beam.records import read_rows
from sat_tf.beam.shards import KILLER, Row, ShardResult
from sat_tf.data.image_bytes import read_image
from sat_tf.data.images import load_image
from sat_tf.errors import UserError, printable
from sat_tf.storage import path_for_tensorflow

_READERS = 16  # threads, most of which wait for a disk or a network
_DIGITS = 4  # decimals of scores and attention
_NOT_DECODED = "is not decoded by the export: it may have more pixels than its --max_pixels"
_Item = TypeVar("_Item")


class _Image(NamedTuple):
    """An image of a shard.

    row: its number in the shard.
    path: its path, or FILE:ROW.
    name: that a record gives it; "" if none.
    data: of its file; None if it can't be read.
    reason: why it can't be read.
    """

    row: int
    path: str
    name: str
    data: bytes | None
    reason: str = ""


class ExportedModel:
    """A SavedModel, loaded, and how its outputs are written.

    Args:
      export_dir: of the SavedModel.
      batch_size: images captioned at a time.
      attention: whether rows have the attention.
      digests: `model` and `search` of each row.
    """

    def __init__(
        self, export_dir: str, batch_size: int, attention: bool, digests: dict[str, str]
    ) -> None:
        with path_for_tensorflow(export_dir) as path:
            self._model = tf.saved_model.load(path)
        self._serve = self._model.signatures["serving_default"]
        self._batch_size, self._attention, self._digests = batch_size, attention, digests

    def caption_shard(
        self, shard: int, inputs: Sequence[Input], killers: Collection[int] = ()
    ) -> ShardResult:
        """Caption the images of a shard.

        Args:
          shard: its number.
          inputs: of the shard.
          killers: rows that end the process: they become dead letters unread.
        """
        started = time.monotonic()
        count = sum(len(names_of(one)) for one in inputs)
        captions, dead_letters = self.caption_rows(inputs, 0, count, killers)
        return ShardResult(shard, captions, dead_letters, time.monotonic() - started)

    def caption_rows(
        self, inputs: Sequence[Input], start: int, stop: int, killers: Collection[int]
    ) -> tuple[list[Row], list[Row]]:
        """Return captions and dead letters of rows [start, stop), see `ShardResult`."""
        captions: list[Row] = []
        dead_letters: list[Row] = []
        batches = _batches(inputs, start, stop, killers, self._batch_size)
        for batch in _one_ahead(batches):
            reasons = {image.row: image.reason for image in batch if image.data is None}
            read = [image for image in batch if image.data is not None]
            for image, row in zip(read, self._caption(read), strict=True):
                if row is None:
                    reasons[image.row] = _why_not_decoded(image.data or b"")
                    continue
                name = {"image_id": image.name} if image.name else {}
                captions.append({"path": image.path, **name, **row, **self._digests})
            dead_letters += (
                {"path": image.path, "reason": reasons[image.row]}
                for image in batch
                if image.row in reasons
            )
        return captions, dead_letters

    def _caption(self, images: Sequence[_Image]) -> Iterator[Row | None]:
        """Yield the best caption of each image; None if it is not decoded.

        Names are those of the export's outputs, in the singular.
        """
        if not images:
            return
        found = self._serve(image_bytes=tf.constant([image.data for image in images]))
        outputs = {name: values.numpy() for name, values in found.items()}
        for index, is_decoded in enumerate(outputs["decoded"]):
            if not is_decoded:
                yield None
                continue
            length = int(outputs["lengths"][index, 0])
            row: Row = {
                "caption": outputs["captions"][index, 0].decode(),
                "score": _number(outputs["scores"][index, 0]),
                "log_prob": _number(outputs["log_probabilities"][index, 0, :length].sum()),
            }
            if self._attention:
                maps = outputs["attention"][index, 0, :length]  # [T, rows, columns]
                row["attention"] = np.round(maps.astype(np.float64), _DIGITS).tolist()
                row["attention_box"] = [_number(x) for x in outputs["attention_box"][index]]
            yield row


def _number(value: float) -> float | None:
    """Return a number as it is written; None for NaN and infinity, which JSON lacks."""
    return round(float(value), _DIGITS) if math.isfinite(value) else None


def _why_not_decoded(data: bytes) -> str:
    try:
        load_image(data, compiled=True)
    except UserError as error:
        return str(error).removeprefix("the bytes: ")
    return _NOT_DECODED


def _read(row: int, path: str, image: str | bytes | None, name: str = "") -> _Image:
    """Read an image: the path of a file, or the bytes of one; None is a row without an image."""
    if image is None:
        return _Image(row, path, name, None, "is a row without an image")
    try:
        return _Image(row, path, name, read_image(image))
    except UserError as error:
        shown = printable(image) if isinstance(image, str) else "the bytes"
        return _Image(row, path, name, None, str(error).removeprefix(f"{shown}: "))


def _batches(
    inputs: Sequence[Input], start: int, stop: int, killers: Collection[int], batch_size: int
) -> Iterator[list[_Image]]:
    """Yield the images of rows [start, stop), read, a batch at a time."""

    def unread() -> Iterator[tuple[int, str, str | bytes | None, str]]:
        row = 0
        for one in inputs:
            names = names_of(one)
            if isinstance(one, str):
                if start <= row < stop:
                    yield row, one, one, ""
            elif row < stop and row + len(names) > start:
                for at, (path, (name, data)) in enumerate(zip(names, read_rows(one), strict=True)):
                    if start <= row + at < stop:
                        yield row + at, path, data, name
            row += len(names)

    def read(one: tuple[int, str, str | bytes | None, str]) -> _Image:
        row, path, image, name = one
        if row in killers:
            return _Image(row, path, name, None, KILLER)
        return _read(row, path, image, name)

    images = unread()
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        while chosen := list(itertools.islice(images, batch_size)):
            yield list(pool.map(read, chosen))


def _one_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield the items; the next one is made by a thread meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
