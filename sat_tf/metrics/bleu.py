"""BLEU of whole corpora, as the field's evaluation defines it."""

from collections.abc import Callable, Sequence

import numpy as np
from sacrebleu.metrics import BLEU

from sat_tf.errors import UserError
from sat_tf.metrics.metric import Metric

LONGEST_NGRAM = 4


def bleu_measures(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Metric]:
    """BLEU-1 to BLEU-4 of one caption an image against all its references.

    Without smoothing; the reference nearest in length counts for the brevity penalty, of two
    equally near the shorter one.

    Args:
      hypotheses: the captions, tokenised, with spaces between the words; may be empty.
      references: those of each image, tokenised alike; their number may differ by image.

    Returns:
      `bleu_1` to `bleu_4` and, without brevity penalty, `bleu_1_no_bp` to `bleu_4_no_bp`; 0 to 100.

    Raises:
      UserError: there is no image, or one without a reference.
    """
    if not hypotheses:
        raise UserError("no caption to score: the split has no image")
    for index, texts in enumerate(references):
        if not texts:
            raise UserError(f"image {index + 1} of the split has no reference caption to score by")
    # Of each image its counts alone are taken, which effective_order does not change; without it
    # sacrebleu advises to set it, once a caption.
    metric = BLEU(tokenize="none", force=True, effective_order=True)
    counted = [
        metric.sentence_score(hypothesis, list(texts))
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    ]
    sums = np.array([[*c.counts, *c.totals, c.sys_len, c.ref_len] for c in counted], np.float64)
    orders = range(1, LONGEST_NGRAM + 1)
    return {
        **{f"bleu_{order}": Metric(sums, _bleu(order, 1.0)) for order in orders},
        **{f"bleu_{order}_no_bp": Metric(sums, _bleu(order, 0.0)) for order in orders},
    }


def _bleu(order: int, penalty: float) -> Callable[[np.ndarray], np.ndarray]:
    """From right n-grams, n-grams, length and reference length; `penalty` 0 leaves that out."""

    def value(sums: np.ndarray) -> np.ndarray:
        right, total = sums[..., :order], sums[..., LONGEST_NGRAM : LONGEST_NGRAM + order]
        length, reference = sums[..., -2], sums[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):  # none right: log 0, exp(-inf) is 0
            precision = np.log(right / np.maximum(total, 1)).mean(axis=-1)
            brevity = np.minimum(0.0, 1.0 - reference / length)
            return 100.0 * np.exp(np.where(length > 0, precision + penalty * brevity, -np.inf))

    return value


def sentence_bleu(hypothesis: str, references: Sequence[str]) -> float:
    """BLEU-4 of one caption, 0 to 100, smoothed, to compare captions with each other.

    Its mean over images is not the BLEU of the corpus.
    """
    metric = BLEU(tokenize="none", force=True, effective_order=True)
    return metric.sentence_score(hypothesis, list(references)).score
