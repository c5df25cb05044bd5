"""Scores of fixed captions as coco-caption (pycocoevalcap 1.2, Java 17) gave them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from evaluation_data import evaluation_data, metrics_of, scores_of

# One to six references; an empty caption; words that repeat.
CORPUS = [
    ("a dog runs on the grass", ["a brown dog is running on grass"]),
    ("two men sit on a bench", ["two men are sitting on a bench", "a couple of men on a bench"]),
    ("", ["a girl in a red dress", "a girl jumps", "the girl is happy in her red dress"]),
    (
        "the the the the cat sat",
        ["the cat is on the mat", "there is a cat on the mat", "a cat", "cat"],
    ),
    (
        "a man in a red shirt is climbing a large rock wall",
        [
            "a man climbs a rock",
            "the climber in red scales a large wall",
            "a man in a red shirt climbs a rock wall",
            "person climbing",
            "a man is climbing a rock wall in the sun",
        ],
    ),
    (
        "a red bus",
        ["a red bus", "the bus is red", "a bus", "one bus on the road", "a b c d e f", "g h i j"],
    ),
    ("zebra zebra", ["a dog 's toy", "dogs"]),
    (
        "children play soccer on a field of green grass",
        [
            "kids are playing football on the green field",
            "children play on a field",
            "some children play soccer on green grass",
        ],
    ),
]
# Of these rows of the corpus: BLEU-1 to 4 and ROUGE-L, METEOR in percent, CIDEr.
RECORDED = {
    (0, 1, 2, 3, 4, 5, 6, 7): (
        [77.75799, 65.68197, 51.99564, 38.90181],
        57.21214,
        34.32578,
        1.510297,
    ),
    (0, 1, 2, 5): ([57.32251, 41.36895, 30.09243, 0.0], 59.14179, 29.34631, 1.671309),
    (3, 4, 7): ([85.18519, 75.35922, 60.03177, 46.82554], 73.70999, 46.12460, 2.026424),
}
NEEDS_JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")


@pytest.fixture(params=RECORDED.items(), ids=["all", "short ones", "long ones"])
def recorded(request):
    rows, expected = request.param
    return [CORPUS[row][0] for row in rows], [CORPUS[row][1] for row in rows], expected


def test_bleu_rouge_and_cider_are_those_of_coco_caption(recorded):
    captions, references, (bleu, rouge_l, _, cider) = recorded
    names = [*(f"bleu_{order}" for order in range(1, 5)), "rouge_l", "cider"]
    found = scores_of(evaluation_data(captions, references), names=names)
    # coco-caption adds a little to each count: where none matches, its BLEU is 0.004.
    assert [found[name] for name in names[:4]] == pytest.approx(bleu, abs=1e-4)
    assert found["rouge_l"] == pytest.approx(rouge_l, abs=1e-4)
    assert found["cider"] == pytest.approx(cider, abs=1e-5)


METEOR = """
import json, sys
import numpy as np
from sat_tf.metrics.registry import SCORES, EvaluationData

for captions, references in json.load(sys.stdin):
    metric = SCORES["meteor"].compute(EvaluationData(captions, references))
    # Several corpora at once, as the bootstrap computes them.
    sums = np.stack([metric.statistics.sum(axis=0), metric.statistics[0]])
    first = SCORES["meteor"].compute(EvaluationData(captions[:1], references[:1]))
    print(metric.score, *metric.compute(sums), first.score)
"""


@NEEDS_JAVA
def test_meteor_is_that_of_coco_caption():
    """In one process, as Java takes seconds to start; it must end in silence."""
    corpora = [[[CORPUS[row][part] for row in rows] for part in (0, 1)] for rows in RECORDED]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", METEOR],
        cwd=Path(__file__).parents[2],
        input=json.dumps(corpora),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for line, (_, _, expected, _) in zip(done.stdout.splitlines(), RECORDED.values(), strict=True):
        score, whole, row, first = map(float, line.split())
        assert score == whole == pytest.approx(expected, abs=1e-4)
        assert row == pytest.approx(first, abs=1e-4)


def test_distinct_captions_and_vocab_size():
    scores = scores_of(evaluation_data(["a dog", "a cat", "a dog", ""]), "words")
    assert scores["distinct_captions"] == 75.0
    assert scores["vocab_size"] == 3.0
    assert scores["mean_length"] == pytest.approx(1.5)


def test_novel_captions_are_no_training_captions():
    captions = ["a dog", "a cat", "a dog", ""]
    known = evaluation_data(captions, training_captions=frozenset({"a dog", "dog a cat"}))
    assert scores_of(known, "words")["novel_captions"] == pytest.approx(50.0)
    for training_captions in ((), frozenset()):
        unknown = evaluation_data(captions, training_captions=training_captions)
        assert "novel_captions" not in metrics_of(unknown, "words")


def test_perplexity_is_of_all_tokens():
    log_likelihoods = [(-2 * np.log(8), 2), (-4 * np.log(2), 1)]
    data = evaluation_data(["a", "b"], log_likelihoods=log_likelihoods)
    assert scores_of(data, "words")["perplexity"] == pytest.approx(2 ** (10 / 3))


def test_perplexity_does_not_overflow():
    data = evaluation_data(["a"], log_likelihoods=[(-1e6, 1)])
    assert 1e300 < scores_of(data, "words")["perplexity"] < np.inf
