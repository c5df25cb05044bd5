"""Files of many images: every row once, whatever the ranges."""

import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf
from record_files import write_hugging_face, write_parquet, write_tfrecord

from sat_tf.beam.records import count_rows, is_record_file, ranges, read_rows
from sat_tf.errors import UserError

ROWS = [(f"{number}.jpg", bytes([number]) * (number + 1)) for number in range(50)]


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_tfrecord, "a.tfrecord-00000-of-00001"),
        (write_parquet, "a.parquet"),
        (write_hugging_face, "b.parquet"),
    ],
)
@pytest.mark.parametrize("starts", [[0], [0, 1, 6, 7, 8, 21, 49]])
def test_ranges_hold_every_row_once(tmp_path, write, name, starts):
    path = write(tmp_path / name, ROWS)
    assert is_record_file(path) and count_rows(path) == len(ROWS)
    found = [*ranges(path, starts, len(ROWS))]
    assert [one.first for one in found] == starts
    assert [row for one in found for row in read_rows(one)] == ROWS


@pytest.mark.parametrize("size", [3, 20, -1])
def test_a_tfrecord_that_is_cut_off_is_rejected(tmp_path, size):
    path = tmp_path / "a.tfrecord"
    write_tfrecord(path, ROWS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"a\.tfrecord: is cut off"):
        count_rows(str(path))


def test_a_record_without_an_image_is_none(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(tf.train.Example().SerializeToString())
        writer.write(b"no example")
    (rows,) = ranges(path, [0], 2)
    assert [*read_rows(rows)] == [("", None), ("", None)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": [b"x"]}, "has no column 'image', only picture"),
        ({"image": ["x"]}, "not string"),
    ],
)
def test_parquet_without_images_is_rejected(tmp_path, columns, message):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(UserError, match=message):
        count_rows(str(path))


def test_a_file_that_lost_rows_is_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    (rows,) = ranges(path, [0], len(ROWS))
    write_parquet(path, ROWS[:9])
    with pytest.raises(UserError, match="has lost rows"):
        list(read_rows(rows))
