"""Scores of attention against boxes: whether it lies on the objects that the words name.

A word counts if it names an object of the image; several objects that a word may mean are one
region. Each map of a word is compared with that region by two measures, in percent of the words:

- pointing: whether the centre of the cell with the largest weight lies in the region; of cells
  that tie, the share inside;
- correctness (Liu et al., 2017): the weight of the cells whose centres lie in the region. The null
  location is in no region.

Captions are the generated ones, or the references, read by teacher forcing: several of an image,
and the same for every model.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sat_tf.data.objects import WHOLE, Box, ObjectBoxes, cells_inside
from sat_tf.metrics.attention import ATTENTION
from sat_tf.metrics.bootstrap import Interval
from sat_tf.metrics.registry import EvaluationData, Metric, Need, ratio, register

GROUP = "grounding"

# The maps of a word: its own, alpha_t; alpha_{t+1}, which the model computes once it has read the
# word; and three that ignore the word.
MAPS = {
    "alpha": "alpha of the word",
    "after": "alpha after the word",
    "uniform": "uniform map",
    "centre": "centre",
    "average": "mean map of the caption",
}
# Objects by the area of the largest box that a word may mean, in pixels of the image file, with
# COCO's limits.
_LIMITS = {"small": 0, "medium": 32**2, "large": 96**2}
SIZES = ("", *_LIMITS)  # "": of any size
_MEASURES = {"pointing": "pointing_accuracy", "correctness": "attention_correctness"}

BOXES = Need(
    "needs --boxes, or --dataset=shapes",
    is_in_data=lambda data: any(objects is not None for objects in data.objects),
    is_in_run=lambda config: config.data.dataset == "shapes" or bool(config.data.boxes),
)
_REFERENCES = Need(
    "needs the attention of references", is_in_data=lambda data: bool(data.reference_grounding)
)


class _Column(NamedTuple):
    """Which of the sums of `grounding` a score is the ratio of."""

    is_reference: bool
    size: str
    map: str
    measure: str

    @property
    def name(self) -> str:
        """Name of the score."""
        own = _MEASURES[self.measure]
        name = own if self.map == "alpha" else f"{self.measure}_{self.map}"
        size = f"_{self.size}" if self.size else ""
        return f"{'reference_' if self.is_reference else ''}{name}{size}"

    def compute(self, data: EvaluationData) -> Metric:
        """Compute the score from the sums of each image."""
        images = data.reference_grounding if self.is_reference else data.shared(_generated)
        sums = np.asarray(images)[:, SIZES.index(self.size), list(MAPS).index(self.map)]  # [N, 3]
        column = list(_MEASURES).index(self.measure)
        return ratio(sums[:, column].tolist(), sums[:, -1].tolist(), 100)


def no_grounding() -> np.ndarray:
    """Return the sums of `grounding` of no word."""
    return np.zeros([len(SIZES), len(MAPS), len(_MEASURES) + 1])


def grounding(
    words: Sequence[str], alphas: np.ndarray, objects: ObjectBoxes, crop: Box = WHOLE
) -> np.ndarray:
    """Compare the maps of a caption's words with the objects that they name.

    Args:
      words: n.
      alphas: [n, rows, columns], or [n + 1, rows, columns] with that of the end.
      objects: of the image.
      crop: the part of the image under the grid.

    Returns:
      float64 [sizes, maps, 3]: sums over the words that name an object of this size of the two
      measures, and the number of these words. The last word has no map after it in n maps.
    """
    sums = no_grounding()
    if not len(words):
        return sums
    alphas = np.asarray(alphas, np.float64)
    grid = alphas.shape[1:]
    uniform = np.full(grid, 1 / (grid[0] * grid[1]))
    ignorant = uniform, _centred(grid), alphas[: len(words)].mean(axis=0)  # mean over T
    for word, indices in objects.visible_mentions(words, crop).items():
        inside = cells_inside((objects.objects[i].box for i in indices), grid, crop)
        area = max(objects.area(i) for i in indices)
        size = sum(area >= limit for limit in _LIMITS.values())  # its index in `SIZES`
        after = alphas[word + 1] if word + 1 < len(alphas) else None
        for column, weights in enumerate((alphas[word], after, *ignorant)):
            if weights is not None:
                hit = inside[weights == weights.max()].mean()
                sums[[0, size], column] += hit, weights[inside].sum(), 1
    return sums


def _generated(data: EvaluationData) -> list[np.ndarray]:
    """Return the `grounding` of each generated caption."""
    crops = data.crops or [WHOLE] * len(data.objects)
    return [
        grounding(caption.words, caption.alphas, objects, crop) if objects else no_grounding()
        for caption, objects, crop in zip(data.attended, data.objects, crops, strict=True)
    ]


def _centred(grid: tuple[int, int]) -> np.ndarray:
    """Return weights that fall off linearly from the centre to the edges and sum to 1."""
    # In whole numbers: cells equally near the centre must be equal for a tie.
    down, across = (length - np.abs(2 * np.arange(length) + 1 - length) for length in grid)
    weights = np.outer(down, across)
    return weights / weights.sum()


def _columns() -> Iterator[_Column]:
    """Yield the scores; of generated captions, which have few nouns, not by size."""
    for measure in _MEASURES:
        for map_ in MAPS:
            if map_ != "after":
                yield _Column(False, "", map_, measure)
            for size in SIZES:
                yield _Column(True, size, map_, measure)


for _column in _columns():
    _is_main = _column.map == "alpha" and not _column.size
    register(
        _column.name,
        group=GROUP,
        needs=(_REFERENCES if _column.is_reference else ATTENTION, BOXES),
        can_monitor=_is_main,
        in_validations=_is_main or not _column.is_reference,
    )(_column.compute)


def grounding_table(scores: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    """Format the scores of this module, with the 95 % intervals of those of all sizes.

    Returns:
      A table with a line for each map; "" if there are none of these scores.
    """

    def cell(column: _Column) -> str:
        if column.name not in scores:
            return ""
        text = f"{scores[column.name]:.1f}"
        if not column.size and column.name in intervals:
            low, high = intervals[column.name]
            text += f" [{low:.1f}, {high:.1f}]"
        return text

    lines = []
    for is_reference, title in ((False, "generated captions"), (True, "reference captions")):
        kinds = [
            (measure, size) for measure in _MEASURES for size in SIZES[: 4 * is_reference or 1]
        ]
        rows = {title: [size or measure for measure, size in kinds]}
        for map_, label in MAPS.items():
            rows[f"  {label}"] = [cell(_Column(is_reference, size, map_, m)) for m, size in kinds]
        if rows["  " + MAPS["alpha"]][0]:
            lines += [
                f"{label:<26}"
                + "".join(
                    f"{text:>{8 if size else 20}}"
                    for text, (_, size) in zip(row, kinds, strict=True)
                )
                for label, row in rows.items()
                if any(row)
            ]
    return "\n".join(lines)
