"""Files of many images: TFRecord and Parquet, read from any row on."""

import bisect
import dataclasses
import itertools
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

from sat_tf.errors import UserError, printable, reason

# Sharded files may end as `train.tfrecord-00003-of-00016`.
_NAME = re.compile(r"\.(tfrecords?|parquet)(-\d+-of-\d+)?$", re.IGNORECASE)
# Features of `tf.train.Example`, and columns.
EXAMPLE_IMAGE, EXAMPLE_NAME = "image/encoded", "image/filename"
PARQUET_IMAGE, PARQUET_NAME = "image", "path"

# A TFRecord is the length of its data (8 bytes), a checksum of that (4), the data and theirs (4).
_HEADER_BYTES, _CHECKSUM_BYTES = 12, 4
_PARQUET_BATCH = 16  # rows held in memory at a time


@dataclasses.dataclass(frozen=True)
class RecordRange:
    """Consecutive rows of a TFRecord or Parquet file.

    Attributes:
      file: its path.
      first: number of the first row, from 0.
      count: of the rows.
      offset: byte at which the first row begins in a TFRecord; 0 for Parquet.
    """

    file: str
    first: int
    count: int
    offset: int = 0


def is_record_file(path: str) -> bool:
    """Return whether a file holds many images, by its name."""
    return bool(_NAME.search(path))


def count_rows(path: str) -> int:
    """Return the number of rows of a file.

    Raises:
      UserError: it can't be read, is damaged, or lacks the column of images.
    """
    if _is_parquet(path):
        with _open_parquet(path) as file:
            return int(file.metadata.num_rows)
    return sum(1 for _ in _tfrecords(path))


def ranges(path: str, starts: list[int], total: int) -> Iterator[RecordRange]:
    """Divide a file of `total` rows; yield a range for each of `starts`, increasing first rows."""
    counts = {start: stop - start for start, stop in itertools.pairwise([*starts, total])}
    if _is_parquet(path):
        yield from (RecordRange(path, start, count) for start, count in counts.items())
        return
    for row, (offset, _) in enumerate(_tfrecords(path)):
        if row in counts:
            yield RecordRange(path, row, counts[row], offset)


def read_rows(rows: RecordRange) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and image of each row; "" if it has no name, None if it has no image.

    Raises:
      UserError: the file can't be read, or has changed since it was divided.
    """
    read = _read_parquet if _is_parquet(rows.file) else _read_tfrecord
    left = rows.count
    for row in itertools.islice(read(rows), rows.count):
        left -= 1
        yield row
    if left:
        raise UserError(f"{printable(rows.file)}: has lost rows since the manifest was written")


def _is_parquet(path: str) -> bool:
    match = _NAME.search(path)
    return match is not None and match[1].lower() == "parquet"


def _tfrecords(path: str, offset: int = 0) -> Iterator[tuple[int, int]]:
    """Yield the byte at which each row of a TFRecord begins, and the length of its data."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while offset < size:
                file.seek(offset)
                (length,) = struct.unpack_from("<Q", file.read(_HEADER_BYTES).ljust(8, b"\xff"))
                following = offset + _HEADER_BYTES + length + _CHECKSUM_BYTES
                if following > size:
                    raise UserError(
                        f"{printable(path)}: is cut off, compressed, or no TFRecord (byte "
                        f"{offset:,} of {size:,}): write it again, without compression"
                    )
                yield offset, length
                offset = following
    except OSError as error:
        raise UserError(f"{printable(path)}: {error.strerror}") from None


def _read_tfrecord(rows: RecordRange) -> Iterator[tuple[str, bytes | None]]:
    import tensorflow as tf  # takes seconds; only workers read

    def value(features: Any, name: str) -> bytes | None:
        values = features[name].bytes_list.value if name in features else ()
        return values[0] if values else None

    with open(rows.file, "rb") as file:
        for offset, length in _tfrecords(rows.file, rows.offset):
            file.seek(offset + _HEADER_BYTES)
            try:
                features = tf.train.Example.FromString(file.read(length)).features.feature
            except Exception:  # of protobuf, which has several kinds
                yield "", None
                continue
            name = value(features, EXAMPLE_NAME) or b""
            yield name.decode(errors="backslashreplace"), value(features, EXAMPLE_IMAGE)


def _open_parquet(path: str) -> Any:
    """Open a Parquet file that has the column of images; see `count_rows`."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{printable(path)}: can't be read as Parquet: {reason(error)}") from None
    schema, wrong = file.schema_arrow, ""
    if PARQUET_IMAGE not in schema.names:
        wrong = f"has no column {PARQUET_IMAGE!r}, only {', '.join(schema.names)}"
    else:
        kind = schema.field(PARQUET_IMAGE).type
        if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type  # as Hugging Face's data sets have it
        if not (pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)):
            wrong = f"the column {PARQUET_IMAGE!r} must hold the bytes of image files, not {kind}"
    if wrong:
        file.close()
        raise UserError(f"{printable(path)}: {wrong}")
    return file


def _read_parquet(rows: RecordRange) -> Iterator[tuple[str, bytes | None]]:
    with _open_parquet(rows.file) as file:
        groups = range(file.metadata.num_row_groups)
        ends = [*itertools.accumulate(file.metadata.row_group(i).num_rows for i in groups)]
        first = bisect.bisect_right(ends, rows.first)
        last = bisect.bisect_left(ends, rows.first + rows.count)
        batches = file.iter_batches(
            _PARQUET_BATCH, groups[first : last + 1], [PARQUET_IMAGE, PARQUET_NAME]
        )
        every = (row for batch in batches for row in batch.to_pylist())
        for row in itertools.islice(every, rows.first - ([0, *ends][first]), None):
            image, name = row[PARQUET_IMAGE], row.get(PARQUET_NAME)
            if isinstance(image, dict):
                name, image = name or image.get("path"), image.get("bytes")
            yield str(name or ""), image
