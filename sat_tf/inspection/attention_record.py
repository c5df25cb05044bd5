"""A captioned image with the attention of its words, as one JSON document.

TensorBoard's plugin and the report serve these documents; `static/viewer.js` displays them.
"""

import base64
import dataclasses
import io
import json
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
    """An image, its captions and their attention."""

    image_id: str
    thumbnail: Thumbnail
    captions: Sequence[Caption]  # best first
    references: Sequence[str] = ()
    objects: ObjectBoxes | None = None
    # Of the best caption by name; a report can be sorted by them.
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
          `score`, `log_probability` and `words`, see `_words`. Boxes are top, left, bottom and
          right as fractions of the image.
        """
        pixels, box = self.thumbnail
        rows, columns = self.captions[0].alphas.shape[1:]
        height, width = pixels.shape[:2]
        objects = dataclasses.replace(self.objects, crop=box) if self.objects else None
        document = {
            "format_version": FORMAT_VERSION,
            "image_id": self.image_id,
            "image": {"width": width, "height": height, "jpeg": _jpeg(pixels)},
            "box": list(box),
            "rows": rows,
            "columns": columns,
            "references": list(self.references),
            "objects": [one._asdict() for one in objects.objects] if objects else [],
            "scores": dict(self.scores),
            "captions": [
                {
                    "score": caption.score,
                    "log_probability": caption.log_prob,
                    "words": _words(caption, objects),
                }
                for caption in self.captions
            ],
        }
        return json.loads(json.dumps(document), parse_constant=lambda _: None)


def _words(caption: Caption, objects: ObjectBoxes | None) -> list[dict[str, Any]]:
    """Return the words of a caption as JSON types.

    Returns:
      For each `word`; `content`, whether it is a content word; `probability`, `beta`; `entropy` of
      alpha, 0 to 1 (uniform), NaN for a map of zeros; `peak`, the largest value of alpha; `alpha`,
      base64 of a byte for each cell, row by row: 255 times the square root of its fraction of the
      peak; `objects`, indices of the visible ones that it may name; `hit`, whether the cell of the
      peak lies in one of these, None if there are none.
    """
    grid = caption.alphas.shape[1:]
    mentions = objects.visible_mentions(caption.words, grid) if objects else {}
    words = []
    for index, (word, alpha) in enumerate(zip(caption.words, caption.alphas, strict=True)):
        seen = mentions.get(index)
        peak = float(alpha.max())
        # Brightness is relative to uniform attention: beside a peak of 100 times that, a linear
        # byte would round it to 1.2 or 0.8 times.
        fractions = alpha / max(peak, np.finfo(np.float32).tiny)
        cells = np.rint(255 * np.sqrt(fractions)).astype(np.uint8)
        words.append(
            {
                "word": word,
                "content": word_class(word) == CONTENT,
                "probability": math.exp(caption.log_probs[index]),
                "beta": float(caption.betas[index]),
                "entropy": normalized_entropy(alpha),
                "peak": peak,
                "alpha": base64.b64encode(cells.tobytes()).decode(),
                "objects": seen.indices if seen else [],
                "hit": bool(seen.cells.flat[alpha.argmax()]) if seen else None,
            }
        )
    return words


def _jpeg(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
