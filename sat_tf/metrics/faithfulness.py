"""Scores of faithfulness: whether a word depends on what it attended to.

They are means over the content words of the generated captions. Cells of the image are covered in
four orders: those that the word attended to most first, least first, at random, and those that the
whole caption attended to most. Attention is faithful if the first order costs the word more than
the others.
"""

import functools
from collections.abc import Sequence

import numpy as np

from sat_tf.metrics.registry import EvaluationData, Metric, Need, ratio, register

GROUP = "faithfulness"
ORDERS = ("attended", "least", "random", "average")
# Covered shares of the cells; curves start at 0 and end at 1.
FRACTIONS = (0.1, 0.2, 0.4, 0.7)

_MEASURED = Need(
    "needs evaluate --faithfulness",
    is_in_data=lambda data: bool(data.faithfulness),
    is_in_run=lambda config: False,
)


def no_faithfulness() -> np.ndarray:
    """Return the sums of `faithfulness` over no word."""
    return np.zeros(2 * len(ORDERS) + 1)


def faithfulness(
    before: np.ndarray, covered: np.ndarray, after: np.ndarray, fractions: Sequence[float]
) -> np.ndarray:
    """Return what words contribute to the scores.

    Args:
      before: their log probabilities given the whole image, in nats, float [n].
      covered: those given the image with shares of it covered, float [n, orders, fractions].
      after: those given the covered image, float [n].
      fractions: the shares.

    Returns:
      float64 [n, 2 orders + 1]: of each order the fall of log p with the first fraction covered,
      and the area under p as a function of the fraction; 1, the number of words.
    """
    shape = *covered.shape[:2], 1
    first, last = (np.broadcast_to(end[:, None, None], shape) for end in (before, after))
    curves = np.exp(np.concatenate([first, covered, last], axis=2), dtype=np.float64)
    areas = np.trapezoid(curves, (0.0, *fractions, 1.0), axis=2)  # over the fractions: [n, orders]
    falls = before[:, None] - covered[..., 0]
    return np.concatenate([falls, areas, np.ones([len(before), 1])], axis=1)


def _score(data: EvaluationData, column: int, scale: float) -> Metric:
    sums = np.asarray(data.faithfulness)
    return ratio(sums[:, column], sums[:, -1], scale)


_SCORES = [
    *((f"fall_{order}", column, 1.0) for column, order in enumerate(ORDERS)),
    # Covering the most attended cells first deletes what matters; uncovering them first inserts it,
    # which is the same curve as covering the least attended ones first.
    ("deletion", len(ORDERS), 100.0),
    ("insertion", len(ORDERS) + 1, 100.0),
    ("deletion_random", len(ORDERS) + 2, 100.0),
]
for _name, _column, _scale in _SCORES:
    register(
        _name,
        group=GROUP,
        needs=(_MEASURED,),
        higher_is_better=_name != "deletion",
        can_monitor=False,
        in_validations=False,
    )(functools.partial(_score, column=_column, scale=_scale))
