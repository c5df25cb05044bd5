"""Scores of captions as text: BLEU, CIDEr-D, ROUGE-L, METEOR, perplexity, length, diversity.

CIDEr-D, ROUGE-L and METEOR are computed by coco-caption's own code, the extra `[metrics]`.
"""

import atexit
import functools
import importlib.util
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sacrebleu.metrics import BLEU

from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.metrics.registry import (
    EvaluationData,
    Metric,
    Need,
    Reward,
    corpus_score,
    mean,
    register,
)
from sat_tf.vocabulary import tokenize

_GROUP = "words"
# Captions are tokenized. The effective order smooths sentences alone; corpora use their counts.
_BLEU = BLEU(tokenize="none", force=True, effective_order=True)
_MAX_ORDER = 4  # of the n-grams of BLEU
_MAX_NATS = 700.0  # a token; exp of more overflows
# Columns of METEOR's statistics of an image: words of caption and reference, how many of each are
# matched, and the number of chunks that the matches form.
_METEOR_LENGTHS, _METEOR_CHUNKS, _METEOR_MATCHES = [0, 1], 20, [21, 22]

PACKAGE = Need(
    "needs the package pycocoevalcap: pip install 'sat_tf[metrics]'",
    is_installed=lambda: importlib.util.find_spec("pycocoevalcap") is not None,
)
JAVA = Need(
    "needs Java, and there is no java on the PATH",
    is_installed=lambda: shutil.which("java") is not None,
)
MODEL = Need("needs a model", is_in_data=lambda data: bool(data.log_likelihoods))
TRAINING_CAPTIONS = Need(
    "needs the training captions", is_in_data=lambda data: bool(data.training_captions)
)


def tokenized(text: str) -> str:
    """Return the tokens of a caption with one space between them."""
    return " ".join(tokenize(text))


def tokenized_references(records: Iterable[Record]) -> list[list[str]]:
    """Return the tokenized captions of each image."""
    return [[tokenized(text) for text in record.captions] for record in records]


def training_captions(records: Iterable[Record]) -> frozenset[str]:
    """Return the captions that a novel caption must differ from, tokenized."""
    return frozenset(tokenized(text) for record in records for text in record.captions)


def sentence_bleu(caption: str, references: Sequence[str]) -> float:
    """Return the smoothed BLEU-4 of a tokenized caption, 0 to 100; its mean is no corpus' BLEU."""
    return _BLEU.sentence_score(caption, list(references)).score


def _bleu_reward(references: Sequence[Sequence[str]]) -> Reward:
    """Make a reward of `sentence_bleu`, 0 to 10."""
    return lambda image, caption: sentence_bleu(caption, references[image]) / 10


def _bleu_statistics(data: EvaluationData) -> np.ndarray:
    """Count matched n-grams and n-grams of each order, words, and words of the reference.

    Without smoothing; the reference nearest in length counts for the brevity penalty, of two
    equally near the shorter one. Float64 [N, 2 * 4 + 2].
    """
    counted = [
        _BLEU.sentence_score(caption, list(references))
        for caption, references in zip(data.captions, data.references, strict=True)
    ]
    return np.array([[*c.counts, *c.totals, c.sys_len, c.ref_len] for c in counted], np.float64)


def _bleu(data: EvaluationData, order: int, brevity_weight: float) -> Metric:
    """Compute BLEU of n-grams up to `order`, 0 to 100; `brevity_weight` 0 omits the penalty."""

    def compute(sums: np.ndarray) -> np.ndarray:
        matches, totals = sums[..., :order], sums[..., _MAX_ORDER : _MAX_ORDER + order]
        length, reference = sums[..., -2], sums[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):  # no match: log 0, and exp(-inf) is 0
            precision = np.log(matches / np.maximum(totals, 1)).mean(axis=-1)  # over orders
            brevity = np.minimum(0.0, 1.0 - reference / length)
            log_bleu = np.where(length > 0, precision + brevity_weight * brevity, -np.inf)
            return 100.0 * np.exp(log_bleu)

    return Metric(data.shared(_bleu_statistics), compute)


for _suffix, _weight in (("", 1.0), ("_no_bp", 0.0)):  # without brevity penalty: the paper's
    for _order in range(1, _MAX_ORDER + 1):
        register(
            f"bleu_{_order}{_suffix}",
            group=_GROUP,
            make_reward=_bleu_reward if (_order, _suffix) == (4, "") else None,
        )(functools.partial(_bleu, order=_order, brevity_weight=_weight))


