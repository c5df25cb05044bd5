"""Attention as TensorBoard's summaries: for the tab Attention, as pictures and as curves."""

import json
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sat_tf.inspection import PLUGIN_NAME
from sat_tf.inspection.inspections import Inspection, entropy

# What the film strips' names begin with: TensorBoard shows them as one group.
STRIPS = "attention"
# `DATA_CLASS_TENSOR`, for which TensorFlow exports no name. Without it TensorBoard lists nothing.
_DATA_CLASS_TENSOR = 2


def write_inspection(inspection: Inspection, step: int) -> None:
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
    """Writes an image's film strip, see `sat_tf.inspection.overlays.attention_figure`.

    Args:
      image_id: its name.
      strip: uint8 [H, W, 3].
      step: of the training.
    """
    tf.summary.image(f"{STRIPS}/{safe_tag(image_id)}", strip[None], step=step)


def write_means(inspections: Sequence[Inspection], step: int) -> None:
    """Writes what `means` returns, as scalars."""
    for name, value in means(inspections).items():
        tf.summary.scalar(name, value, step=step)


def means(inspections: Sequence[Inspection]) -> dict[str, float]:
    """Beta and alpha's entropy (nats), means over the words of each image's best caption.

    All words count alike, whichever caption they are of; captions without words count nothing, and
    if there are no words at all, there are no means.
    """
    best = [inspection.captions[0] for inspection in inspections if inspection.captions]
    betas = [float(beta) for caption in best for beta in caption.betas]
    entropies = [entropy(alpha) for caption in best for alpha in caption.alphas]
    if not betas:
        return {}
    return {
        "attention/beta": float(np.mean(betas)),
        "attention/entropy": float(np.mean(entropies)),
    }


def safe_tag(image_id: str) -> str:
    """The name as a tag: what is no Unicode text, as of odd file names, is written as escapes."""
    return image_id.encode(errors="backslashreplace").decode()
