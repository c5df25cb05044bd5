"""Attention measured by sums that can be done by hand."""

import numpy as np
import pytest
from drawn_scenes import Looked

from sat_tf.metrics.attention import attention_measures, beta_by_kind

UNIFORM = np.full((4, 2, 3), 1 / 6, np.float32)


def at(*places):
    alpha = np.zeros((len(places), 2, 3), np.float32)
    for t, place in enumerate(places):
        alpha[t].flat[place] = 1.0
    return alpha


def measures_of(*alphas):
    captions = [Looked(["word"] * len(alpha), alpha, np.ones(len(alpha))) for alpha in alphas]
    return attention_measures(captions)


def score(name, *alphas):
    return measures_of(*alphas)[name].score


def test_dead_attention_does_not_move():
    assert score("attention_change", UNIFORM, at(2, 2)) == 0.0


def test_every_step_of_all_captions_counts_once():
    half = np.zeros((2, 2, 3), np.float32)
    half[0, 0, :2] = 0.5
    half[1, 0, 0] = 1.0
    assert score("attention_change", at(0, 1, 1, 2)) == pytest.approx(200 / 3)
    assert score("attention_change", half) == pytest.approx(50.0)
    assert score("attention_change", at(0, 1, 1, 2), half, at(5)) == pytest.approx(250 / 4)


def test_captions_of_one_word_have_no_step():
    assert score("attention_change", at(0), at()) == 0.0


def test_entropy_is_of_each_word():
    assert score("attention_entropy", UNIFORM) == pytest.approx(100)
    assert score("attention_entropy", at(0, 1, 2)) == 0.0  # together they are not sharp
    half = np.zeros((1, 2, 3))
    half[0, 0, :2] = 0.5
    assert score("attention_entropy", half) == pytest.approx(100 * np.log(2) / np.log(6))


def test_entropy_is_the_mean_over_words_not_over_captions():
    assert score("attention_entropy", UNIFORM, at(0)) == pytest.approx(100 * 4 / 5)


def test_entropy_and_coverage_are_of_what_does_not_rest_on_zeros():
    resting = np.concatenate([UNIFORM * 0.1, np.zeros((1, 2, 3))])  # the last word wholly
    assert score("attention_entropy", resting) == pytest.approx(100)
    assert score("attention_coverage", resting) == pytest.approx(100)


def test_coverage_is_of_all_looks_together():
    assert score("attention_coverage", UNIFORM) == pytest.approx(100)
    assert score("attention_coverage", at(3, 3, 3)) == pytest.approx(100 / 6)
    assert score("attention_coverage", at(0, 1, 0, 1)) == pytest.approx(100 * 2 / 6)


def test_coverage_is_the_mean_over_captions():
    both = score("attention_coverage", at(3, 3, 3), UNIFORM, at())
    assert both == pytest.approx((100 / 6 + 100) / 2)


def test_each_image_adds_its_own_looks():
    measures = measures_of(at(0, 1, 1), UNIFORM, at())
    np.testing.assert_allclose(measures["attention_change"].sums, [[1, 2], [0, 3], [0, 0]])
    np.testing.assert_allclose(measures["attention_entropy"].sums, [[0, 3], [4, 4], [0, 0]])
    np.testing.assert_allclose(measures["attention_coverage"].sums[:, 1], [1, 1, 0])


def test_a_grid_of_one_cell_has_no_spread():
    measures = measures_of(np.ones((3, 1, 1)))
    assert measures["attention_entropy"].score == measures["attention_coverage"].score == 0.0


GATED = [
    Looked(["a", "dog", "with", "a", "dog"], np.ones((5, 1, 2)) / 2, [0.1, 0.9, 0.4, 0.3, 0.7]),
    Looked(["dogs"], np.ones((1, 1, 2)) / 2, [0.5]),
]


def test_beta_of_content_and_of_function_words():
    measures = attention_measures(GATED)
    assert measures["beta_content"].score == pytest.approx(100 * (0.9 + 0.7 + 0.5) / 3)
    assert measures["beta_function"].score == pytest.approx(100 * (0.1 + 0.4 + 0.3) / 3)
    np.testing.assert_allclose(measures["beta_function"].sums, [[0.8, 3], [0, 0]])


def test_beta_by_kind_of_word():
    expected = {"article": 0.2, "content": 0.7, "preposition": 0.4}
    assert beta_by_kind(GATED) == pytest.approx(expected)


def test_without_a_gate_there_is_no_beta():
    assert not {"beta_content", "beta_function"} & set(measures_of(UNIFORM))


def test_of_no_caption_all_is_nothing():
    assert {measure.score for measure in attention_measures([]).values()} == {0.0}
