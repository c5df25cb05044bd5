"""Scores of fixed captions as coco-caption (pycocoevalcap 1.2, Java 17) gave them."""

import shutil
import sys

import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.metrics import coco_metrics
from sat_tf.metrics.bleu import bleu_measures

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


def test_bleu(recorded):
    captions, references, (bleu, *_) = recorded
    measures = bleu_measures(captions, references)
    found = [measures[f"bleu_{order}"].score for order in range(1, 5)]
    # coco-caption adds a little to each count: where none is right it gives 0.004.
    np.testing.assert_allclose(found, bleu, atol=1e-4)


def test_rouge_l(recorded):
    captions, references, (_, rouge_l, _, _) = recorded
    found = coco_metrics.rouge_l(captions, references).score
    assert found == pytest.approx(rouge_l, abs=1e-4)


def test_cider(recorded):
    captions, references, (_, _, _, cider) = recorded
    assert coco_metrics.cider(captions, references).score == pytest.approx(cider, abs=1e-5)


@NEEDS_JAVA
def test_meteor(recorded):
    captions, references, (_, _, meteor, _) = recorded
    measure = coco_metrics.meteor(captions, references)
    assert measure.score == pytest.approx(meteor, abs=1e-4)
    # Several splits at once, as a bootstrap asks for them.
    halves = np.stack([measure.sums.sum(axis=0), measure.sums[:1].sum(axis=0)])
    alone = coco_metrics.meteor(captions[:1], references[:1]).score
    np.testing.assert_allclose(measure.value(halves), [meteor, alone], atol=1e-4)


def test_without_java_meteor_alone_is_missing(monkeypatch):
    monkeypatch.setattr(coco_metrics.shutil, "which", lambda name: None)
    assert list(coco_metrics.missing()) == ["meteor"]
    coco_metrics.require("cider")
    coco_metrics.require("bleu_4")
    with pytest.raises(UserError, match="meteor needs Java"):
        coco_metrics.require("meteor")


def test_without_the_package_three_are_missing(monkeypatch):
    monkeypatch.setattr(coco_metrics.importlib.util, "find_spec", lambda name: None)
    assert list(coco_metrics.missing()) == ["cider", "rouge_l", "meteor"]
    with pytest.raises(UserError, match=r"cider needs .* pip install 'sat_tf\[metrics\]'"):
        coco_metrics.require("cider")
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider_scorer", None)
    with pytest.raises(UserError, match=r"sat_tf\[metrics\]"):
        coco_metrics.make_scorer()
