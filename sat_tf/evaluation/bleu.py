"""BLEU of whole corpora, as the field's evaluation defines it."""

import itertools
from collections.abc import Sequence

from sacrebleu.metrics import BLEU

from sat_tf.errors import UserError

LONGEST_NGRAM = 4


def bleu_scores(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
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
    # sacrebleu wants the first reference of every image, then the second, ...
    streams = [list(stream) for stream in itertools.zip_longest(*references)]
    penalised: dict[str, float] = {}
    unpenalised: dict[str, float] = {}
    for order in range(1, LONGEST_NGRAM + 1):
        metric = BLEU(max_ngram_order=order, tokenize="none", force=True, smooth_method="none")
        result = metric.corpus_score(hypotheses, streams)
        penalised[f"bleu_{order}"] = result.score
        unpenalised[f"bleu_{order}_no_bp"] = result.score / result.bp if result.bp else 0.0
    return penalised | unpenalised


def sentence_bleu(hypothesis: str, references: Sequence[str]) -> float:
    """BLEU-4 of one caption, 0 to 100, smoothed, to compare captions with each other.

    Its mean over images is not the BLEU of the corpus.
    """
    metric = BLEU(tokenize="none", force=True, effective_order=True)
    return metric.sentence_score(hypothesis, list(references)).score
