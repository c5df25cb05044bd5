"""Files of many images, of rows (name, bytes)."""

import pyarrow
import pyarrow.parquet
import tensorflow as tf


def write_tfrecord(path, rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, image in rows:
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in (("image/filename", name.encode()), ("image/encoded", image))
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
    return str(path)


def write_parquet(path, rows):
    columns = {"path": [name for name, _ in rows], "image": [image for _, image in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return str(path)


def write_hugging_face(path, rows):
    images = [{"bytes": image, "path": name} for name, image in rows]
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), path, row_group_size=20)
    return str(path)
