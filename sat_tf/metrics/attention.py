"""Scores of the attention maps alone: how focused they are, and whether they move.

Each is 0 to 100, and 0 where there is nothing to count.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sat_tf.metrics.registry import EvaluationData, Metric, Need, ratio, register
from sat_tf.vocabulary import CONTENT, word_class

if TYPE_CHECKING:
    from sat_tf.model.generation import Caption

_GROUP = "attention"

ATTENTION = Need("needs attention maps", is_in_data=lambda data: bool(data.attended))
GATE = Need(
    "needs a gating scalar",
    is_in_data=lambda data: any(np.any(np.asarray(c.betas) != 1) for c in data.attended),
)
PAIRS = Need(
    "needs two validation images or more in a batch (--batch_size), whose states it exchanges",
    is_in_data=lambda data: any(map(len, data.state_sensitivities)),
    is_in_run=lambda config: config.training.batch_size > 1,
)


def _maps(data: EvaluationData) -> Iterator[np.ndarray]:
    """Yield the maps of each caption, float64 [n, L]."""
    for caption in data.attended:
        alphas = np.asarray(caption.alphas, np.float64)
        yield alphas.reshape(len(alphas), alphas.shape[1] * alphas.shape[2])


def _mean(values: Sequence[np.ndarray]) -> Metric:
    """Return the mean, in percent, over the words (steps, captions) of all images."""
    return ratio([float(each.sum()) for each in values], [each.size for each in values], 100)


def _entropies(maps: np.ndarray) -> np.ndarray:
    """Compute the entropy of each map, normalized to a sum of 1, over log L: [n, L] -> [m].

    Maps of zeros, of words that attend to the null location alone, are left out: m is at most n.
    The entropy of a grid of one cell is 0.
    """
    totals = maps.sum(axis=1, keepdims=True)  # sum over L: [n, 1]
    is_seen = totals[:, 0] > 0
    shares = maps[is_seen] / totals[is_seen]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    maximum = np.log(maps.shape[1])
    return -(shares * logs).sum(axis=1) / maximum if maximum else np.zeros(len(shares))


def normalized_entropy(alpha: np.ndarray) -> float:
    """Compute the entropy of a map, [rows, columns], as `_entropies`; NaN for a map of zeros."""
    values = _entropies(np.asarray(alpha, np.float64).reshape(1, alpha.size))
    return abs(float(values[0])) if len(values) else math.nan  # abs: no -0.0


@register("attention_entropy", group=_GROUP, needs=(ATTENTION,), higher_is_better=False)
def attention_entropy(data: EvaluationData) -> Metric:
    """Compute the entropy of alpha over log L, the mean over words.

    100 where alpha is uniform, 0 where it is a single cell.
    """
    return _mean([_entropies(maps) for maps in _maps(data)])


@register("attention_change", group=_GROUP, needs=(ATTENTION,))
def attention_change(data: EvaluationData) -> Metric:
    """Compute 1/2 sum_i |alpha_{t,i} - alpha_{t-1,i}|, the mean over steps from word to word.

    0 where every word has the same map, 100 where all mass moves at each step.
    """
    return _mean([np.abs(np.diff(maps, axis=0)).sum(axis=1) / 2 for maps in _maps(data)])


@register("attention_coverage", group=_GROUP, needs=(ATTENTION,))
def attention_coverage(data: EvaluationData) -> Metric:
    """Compute exp of the entropy of sum_t alpha_t over L, the mean over captions.

    100 where all cells get the same attention, 100 / L where one cell gets all of it; 0 for a grid
    of one cell.
    """
    covered = []
    for maps in _maps(data):
        cells = maps.shape[1]
        covered.append(cells ** (_entropies(maps.sum(axis=0, keepdims=True)) - 1) * (cells > 1))
    return _mean(covered)


@register("state_sensitivity", group=_GROUP, needs=(PAIRS,))
def state_sensitivity(data: EvaluationData) -> Metric:
    """Compute the mass of alpha that moves with another caption's LSTM state, mean over words."""
    return _mean(data.state_sensitivities)


def _mean_beta(data: EvaluationData, is_content: bool) -> Metric:
    """Compute the mean beta of content words, or of function words."""
    betas = []
    for caption in data.attended:
        is_counted = [(word_class(word) == CONTENT) == is_content for word in caption.words]
        betas.append(np.asarray(caption.betas, np.float64)[is_counted])
    return _mean(betas)


for _name, _is_content in (("beta_content", True), ("beta_function", False)):
    register(_name, group=_GROUP, needs=(GATE,), can_monitor=False)(
        functools.partial(_mean_beta, is_content=_is_content)
    )


def beta_by_word_class(captions: Sequence["Caption"]) -> dict[str, float]:
    """Return the mean beta, 0 to 1, of each class of words, see `word_class`, that occurs."""
    betas: dict[str, list[float]] = {}
    for caption in captions:
        for word, beta in zip(caption.words, caption.betas, strict=True):
            betas.setdefault(word_class(word), []).append(float(beta))
    return {name: float(np.mean(values)) for name, values in sorted(betas.items())}
