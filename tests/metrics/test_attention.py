"""Scores of attention maps whose values are known by hand."""

import numpy as np
import pytest
from evaluation_data import attended_data, evaluation_data, metrics_of
from scene_examples import AttendedCaption

from sat_tf.metrics.attention import beta_by_word_class, normalized_entropy

UNIFORM = np.full((4, 2, 3), 1 / 6, np.float32)


def at(*cells):
    """Maps with all mass at one cell each."""
    alpha = np.zeros((len(cells), 2, 3), np.float32)
    for t, cell in enumerate(cells):
        alpha[t].flat[cell] = 1.0
    return alpha


def metrics_of_maps(*alphas):
    captions = [
        AttendedCaption(["word"] * len(alpha), alpha, np.ones(len(alpha))) for alpha in alphas
    ]
    return metrics_of(attended_data(captions), "attention")


def score(name, *alphas):
    return metrics_of_maps(*alphas)[name].score


def test_change_of_constant_maps_is_zero():
    assert score("attention_change", UNIFORM, at(2, 2)) == 0.0


def test_change_is_the_mean_over_all_steps():
    half = np.zeros((2, 2, 3), np.float32)
    half[0, 0, :2] = 0.5
    half[1, 0, 0] = 1.0
    assert score("attention_change", at(0, 1, 1, 2)) == pytest.approx(200 / 3)
    assert score("attention_change", half) == pytest.approx(50.0)
    assert score("attention_change", at(0, 1, 1, 2), half, at(5)) == pytest.approx(250 / 4)


def test_change_of_one_word_captions_is_zero():
    assert score("attention_change", at(0), at()) == 0.0


def test_entropy_is_of_each_word():
    assert score("attention_entropy", UNIFORM) == pytest.approx(100)
    assert score("attention_entropy", at(0, 1, 2)) == 0.0  # together they are not sharp
    half = np.zeros((1, 2, 3))
    half[0, 0, :2] = 0.5
    assert score("attention_entropy", half) == pytest.approx(100 * np.log(2) / np.log(6))


def test_entropy_is_the_mean_over_words_not_over_captions():
    assert score("attention_entropy", UNIFORM, at(0)) == pytest.approx(100 * 4 / 5)


def test_entropy_and_coverage_exclude_the_null_location():
    maps = np.concatenate([UNIFORM * 0.1, np.zeros((1, 2, 3))])  # the last word: no mass
    assert score("attention_entropy", maps) == pytest.approx(100)
    assert score("attention_coverage", maps) == pytest.approx(100)


def test_coverage_is_of_the_sum_over_words():
    assert score("attention_coverage", UNIFORM) == pytest.approx(100)
    assert score("attention_coverage", at(3, 3, 3)) == pytest.approx(100 / 6)
    assert score("attention_coverage", at(0, 1, 0, 1)) == pytest.approx(100 * 2 / 6)


def test_coverage_is_the_mean_over_captions():
    both = score("attention_coverage", at(3, 3, 3), UNIFORM, at())
    assert both == pytest.approx((100 / 6 + 100) / 2)


def test_statistics_are_per_image():
    metrics = metrics_of_maps(at(0, 1, 1), UNIFORM, at())
    np.testing.assert_allclose(metrics["attention_change"].statistics, [[1, 2], [0, 3], [0, 0]])
    np.testing.assert_allclose(metrics["attention_entropy"].statistics, [[0, 3], [4, 4], [0, 0]])
    np.testing.assert_allclose(metrics["attention_coverage"].statistics[:, 1], [1, 1, 0])


def test_a_grid_of_one_cell_has_no_entropy():
    metrics = metrics_of_maps(np.ones((3, 1, 1)))
    assert metrics["attention_entropy"].score == metrics["attention_coverage"].score == 0.0


def test_normalized_entropy_of_one_map():
    assert normalized_entropy(UNIFORM[0] * 0.1) == pytest.approx(1)  # the rest at a null location
    assert str(normalized_entropy(at(2)[0])) == "0.0"  # not -0.0
    assert normalized_entropy(np.ones((1, 1))) == 0
    assert np.isnan(normalized_entropy(np.zeros((2, 3))))


GATED = [
    AttendedCaption(
        ["a", "dog", "with", "a", "dog"], np.ones((5, 1, 2)) / 2, [0.1, 0.9, 0.4, 0.3, 0.7]
    ),
    AttendedCaption(["dogs"], np.ones((1, 1, 2)) / 2, [0.5]),
]


def test_beta_of_content_and_of_function_words():
    metrics = metrics_of(attended_data(GATED), "attention")
    assert metrics["beta_content"].score == pytest.approx(100 * (0.9 + 0.7 + 0.5) / 3)
    assert metrics["beta_function"].score == pytest.approx(100 * (0.1 + 0.4 + 0.3) / 3)
    np.testing.assert_allclose(metrics["beta_function"].statistics, [[0.8, 3], [0, 0]])


def test_beta_by_word_class():
    expected = {"article": 0.2, "content": 0.7, "preposition": 0.4}
    assert beta_by_word_class(GATED) == pytest.approx(expected)


def test_models_without_a_gate_have_no_beta_scores():
    assert not {"beta_content", "beta_function"} & set(metrics_of_maps(UNIFORM))


def test_state_sensitivity_is_the_mean_over_words():
    moved = [np.array([0.2, 0.4]), np.array([]), np.array([0.9])]
    data = evaluation_data(["a b", "", "c"], state_sensitivities=moved)
    metric = metrics_of(data, names=["state_sensitivity"])["state_sensitivity"]
    assert metric.score == pytest.approx(50)
    np.testing.assert_allclose(metric.statistics, [[0.6, 2], [0, 0], [0.9, 1]])


def test_images_that_were_alone_in_their_batches_have_no_state_sensitivity():
    data = evaluation_data(["a b"], state_sensitivities=[np.array([])])
    assert metrics_of(data, names=["state_sensitivity"]) == {}
