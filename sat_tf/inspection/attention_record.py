"""A captioned image with the attention of its words, as one JSON document.

TensorBoard's plugin and the report serve these documents; `static/viewer.js` displays them.
"""

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.figure import Figure

from sat_tf.data.images import Thumbnail
from sat_tf.data.objects import ObjectBoxes
from sat_tf.inspection import FORMAT_VERSION
from sat_tf.inspection.figures import attention_figure
from sat_tf.metrics.attention import normalized_entropy
from sat_tf.model.generation import Caption
from sat_tf.vocabulary import CONTENT, word_class

_JPEG_QUALITY = 85


@dataclasses.dataclass(frozen=True)
class AttentionRecord:
    """An image, its captions and their attention.

    Attributes:
      image_id: name of the image.
      thumbnail: the image, and the part of it that the grid of alpha covers.
      captions: best first.
      references: captions by people, if known.
      objects: named boxes of the image; None if unknown.
      scores: of the best caption by name; a report can be sorted by them.
    """

    image_id: str
    thumbnail: Thumbnail
    captions: Sequence[Caption]
    references: Sequence[str] = ()
    objects: ObjectBoxes | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def figure(self) -> Figure:
        """Return the attention figure of the best caption."""
        best, (pixels, box) = self.captions[0], self.thumbnail
        return attention_figure(pixels, best.words, best.alphas, best.betas, box=box)

    def document(self) -> dict[str, Any]:
        """Return the record as JSON types, with null for NaN and infinities.

        Returns:
          `format_version`; `image_id`; `image`: `width`, `height` and `jpeg` (base64) of the
          thumbnail; `box` that the grid covers; `rows` and `columns` of the grid; `references`;
          `objects`: `name` and `box` of each, inside the grid's box or not; `scores`; `captions`:
          `score`, `log_probability` and `words`, see `_word`. Boxes are top, left, bottom and
          right as fractions of the image.
        """
        pixels, box = self.thumbnail
        rows, columns = self.captions[0].alphas.shape[1:]
        height, width = pixels.shape[:2]
        objects = self.objects.objects if self.objects else ()
        document = {
            "format_version": FORMAT_VERSION,
            "image_id": self.image_id,
            "image": {"width": width, "height": height, "jpeg": _jpeg(pixels)},
            "box": list(box),
            "rows": rows,
            "columns": columns,
            "references": list(self.references),
            "objects": [{"name": one.name, "box": list(one.box)} for one in objects],
            "scores": dict(self.scores),
            "captions": [
                {
                    "score": caption.score,
                    "log_probability": caption.log_prob,
                    "words": self._words(caption),
                }
                for caption in self.captions
            ],
        }
        return _without_nan(document)

    def _words(self, caption: Caption) -> list[dict[str, Any]]:
        mentions: Mapping[int, Sequence[int]] = {}
        regions: Mapping[int, np.ndarray] = {}
        if self.objects:
            rows, columns = caption.alphas.shape[1:]
            crop = self.thumbnail.box
            mentions = self.objects.visible_mentions(caption.words, crop)
            regions = self.objects.regions(caption.words, (rows, columns), crop)
        return [
            _word(caption, index, mentions.get(index, ()), regions.get(index))
            for index in range(len(caption.words))
        ]


def _word(
    caption: Caption, index: int, objects: Sequence[int], region: np.ndarray | None
) -> dict[str, Any]:
    """Return a word of a caption as JSON types.

    Args:
      caption: holds the word.
      index: of the word.
      objects: indices of the visible objects that the word may name.
      region: the cells that these objects cover, bool [rows, columns]; None if there are none.

    Returns:
      `word`; `content`, whether it is a content word; `probability`, `beta`; `entropy` of alpha, 0
      to 1 (uniform), null for a map of zeros; `peak`, the largest value of alpha; `alpha`, base64
      of a byte for each cell, row by row: 255 times the square root of its fraction of the peak;
      `objects`; `hit`, whether the cell of the peak lies in the region, null without a region.
    """
    alpha = caption.alphas[index]  # [rows, columns]
    peak = float(alpha.max())
    # Brightness is relative to uniform attention: beside a peak of 100 times that, a linear byte
    # would round it to 1.2 or 0.8 times.
    fractions = alpha / max(peak, np.finfo(np.float32).tiny)
    cells = np.rint(255 * np.sqrt(fractions)).astype(np.uint8)
    return {
        "word": caption.words[index],
        "content": word_class(caption.words[index]) == CONTENT,
        "probability": math.exp(caption.log_probs[index]),
        "beta": float(caption.betas[index]),
        "entropy": normalized_entropy(alpha),
        "peak": peak,
        "alpha": base64.b64encode(cells.tobytes()).decode(),
        "objects": list(objects),
        "hit": None if region is None else bool(region.flat[alpha.argmax()]),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _jpeg(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
