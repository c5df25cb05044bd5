"""A SavedModel of `sat_tf.export` that captions the images of a shard."""

import concurrent.futures
import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.beam.manifest import Input, Manifest, names_of
from sat_tf.beam.records import read_rows
from sat_tf.beam.shards import KILLER, Row
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

    row: its number in the shard.
    path: its path, or FILE:ROW.
    name: that a record gives it; "" if none.
    source: path of the file, or its bytes; None for a row without an image.
    """

    row: int
    path: str
    name: str
    source: str | bytes | None


@functools.cache
def load_export(export_dir: str) -> Serve:
    """Load a SavedModel; return its signature that captions image files."""
    with path_for_tensorflow(export_dir) as path:
        signatures = tf.saved_model.load(path).signatures
    return signatures["serving_default"]


def caption_rows(
    serve: Serve,
    manifest: Manifest,
    shard: int,
    rows: range,
    killers: Collection[int],
    batch_size: int,
) -> Iterator[Row]:
    """Yield a caption or a dead letter of each image; images are read while others are captioned.

    Args:
      serve: of the SavedModel.
      manifest: of the output.
      shard: its number.
      rows: of the shard, those to be captioned.
      killers: rows that end the process: they become dead letters unread.
      batch_size: images captioned at a time.
    """
    images = _images(manifest.inputs_of(shard), rows)
    digests = {"model": manifest.model, "search": manifest.search}

    def read_batch() -> list[tuple[_Image, bytes, str]]:
        chosen = [*itertools.islice(images, batch_size)]
        reasons = [KILLER if image.row in killers else "" for image in chosen]
        return [*pool.map(_read, chosen, reasons)]

    with concurrent.futures.ThreadPoolExecutor(1 + _READERS) as pool:
        following = pool.submit(read_batch)
        while batch := following.result():
            following = pool.submit(read_batch)
            readable = [data for _, data, reason in batch if not reason]
            captions = _captions(serve, readable, manifest.attention)
            for (_, path, name, _), data, reason in batch:
                caption = None if reason else next(captions)
                if caption is None:
                    yield {"path": path, "reason": reason or _why_not_decoded(data)}
                else:
                    named = {"image_id": name} if name else {}
                    yield {"path": path, **named, **caption, **digests}


def _images(inputs: Sequence[Input], rows: range) -> Iterator[_Image]:
    """Yield the images of these rows; files of many without one of them are not opened."""
    first = 0
    for one in inputs:
        paths = names_of(one)
        if first < rows.stop and first + len(paths) > rows.start:
            found: Iterable[Any] = [("", one)] if isinstance(one, str) else read_rows(one)
            for row, (path, (name, source)) in enumerate(zip(paths, found, strict=True), first):
                if row in rows:
                    yield _Image(row, path, name, source)
        first += len(paths)


def _read(image: _Image, reason: str) -> tuple[_Image, bytes, str]:
    """Return an image, its bytes and why it has none."""
    source, data = image.source, b""
    if source is None:
        reason = reason or "is a row without an image"
    elif not reason:
        try:
            data = read_image(source)
        except UserError as error:
            shown = printable(source) if isinstance(source, str) else "the bytes"
            reason = str(error).removeprefix(f"{shown}: ")
    return image, data, reason


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
