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
    before: float, covered: np.ndarray, after: float, fractions: Sequence[float] = FRACTIONS
) -> np.ndarray:
    """Return what a word contributes to the scores.

    Args:
      before: its log probability given the whole image, in nats.
      covered: that given the image with shares of it covered, float [orders, fractions].
      after: that given the covered image.
      fractions: the shares.

    Returns:
      float64 [2 orders + 1]: of each order the fall of log p with the first fraction covered, and
      the area under p as a function of the fraction; 1, the number of words.
    """
    ends = np.full([len(ORDERS), 1], 1.0)
    curves = np.exp(np.concatenate([before * ends, covered, after * ends], axis=1))
    areas = np.trapezoid(curves, (0.0, *fractions, 1.0), axis=1)  # over the fractions: [orders]
    return np.concatenate([before - covered[:, 0], areas, [1.0]])


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
