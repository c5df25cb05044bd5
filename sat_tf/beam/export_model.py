"""A SavedModel of `sat_tf.export` that captions the images of a shard."""

import concurrent.futures
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.beam.manifest import Input, Manifest, names_of
from sat_tf.beam.records import read_rows
from sat_tf.beam.shards import KILLER, Attempts, Row
from sat_tf.data.image_bytes import read_image
from sat_tf.data.images import load_image
from sat_tf.errors import UserError, printable
from sat_tf.storage import path_for_tensorflow

_READERS = 16  # threads, most of which wait for a disk or a network
_DIGITS = 4  # decimals of scores and attention
_NOT_DECODED = "is not decoded by the export: it may have more pixels than its --max_pixels"

Serve = Callable[..., dict[str, tf.Tensor]]


class _Image(NamedTuple):
    """An image of a shard.

    path: its path, or FILE:ROW.
    name: that a record gives it; "" if none.
    source: path of the file, or its bytes; None for a row without an image.
    reason: why it has no caption; "" if it may have one.
    data: bytes of the file, once it is read.
    """

    path: str
    name: str
    source: str | bytes | None
    reason: str = ""
    data: bytes = b""


def load_export(export_dir: str) -> Serve:
    """Load a SavedModel; return its signature that captions image files."""
    with path_for_tensorflow(export_dir) as path:
        signatures = tf.saved_model.load(path).signatures
    return signatures["serving_default"]


def caption_shard(
    serve: Serve, manifest: Manifest, shard: int, attempts: Attempts, batch_size: int
) -> list[Row]:
    """Return a caption or a dead letter of each image; batches are read while others are captioned.

    The attempts note what is in progress. Killers among them become dead letters unread.
    """
    inputs, found = manifest.inputs_of(shard), list[Row]()
    if attempts.row is not None:
        images = _images(inputs, attempts.row, attempts.killers)
        for row in range(attempts.row, manifest.size(shard)):
            attempts.begin(row)  # before the image is read
            _caption([_read(next(images))], serve, manifest)
    attempts.begin()
    images = _images(inputs, 0, attempts.killers)

    def read_batch() -> list[_Image]:
        return [*pool.map(_read, itertools.islice(images, batch_size))]

    with concurrent.futures.ThreadPoolExecutor(1 + _READERS) as pool:
        following = pool.submit(read_batch)
        while batch := following.result():
            following = pool.submit(read_batch)
            found += _caption(batch, serve, manifest)
    return found


def _images(inputs: Sequence[Input], start: int, killers: Collection[int]) -> Iterator[_Image]:
    """Yield the images of a shard, not yet read, from a row on."""
    first = 0
    for one in inputs:
        paths = names_of(one)
        following = first + len(paths)
        if following > start:
            found: Iterable[Any] = [("", one)] if isinstance(one, str) else read_rows(one)
            for row, (path, (name, source)) in enumerate(zip(paths, found, strict=True), first):
                if row >= start:
                    yield _Image(path, name, source, KILLER if row in killers else "")
        first = following


def _read(image: _Image) -> _Image:
    """Read an image; what can't be read gets a reason."""
    source = image.source
    if image.reason:
        return image
    if source is None:
        return image._replace(reason="is a row without an image")
    try:
        return image._replace(data=read_image(source))
    except UserError as error:
        shown = printable(source) if isinstance(source, str) else "the bytes"
        return image._replace(reason=str(error).removeprefix(f"{shown}: "))


def _caption(images: Sequence[_Image], serve: Serve, manifest: Manifest) -> list[Row]:
    """Return a caption or a dead letter of each image that was read."""
    readable = [image.data for image in images if not image.reason]
    captions = _captions(serve, readable, manifest.attention)
    rows = []
    for image in images:
        caption = None if image.reason else next(captions)
        if caption is None:
            row = {"path": image.path, "reason": image.reason or _why_not_decoded(image.data)}
        else:
            name = {"image_id": image.name} if image.name else {}
            digests = {"model": manifest.model, "search": manifest.search}
            row = {"path": image.path, **name, **caption, **digests}
        rows.append(row)
    return rows


def _captions(serve: Serve, images: Sequence[bytes], attention: bool) -> Iterator[Row | None]:
    """Yield the best caption of each image; None if it is not decoded.

    Names are those of the export's outputs, in the singular.
    """
    if not images:
        return
    outputs = {name: x.numpy() for name, x in serve(image_bytes=tf.constant(images)).items()}
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
        if attention:
            maps = outputs["attention"][index, 0, :length]  # [T, rows, columns]
            row["attention"] = np.round(maps.astype(np.float64), _DIGITS).tolist()
            row["attention_box"] = [_number(x) for x in outputs["attention_box"][index]]
        yield row


def _number(value: Any) -> float | None:
    """Return a number as it is written; None for NaN and infinity, which JSON lacks."""
    return round(float(value), _DIGITS) if math.isfinite(value) else None


def _why_not_decoded(data: bytes) -> str:
    try:
        load_image(data, compiled=True)
    except UserError as error:
        return str(error).removeprefix("the bytes: ")
    return _NOT_DECODED
