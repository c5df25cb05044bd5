"""Scores of single captions, as self-critical training is rewarded by them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sat_tf.metrics.bleu import sentence_bleu
from sat_tf.metrics.coco_metrics import make_scorer

# (image numbers [B], captions) -> float32 [B]: caption b's score against the references of image
# rows[b].
Reward = Callable[[np.ndarray, Sequence[str]], np.ndarray]


def make_reward(name: str, references: Sequence[Sequence[str]]) -> Reward:
    """A score by its name.

    Args:
      name: "cider" for CIDEr-D, its document frequencies those of all references here (coco-caption
        takes those of the captions it scores); "bleu_4" for `sentence_bleu`. Both from 0 to 10.
      references: of each image, tokenised, a space between words.

    Raises:
      UserError: the package that computes it is not installed.
    """
    return _cider(references) if name == "cider" else _bleu(references)


def _bleu(references: Sequence[Sequence[str]]) -> Reward:
    def reward(rows: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        scores = [
            sentence_bleu(caption, references[row]) / 10
            for row, caption in zip(rows, captions, strict=True)
        ]
        return np.asarray(scores, np.float32)

    return reward


def _cider(references: Sequence[Sequence[str]]) -> Reward:
    scorer = make_scorer()
    frequencies: Counter[tuple[str, ...]] = Counter()
    for of_image in references:
        frequencies.update({ngram for ref in make_scorer(of_image).crefs[0] for ngram in ref})
    # What one image alone has weighs as much as what none has: leaving it out saves the memory.
    scorer.document_frequency = Counter({n: count for n, count in frequencies.items() if count > 1})

    def score(rows: np.ndarray, captions: Sequence[str]) -> list[float]:
        scorer.ctest, scorer.crefs = [], []
        for row, caption in zip(rows, captions, strict=True):
            scorer.cook_append(caption, references[row])
        # The scorer takes the number of images from this list; it looks at those of captions alone.
        rest: list[Any] = [None] * (len(references) - len(rows))
        scorer.crefs += rest
        return scorer.compute_cider()

    def reward(rows: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        most = len(references)
        parts = [
            score(rows[start : start + most], captions[start : start + most])
            for start in range(0, len(rows), most)
        ]
        return np.asarray([value for part in parts for value in part], np.float32)

    return reward
