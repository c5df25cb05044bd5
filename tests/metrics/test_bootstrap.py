"""Bootstrap intervals and comparisons whose size is known."""

import shutil

import numpy as np
import pytest

from sat_tf.metrics.bootstrap import (
    Difference,
    Interval,
    difference_table,
    differences,
    intervals,
    score_table,
)
from sat_tf.metrics.registry import Metric, corpus_score, mean, ratio

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(10.0, 2.0, size=400)


def test_interval_of_a_mean_is_two_standard_errors():
    low, high = intervals({"score": mean(VALUES)})["score"]
    error = VALUES.std() / np.sqrt(len(VALUES))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert (high + low) / 2 == pytest.approx(VALUES.mean(), abs=0.2 * error)


def test_interval_of_equal_images_has_no_width():
    assert intervals({"score": mean([3.0] * 20)})["score"] == (3.0, 3.0)


def test_a_ratio_is_taken_of_each_resample():
    """Parts and wholes that rise together: their ratio has no variance, though both have."""
    wholes = RANDOM.integers(1, 50, size=100)
    low, high = intervals({"score": ratio(3 * wholes, wholes)})["score"]
    assert low == pytest.approx(3.0)
    assert high == pytest.approx(3.0)


def test_interval_of_a_nonlinear_function():
    squared = Metric(VALUES[:, np.newaxis], lambda sums: (sums[..., 0] / len(VALUES)) ** 2)
    (low, high), plain = intervals({"score": squared})["score"], intervals({"m": mean(VALUES)})["m"]
    assert (low, high) == pytest.approx((plain.low**2, plain.high**2))


def test_the_same_metrics_have_the_same_intervals():
    found = intervals({"one": mean(VALUES), "other": mean(VALUES)})
    assert found["one"] == found["other"] == intervals({"one": mean(VALUES)})["one"]


def test_a_small_difference_on_every_image_is_significant():
    """Between images scores differ a hundred times more than between systems."""
    better = VALUES + RANDOM.normal(0.02, 0.05, size=len(VALUES))
    found = differences({"score": mean(VALUES)}, {"score": mean(better), "other": mean(VALUES)})
    assert list(found) == ["score"]
    difference, interval, p = found["score"]
    assert difference == pytest.approx((better - VALUES).mean())
    assert interval.low > 0
    assert p < 0.01


def test_equal_systems_rarely_differ():
    """p is below 0.05 in about one of twenty comparisons."""
    rare = 0
    for _ in range(60):
        first, second = RANDOM.normal(size=(2, 100))
        found = differences({"score": mean(first)}, {"score": mean(second)})["score"]
        rare += found.p < 0.05
    assert rare <= 9


def test_a_system_does_not_differ_from_itself():
    found = differences({"score": mean(VALUES)}, {"score": mean(VALUES)})["score"]
    assert found == (0.0, (0.0, 0.0), 1.0)


def test_scores_of_a_corpus_as_a_whole_are_not_resampled():
    metrics = {"vocab_size": corpus_score(90), "score": mean(VALUES)}
    assert metrics["vocab_size"].score == 90.0
    assert list(intervals(metrics)) == list(differences(metrics, metrics)) == ["score"]


def test_scores_with_their_intervals():
    table = score_table({"bleu_1": 12.345, "words": 7.0}, {"bleu_1": Interval(11.0, 13.5)})
    assert table.splitlines()[:2] == ["bleu_1     12.35  [11.00, 13.50]", "words       7.00"]


def test_a_difference_with_its_sign_and_interval():
    found = {"cider": Difference(-0.125, Interval(-0.2, 0.05), 0.24)}
    _, line = difference_table({"cider": 0.5}, {"cider": 0.375}, found).splitlines()
    assert line.split() == ["cider", "0.500", "0.375", "-0.125", "[-0.200,", "+0.050]", "0.240"]


def test_scores_that_were_not_resampled_have_no_difference():
    first = {"cider": 0.5, "novel_captions": 1.0, "vocab_size": 90.0}
    second = {"cider": 0.5, "vocab_size": 120.0}  # without training captions
    found = {"cider": Difference(0.0, Interval(0.0, 0.0), 1.0)}
    heads, cider, counts = difference_table(first, second, found).splitlines()
    assert counts.split() == ["vocab_size", "90.000", "120.000"]
    assert cider.index("0.500") == counts.index("90.000") + 1  # aligned
    assert heads.split() == ["first", "second", "difference", "95", "%", "p"]


def test_scores_left_out_are_named_with_the_reason(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    *_, line = score_table({"bleu_1": 12.3}, {}).splitlines()
    assert line == "left out: meteor needs Java, and there is no java on the PATH"
