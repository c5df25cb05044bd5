"""What attention does, measured on any data set; scores of words do not see it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from sat_tf.metrics.metric import Metric, ratio
from sat_tf.metrics.word_kinds import CONTENT, kind_of


class Attended(Protocol):
    """A caption of n words, and where each of them looked; see `sat_tf.captioning.Caption`."""

    @property
    def words(self) -> Sequence[str]:
        """Its words, without the end."""

    @property
    def alphas(self) -> np.ndarray:
        """Float [n, rows, columns], summing to 1, or less where attention rests on zeros."""

    @property
    def betas(self) -> np.ndarray:
        """Float [n]; all 1 if the model has no gate."""


def attention_measures(captions: Sequence[Attended]) -> dict[str, Metric]:
    """How attention spreads, how it moves, and how much the gate lets through.

    Entropy and coverage are of what attention there is to the image: what rests on an annotation
    of zeros is left out, and the rest brought to a sum of 1. A grid of one cell has 0 of both.

    Args:
      captions: one an image.

    Returns:
      Each 0 to 100, and 0 where there is nothing to count:

      attention_entropy: of a word's alpha, as a share of log L: 100 where it is uniform, 0 where it
        is a single cell; mean over words.
      attention_change: what share of alpha's mass moves from one word to the next, 1/2 sum_i
        |alpha_t,i - alpha_{t-1},i|: 0 for attention that is dead (the same map for every word), 100
        if it looks elsewhere each time; mean over the steps from word to word.
      attention_coverage: the share of the image that the looks of a caption cover together, as exp
        of the entropy of sum_t alpha_t, over L: 100 where all cells get the same, 1 of L where all
        looks are at one cell; mean over captions.
      beta_content, beta_function: beta of content words and of function words (see
        `sat_tf.metrics.word_kinds`), mean over words; only if the model has a gate.
    """
    steps = [max(len(caption.words) - 1, 0) for caption in captions]
    moves = [float(np.abs(np.diff(_wide(caption), axis=0)).sum()) / 2 for caption in captions]
    entropies = [_entropies(_wide(caption)) for caption in captions]
    together = [_wide(caption).sum(axis=0) for caption in captions]  # sum over T
    covered = [_entropies(looks[None]) for looks in together]
    measures = {
        "attention_entropy": ratio(
            [float(each.sum()) for each in entropies], [each.size for each in entropies], 100
        ),
        "attention_change": ratio(moves, steps, 100),
        "attention_coverage": ratio(
            [
                float((looks.size ** (each - 1)).sum()) if looks.size > 1 else 0.0
                for looks, each in zip(together, covered, strict=True)
            ],
            [each.size for each in covered],
            100,
        ),
    }
    if has_gate(captions):
        kinds = [[kind_of(word) == CONTENT for word in caption.words] for caption in captions]
        for name, wanted in (("beta_content", True), ("beta_function", False)):
            chosen = [np.asarray(of_caption, bool) == wanted for of_caption in kinds]
            sums = [
                float(np.asarray(caption.betas, np.float64)[which].sum())
                for caption, which in zip(captions, chosen, strict=True)
            ]
            measures[name] = ratio(sums, [int(which.sum()) for which in chosen], 100)
    return measures


def has_gate(captions: Iterable[Attended]) -> bool:
    """Whether any beta is not exactly 1."""
    return any(bool(np.any(np.asarray(caption.betas) != 1)) for caption in captions)


def beta_by_kind(captions: Iterable[Attended]) -> dict[str, float]:
    """The mean beta of each kind of words that occurs, 0 to 1, by its name.

    The kinds are those of `sat_tf.metrics.word_kinds.FUNCTION_WORDS`, and "content".
    """
    betas: dict[str, list[float]] = {}
    for caption in captions:
        for word, beta in zip(caption.words, caption.betas, strict=True):
            betas.setdefault(kind_of(word), []).append(float(beta))
    return {kind: float(np.mean(of_kind)) for kind, of_kind in sorted(betas.items())}


def _wide(caption: Attended) -> np.ndarray:
    """Its alphas, float64 [n, L]."""
    alphas = np.asarray(caption.alphas, np.float64)
    return alphas.reshape(len(alphas), alphas.shape[1] * alphas.shape[2])


def _entropies(maps: np.ndarray) -> np.ndarray:
    """The entropy of each map, brought to a sum of 1, over log L: [n, L] -> [m].

    Maps of zeros are left out: m is at most n.
    """
    totals = maps.sum(axis=1, keepdims=True)  # sum over L
    seen = totals[:, 0] > 0
    shares = maps[seen] / totals[seen]
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    most = np.log(maps.shape[1])
    return -(shares * logs).sum(axis=1) / most if most else np.zeros(len(shares))
