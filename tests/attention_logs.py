"""Log directories with known attention: each word attends to one cell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from sat_tf.data.images import Thumbnail
from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.summaries import write_document
from sat_tf.model.generation import AttentionMaps, Caption

GRID = (4, 4)
# The grid covers the middle of a wide image.
HEIGHT, WIDTH = 100, 200
BOX = (0.0, 0.25, 1.0, 0.75)


def caption(words: Sequence[str], cells: Sequence[int], beta: float = 0.5) -> Caption:
    """Return a caption whose words attend to these cells, counted row by row."""
    alphas = np.eye(GRID[0] * GRID[1], dtype=np.float32)[list(cells)].reshape(-1, *GRID)
    betas = np.full(len(words), beta, np.float32)
    log_probabilities = np.full(len(words) + 1, np.log(0.5), np.float32)
    return Caption(tuple(words), log_probabilities, -1.0, (AttentionMaps(alphas, betas),))


def make_record(
    image_id: str, words: Sequence[str], cells: Sequence[int], references: Sequence[str] = ()
) -> AttentionRecord:
    """Return a gray image with one caption."""
    pixels = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    return AttentionRecord(image_id, Thumbnail(pixels, BOX), [caption(words, cells)], references)


def write_run(folder: Path, written: Sequence[tuple[int, AttentionRecord]]) -> None:
    """Write pairs of a step and a record, in this order."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        for step, record in written:
            write_document(record, step)
    writer.close()


def write_value(
    folder: Path, tag: str, value: object, step: int, shape: Sequence[int] | None = None
) -> None:
    """Write any value instead of a document; with a shape, as a tensor that claims to have it."""
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME),
        data_class=2,
    )
    tensor = tf.make_tensor_proto(value)
    if shape:
        tensor.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    one = tf.compat.v1.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
    summary = tf.compat.v1.Summary(value=[one])
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)
    writer.close()
