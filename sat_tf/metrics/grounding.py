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

import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sat_tf.data.objects import ObjectBoxes
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


def no_grounding() -> np.ndarray:
    """Return the sums of `grounding` of no word."""
    return np.zeros([len(SIZES), len(MAPS), len(_MEASURES) + 1])


def grounding(words: Sequence[str], alphas: np.ndarray, objects: ObjectBoxes | None) -> np.ndarray:
    """Compare the maps of a caption's words with the objects that they name.

    Args:
      words: n.
      alphas: [n, rows, columns], or [n + 1, rows, columns] with that of the end.
      objects: of the image, if they are known.

    Returns:
      float64 [sizes, maps, 3]: sums over the words that name an object of this size of the two
      measures, and the number of these words. The last word has no map after it in n maps.
    """
    sums = no_grounding()
    if objects is None or not len(words):
        return sums
    alphas = np.asarray(alphas, np.float64)
    grid = alphas.shape[1:]
    uniform = np.full(grid, 1 / (grid[0] * grid[1]))
    ignorant = uniform, _centred(grid), alphas[: len(words)].mean(axis=0)  # mean over T
    for word, seen in objects.visible_mentions(words, grid).items():
        area = max(map(objects.area, seen.indices))
        size = sum(area >= limit for limit in _LIMITS.values())  # its index in `SIZES`
        after = alphas[word + 1] if word + 1 < len(alphas) else None
        for column, weights in enumerate((alphas[word], after, *ignorant)):
            if weights is not None:
                hit = seen.cells[weights == weights.max()].mean()
                sums[[0, size], column] += hit, weights[seen.cells].sum(), 1
    return sums


def _centred(grid: tuple[int, int]) -> np.ndarray:
    """Return weights that fall off linearly from the centre to the edges and sum to 1."""
    # In whole numbers: cells equally near the centre must be equal for a tie.
    down, across = (length - np.abs(2 * np.arange(length) + 1 - length) for length in grid)
    weights = np.outer(down, across)
    return weights / weights.sum()


def _generated(data: EvaluationData) -> list[np.ndarray]:
    """Return the `grounding` of each generated caption."""
    pairs = zip(data.attended, data.objects, strict=True)
    return [grounding(caption.words, caption.alphas, objects) for caption, objects in pairs]


def _name(of_references: bool, measure: str, map_: str, size: str) -> str:
    name = _MEASURES[measure] if map_ == "alpha" else f"{measure}_{map_}"
    return "_".join(filter(None, ("reference" * of_references, name, size)))


def _score(data: EvaluationData, of_references: bool, measure: str, map_: str, size: str) -> Metric:
    images = data.reference_grounding if of_references else data.shared(_generated)
    sums = np.asarray(images)[:, SIZES.index(size), [*MAPS].index(map_)]  # [N, 3]
    return ratio(sums[:, [*_MEASURES].index(measure)], sums[:, -1], 100)


# Generated captions have few nouns: they are not scored by size.
_KINDS = ((False, ""), *((True, size) for size in SIZES))

for _measure, _map, (_of_references, _size) in itertools.product(_MEASURES, MAPS, _KINDS):
    _is_main = _map == "alpha" and not _size
    if _of_references or _map != "after":
        register(
            _name(_of_references, _measure, _map, _size),
            group=GROUP,
            needs=(_REFERENCES if _of_references else ATTENTION, BOXES),
            can_monitor=_is_main,
            in_validations=_is_main or not _of_references,
        )(
            functools.partial(
                _score, of_references=_of_references, measure=_measure, map_=_map, size=_size
            )
        )


def grounding_table(scores: Mapping[str, float], intervals: Mapping[str, Interval]) -> str:
    """Format the scores of this module, a line for each map, and intervals of those of all sizes.

    "" if there are none of these scores.
    """

    def cell(name: str, size: str) -> str:
        if name not in scores:
            return "-"  # no word names an object of this size
        text = f"{scores[name]:.1f}"
        if not size and name in intervals:
            text += " [{:.1f}, {:.1f}]".format(*intervals[name])
        return text

    lines = []
    for of_references, title, sizes in (
        (False, "generated captions", SIZES[:1]),
        (True, "reference captions", SIZES),
    ):
        columns = [*itertools.product(_MEASURES, sizes)]
        rows = [(title, [size or measure for measure, size in columns])]
        for map_, label in MAPS.items():
            names = [_name(of_references, measure, map_, size) for measure, size in columns]
            if names[0] in scores:
                cells = [cell(name, size) for name, (_, size) in zip(names, columns, strict=True)]
                rows.append((f"  {label}", cells))
        widths = [8 if size else 20 for _, size in columns]
        for label, cells in rows if len(rows) > 1 else ():
            padded = (f"{text:>{width}}" for text, width in zip(cells, widths, strict=True))
            lines.append(f"{label:<26}{''.join(padded)}")
    return "\n".join(lines)
