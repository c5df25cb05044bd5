"""Attention as TensorBoard's summaries: for the tab Attention, as pictures and as curves."""

import json
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.attention_record import AttentionRecord

# What the film strips' names begin with: TensorBoard shows them as one group.
STRIPS = "strips"
# The curves' groups, each with what its scores' names begin with.
_GROUPS = {
    "words": (
        *("bleu_", "cider", "rouge_l", "meteor", "perplexity"),
        *("mean_length", "novel_captions", "distinct_captions", "vocab_size"),
    ),
    "attention": ("attention_", "beta_", "pointing_", "correctness_"),
    "truth": ("true_", "relational_", "shuffled_"),
}
# `DATA_CLASS_TENSOR`, for which TensorFlow exports no name. Without it TensorBoard lists nothing.
_DATA_CLASS_TENSOR = 2


def write_inspection(inspection: AttentionRecord, step: int) -> None:
    """Writes an inspection's document for the tab Attention, to the default writer.

    Its tag is the image's name; the value a scalar string tensor. NaN and infinities are written
    as Python does; the plugin makes null of them.
    """
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME),
        data_class=_DATA_CLASS_TENSOR,
    )
    document = json.dumps(inspection.document(), separators=(",", ":"))
    tf.summary.write(safe_tag(inspection.image_id), document, step=step, metadata=metadata)


def write_strip(image_id: str, strip: np.ndarray, step: int) -> None:
    """Writes an image's film strip, see `sat_tf.inspection.figures.attention_figure`.

    Args:
      image_id: its name.
      strip: uint8 [H, W, 3].
      step: of the training.
    """
    tf.summary.image(f"{STRIPS}/{safe_tag(image_id)}", strip[None], step=step)


def write_scores(scores: Mapping[str, float], step: int) -> None:
    """Writes an epoch's losses and scores as curves, to the default writer, see `curve`."""
    for name, value in scores.items():
        tf.summary.scalar(curve(name), value, step=step)


def curve(name: str) -> str:
    """What a loss or a score is called in TensorBoard, which shows a group for each beginning."""
    group = next((group for group, names in _GROUPS.items() if name.startswith(names)), "training")
    return f"{group}/{name.removeprefix('attention_')}"


def safe_tag(image_id: str) -> str:
    """The name as a tag: what is no Unicode text, as of odd file names, is written as escapes."""
    return image_id.encode(errors="backslashreplace").decode()
