"""CIDEr-D, by coco-caption's own code (the extra `[metrics]`)."""

import importlib.util
from collections.abc import Sequence
from typing import Any

from sat_tf.errors import UserError


def is_available() -> bool:
    """Whether the package that computes it is installed."""
    return importlib.util.find_spec("pycocoevalcap") is not None


def make_scorer(references: Sequence[str] | None = None) -> Any:
    """A scorer, `pycocoevalcap.cider.cider_scorer.CiderScorer`, empty or of one image's references.

    Raises:
      UserError: its package is not installed.
    """
    try:
        from pycocoevalcap.cider.cider_scorer import CiderScorer
    except ImportError:
        raise UserError(
            "CIDEr needs the package pycocoevalcap: pip install 'sat_tf[metrics]'"
        ) from None
    return CiderScorer(refs=references)


def cider_score(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D of a corpus, 0 to 10, as coco-caption gives it.

    Args:
      hypotheses: one caption an image, tokenised, a space between words.
      references: of each image, likewise.

    Raises:
      UserError: see `make_scorer`.
    """
    scorer = make_scorer()
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        scorer += (hypothesis, list(texts))
    mean, _ = scorer.compute_score()
    return float(mean)
