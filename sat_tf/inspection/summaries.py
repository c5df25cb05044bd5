"""Scores and attention as TensorBoard summaries, written to the default writer."""

import json
from collections.abc import Mapping

import tensorflow as tf

from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.inspection.figures import render
from sat_tf.metrics.registry import SCORES

_FIGURES = "attention_figures"  # group of the images
# `DATA_CLASS_TENSOR`, for which TensorFlow exports no name. Without it TensorBoard lists nothing.
_DATA_CLASS_TENSOR = 2


def write_document(record: AttentionRecord, step: int) -> None:
    """Write the document of a record for the tab Attention.

    Its tag is the name of the image, its value a scalar string tensor.
    """
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME),
        data_class=_DATA_CLASS_TENSOR,
    )
    document = json.dumps(record.document(), separators=(",", ":"))
    tf.summary.write(safe_tag(record.image_id), document, step=step, metadata=metadata)


def write_figure(record: AttentionRecord, step: int) -> None:
    """Write the attention figure of a record as an image."""
    pixels = render(record.figure())  # [H, W, 3]
    tf.summary.image(f"{_FIGURES}/{safe_tag(record.image_id)}", pixels[None], step=step)


def write_scores(scores: Mapping[str, float], step: int) -> None:
    """Write losses and scores as curves; TensorBoard groups tags by the part before the slash."""
    for name, value in scores.items():
        group = SCORES[name].group if name in SCORES else "training"
        tf.summary.scalar(f"{group}/{name.removeprefix('attention_')}", value, step=step)


def safe_tag(image_id: str) -> str:
    """Return the name with escapes for what is not valid Unicode, as in undecodable file names."""
    return image_id.encode(errors="backslashreplace").decode()