def _cider_scorer(references: Sequence[str] | None = None) -> Any:
    """Make coco-caption's scorer, empty or with the references of one image."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    return CiderScorer(refs=references)


def _cider_reward(references: Sequence[Sequence[str]]) -> Reward:
    """Make a reward of CIDEr-D, 0 to 10, with document frequencies of all these references.

    coco-caption takes the frequencies from the references of the captions that it scores.
    """
    scorer = _cider_scorer()
    frequencies: Counter[tuple[str, ...]] = Counter()
    for texts in references:
        frequencies.update({ngram for text in _cider_scorer(texts).crefs[0] for ngram in text})
    # An n-gram of one image weighs as much as one of none: leaving it out saves memory.
    scorer.document_frequency = Counter({n: count for n, count in frequencies.items() if count > 1})

    # The scorer takes the number of images from the length of a list of their references, of which
    # it reads only those of the captions.
    others = [None] * (len(references) - 1)

    def reward(image: int, caption: str) -> float:
        scorer.ctest, scorer.crefs = [], []
        scorer.cook_append(caption, references[image])
        scorer.crefs += others
        return float(scorer.compute_cider()[0])

    return reward


@register("cider", group=_GROUP, needs=(PACKAGE,), make_reward=_cider_reward)
def cider(data: EvaluationData) -> Metric:
    """Compute CIDEr-D, 0 to 10; resampled images keep the document frequencies of all images."""
    scorer = _cider_scorer()
    for caption, references in zip(data.captions, data.references, strict=True):
        scorer += (caption, list(references))
    _, scores = scorer.compute_score()
    return mean(scores)


@register("rouge_l", group=_GROUP, needs=(PACKAGE,))
def rouge_l(data: EvaluationData) -> Metric:
    """Compute ROUGE-L with beta = 1.2, the mean over images, 0 to 100."""
    from pycocoevalcap.rouge.rouge import Rouge

    scorer, pairs = Rouge(), zip(data.captions, data.references, strict=True)
    return mean([scorer.calc_score([text], list(texts)) for text, texts in pairs], 100)


@register("meteor", group=_GROUP, needs=(PACKAGE, JAVA), in_validations=False)
def meteor(data: EvaluationData) -> Metric:
    """Compute METEOR 1.5 of the corpus, 0 to 100; raises `UserError` if its Java process fails."""
    process, pairs = _meteor_process(), zip(data.captions, data.references, strict=True)
    lines = [process._stat(text, list(texts)) for text, texts in pairs]
    if not all(lines):
        raise UserError("meteor: its Java process has ended; does `java -version` answer?")
    statistics = np.array([line.split() for line in lines], np.float64)
    # METEOR's own sum: a caption that equals its reference word by word adds no chunk.
    is_equal = (statistics[:, _METEOR_LENGTHS] == statistics[:, _METEOR_MATCHES]).all(axis=1)
    statistics[is_equal & (statistics[:, _METEOR_CHUNKS] == 1), _METEOR_CHUNKS] = 0.0
    return Metric(statistics, _meteor_of_sums)


def _meteor_of_sums(sums: np.ndarray) -> np.ndarray:
    """Compute METEOR from summed statistics, [..., S] -> [...]."""
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
    """Start Java with METEOR's tables, which takes seconds: once in a process."""
    from pycocoevalcap.meteor.meteor import Meteor

    process = Meteor()
    # Its destructor fails once Python has taken down the modules that it needs.
    atexit.register(_meteor_process.cache_clear)
    # It ends its process by itself, but leaves these open.
    for pipe in (process.meteor_p.stdout, process.meteor_p.stderr):
        atexit.register(pipe.close)
    return process


@register("perplexity", group=_GROUP, needs=(MODEL,), higher_is_better=False)
def perplexity(data: EvaluationData) -> Metric:
    """Compute exp of the mean -log p of a token over all references, ends included."""

    def compute(sums: np.ndarray) -> np.ndarray:
        return np.exp(np.minimum(-sums[..., 0] / sums[..., 1], _MAX_NATS))

    return Metric(np.asarray(data.log_likelihoods, np.float64), compute)


@register("mean_length", group=_GROUP)
def mean_length(data: EvaluationData) -> Metric:
    """Compute the mean number of words of a caption."""
    return mean([len(caption.split()) for caption in data.captions])


@register("novel_captions", group=_GROUP, needs=(TRAINING_CAPTIONS,))
def novel_captions(data: EvaluationData) -> Metric:
    """Compute the percentage of captions that are no training caption word by word."""
    known = data.training_captions
    return mean([caption not in known for caption in data.captions], 100)


@register("distinct_captions", group=_GROUP)
def distinct_captions(data: EvaluationData) -> Metric:
    """Compute the number of different captions in percent of all."""
    return corpus_score(100.0 * len(set(data.captions)) / len(data.captions))


@register("vocab_size", group=_GROUP)
def vocab_size(data: EvaluationData) -> Metric:
    """Count the different words of all captions."""
    return corpus_score(len({word for caption in data.captions for word in caption.split()}))
