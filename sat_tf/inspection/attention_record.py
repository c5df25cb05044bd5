"""What there is to see of one captioned image, as one JSON document.

TensorBoard's plugin and the report show these documents; `static/viewer.js` draws them.
"""

import base64
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from sat_tf.captioning import Caption
from sat_tf.data.images import Thumbnail
from sat_tf.data.objects import ObjectBoxes

FORMAT_VERSION = 1
_QUALITY = 85  # of the JPEG


@dataclasses.dataclass(frozen=True)
class AttentionRecord:
    """One image, its captions, and where each of their words looked.

    image_id: its name.
    thumbnail: the image, and the part of it that the attention's grid covers.
    captions: best first.
    references: captions of people, if there are any.
    objects: what is in it, see `sat_tf.datasets.known_objects.find_objects`; None if not known.
    scores: of the best caption, by name; what a report may be sorted by.
    """

    image_id: str
    thumbnail: Thumbnail
    captions: Sequence[Caption]
    references: Sequence[str] = ()
    objects: ObjectBoxes | None = None
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The inspection as JSON has it.

        `format_version`; `image_id`; `image`: `width`, `height` and `jpeg` (base64) of the
        picture; `box`; `rows` and `columns` of the grid; `references`; `objects`: `name` and `box`
        of each, seen by the model or not, empty if they are not known; `scores`; `captions`:
        `score`, `log_probability` and `words`, each with `word`, `probability`, `beta`, `entropy`
        of alpha in nats, `peak`, alpha's largest value, `alpha`, base64 of a byte for each cell,
        row by row, 255 for the peak, `objects`, the indices of those that the word may name and the
        model saw, and `hit`, whether the centre of the peak's cell lies in one of them (null if
        there are none).
        """
        picture, box = self.thumbnail
        rows, columns = self.captions[0].attention[0].alphas.shape[1:]
        things = self.objects.objects if self.objects else ()
        return {
            "format_version": FORMAT_VERSION,
            "image_id": self.image_id,
            "image": {
                "width": picture.shape[1],
                "height": picture.shape[0],
                "jpeg": _jpeg(picture),
            },
            "box": list(box),
            "rows": rows,
            "columns": columns,
            "references": list(self.references),
            "objects": [{"name": thing.name, "box": list(thing.box)} for thing in things],
            "scores": dict(self.scores),
            "captions": [self._caption(caption) for caption in self.captions],
        }

    def _caption(self, caption: Caption) -> dict[str, Any]:
        named: Mapping[int, Sequence[int]] = {}
        regions: Mapping[int, np.ndarray] = {}
        if self.objects:
            grid = caption.alphas.shape[1], caption.alphas.shape[2]
            named = self.objects.visible_mentions(caption.words)
            regions = self.objects.regions(caption.words, grid)
        return {
            "score": caption.score,
            "log_probability": caption.log_probability,
            "words": [
                {
                    **_word(word, float(log_p), alpha, float(beta)),
                    "objects": list(named.get(place, ())),
                    "hit": bool(regions[place].flat[alpha.argmax()]) if place in regions else None,
                }
                for place, (word, log_p, alpha, beta) in enumerate(
                    # Log probabilities go on to the end, which is no word.
                    zip(
                        caption.words,
                        caption.log_probabilities,
                        caption.alphas,
                        caption.betas,
                        strict=False,
                    )
                )
            ],
        }


def _word(word: str, log_probability: float, alpha: np.ndarray, beta: float) -> dict[str, Any]:
    """What a document tells of a word, but for the objects that it names."""
    peak = float(alpha.max())
    cells = np.rint(255 * alpha / max(peak, np.finfo(np.float32).tiny)).astype(np.uint8)
    return {
        "word": word,
        "probability": math.exp(log_probability),
        "beta": beta,
        "entropy": entropy(alpha),
        "peak": peak,
        "alpha": base64.b64encode(cells.tobytes()).decode(),
    }


def entropy(alpha: np.ndarray) -> float:
    """Of a distribution over cells, in nats: 0 of a single cell, log L of all alike."""
    positive = alpha[alpha > 0]
    return float(-(positive * np.log(positive)).sum())


def _jpeg(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()
