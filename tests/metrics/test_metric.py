import numpy as np
import pytest

from sat_tf.metrics.metric import mean, ratio


def test_a_ratio_is_of_the_sums_not_the_mean_of_ratios():
    assert ratio([1, 2], [2, 10], scale=100).score == pytest.approx(25.0)


def test_nothing_to_count_is_zero():
    assert ratio([0, 0], [0, 0]).score == 0.0


def test_a_mean_weighs_images_alike():
    assert mean([1.0, 2.0, 6.0]).score == pytest.approx(3.0)


def test_several_splits_at_once():
    measure = ratio([1, 2], [2, 10])
    sums = np.stack([measure.sums[0], measure.sums[1], measure.sums.sum(axis=0)])
    np.testing.assert_allclose(measure.value(sums), [0.5, 0.2, 0.25])
