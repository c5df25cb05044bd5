"""The rank of an image's own caption."""

import numpy as np
import pytest

from sat_tf.doctor.alignment import own_ranks


def test_how_likely_a_caption_is_by_itself_does_not_count():
    fits = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    assert own_ranks(fits).tolist() == [0, 0, 0]
    assert own_ranks(fits + np.array([0, -100, 50])).tolist() == [0, 0, 0]
    assert own_ranks(-fits).tolist() == [1, 1, 1]


def test_equal_ones_count_half():
    assert own_ranks(np.zeros((5, 5))).tolist() == [0.5] * 5
    assert own_ranks(np.array([[1.0, 1, -2], [1, 1, -2], [-2, -2, 4]])).tolist() == [0.25, 0.25, 0]


def test_captions_of_others_stand_anywhere():
    log_p = np.random.default_rng(0).normal(size=(64, 64)) + 9 * np.eye(64)
    assert own_ranks(log_p).mean() < 0.01
    assert own_ranks(np.roll(log_p, 1, axis=1)).mean() == pytest.approx(0.5, abs=0.1)
