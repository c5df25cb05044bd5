"""CIDEr-D, ROUGE-L and METEOR by coco-caption's own code (the extra `[metrics]`)."""

import atexit
import functools
import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np

from sat_tf.errors import UserError
from sat_tf.metrics.metric import Metric, mean

_NO_PACKAGE = "needs the package pycocoevalcap: pip install 'sat_tf[metrics]'"
# Of METEOR's statistics of an image: words of caption and reference, how many of each are
# matched, and the number of chunks that the matches make.
_LENGTHS, _CHUNKS, _MATCHES = [0, 1], 20, [21, 22]


def missing() -> dict[str, str]:
    """Which of `cider`, `rouge_l` and `meteor` can't be had here, and why."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return dict.fromkeys(("cider", "rouge_l", "meteor"), _NO_PACKAGE)
    if shutil.which("java") is None:
        return {"meteor": "needs Java, and there is no java on the PATH"}
    return {}


def require(name: str) -> None:
    """Does nothing if the score can be had, or is none of `missing`'s.

    Raises:
      UserError: it can't; says why.
    """
    if name in missing():
        raise UserError(f"{name} {missing()[name]}")


def make_scorer(references: Sequence[str] | None = None) -> Any:
    """A scorer, `pycocoevalcap.cider.cider_scorer.CiderScorer`, empty or of one image's references.

    Raises:
      UserError: its package is not installed.
    """
    try:
        from pycocoevalcap.cider.cider_scorer import CiderScorer
    except ImportError:
        raise UserError(f"cider {_NO_PACKAGE}") from None
    return CiderScorer(refs=references)


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """CIDEr-D, 0 to 10.

    Document frequencies are those of all images' references; images drawn again keep them.

    Args:
      hypotheses: one caption an image, tokenised, a space between words.
      references: of each image, likewise.

    Raises:
      UserError: see `make_scorer`.
    """
    scorer = make_scorer()
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        scorer += (hypothesis, list(texts))
    _, each = scorer.compute_score()
    return mean(each)


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """ROUGE-L with beta = 1.2, the mean over images, 0 to 100; arguments as for `cider`."""
    from pycocoevalcap.rouge.rouge import Rouge

    scorer = Rouge()
    pairs = zip(hypotheses, references, strict=True)
    return mean([100.0 * scorer.calc_score([text], list(texts)) for text, texts in pairs])


def meteor(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """METEOR 1.5 of the corpus, 0 to 100, in a Java process; arguments as for `cider`.

    Its score comes from sums of its statistics, not from its scores of images.

    Raises:
      UserError: Java fails.
    """
    pairs = zip(hypotheses, references, strict=True)
    process = _meteor_process()
    lines = [process._stat(text, list(texts)) for text, texts in pairs]
    if not all(lines):
        raise UserError("meteor: its Java process has ended; does `java -version` answer?")
    sums = np.array([line.split() for line in lines], np.float64)
    # What METEOR adds up: a caption that is its reference word by word adds no chunk.
    is_whole = (sums[:, _LENGTHS] == sums[:, _MATCHES]).all(axis=1) & (sums[:, _CHUNKS] == 1)
    sums[is_whole, _CHUNKS] = 0.0
    return Metric(sums, _meteor_scores)


def _meteor_scores(sums: np.ndarray) -> np.ndarray:
    rows = sums.reshape(-1, sums.shape[-1]).tolist()
    request = " ||| ".join(["EVAL", *(" ".join(map(repr, row)) for row in rows)])
    java = _meteor_process().meteor_p
    java.stdin.write(f"{request}\n".encode())
    java.stdin.flush()
    scores = [float(java.stdout.readline()) for _ in rows]
    java.stdout.readline()  # the score of all rows together
    return 100.0 * np.reshape(scores, sums.shape[:-1])


@functools.cache
def _meteor_process() -> Any:
    """Java with METEOR's tables, which take seconds to read: one process to the end of this one."""
    from pycocoevalcap.meteor.meteor import Meteor

    process = Meteor()
    # It ends its process by itself, but leaves these open.
    for pipe in (process.meteor_p.stdout, process.meteor_p.stderr):
        atexit.register(pipe.close)
    return process
