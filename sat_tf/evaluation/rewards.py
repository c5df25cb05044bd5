"""Scores of single captions, as self-critical training is rewarded by them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sat_tf.evaluation.bleu import sentence_bleu
from sat_tf.evaluation.cider import make_scorer

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
    for of_image in references:
        scorer += ("", list(of_image))
    scorer.compute_doc_freq()
    cooked = scorer.crefs

    def reward(rows: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        if len(rows) > len(cooked):
            raise ValueError("more captions than images")
        empty = make_scorer()
        for caption in captions:
            empty += (caption, [])
        scorer.ctest = empty.ctest
        # The scorer reads the number of images off this list, but looks at those of captions alone.
        rest: list[Any] = [None] * (len(cooked) - len(rows))
        scorer.crefs = [cooked[row] for row in rows] + rest
        return np.asarray(scorer.compute_cider(), np.float32)

    return reward
