"""Attention measured by sums that can be done by hand."""

import numpy as np
import pytest

from sat_tf.evaluation.attention_scores import attention_change


def at(*places):
    alpha = np.zeros((len(places), 2, 3), np.float32)
    for t, place in enumerate(places):
        alpha[t].flat[place] = 1.0
    return alpha


def test_dead_attention_does_not_move():
    assert attention_change([np.full((4, 2, 3), 1 / 6, np.float32), at(2, 2)]) == 0.0


def test_every_step_of_all_captions_counts_once():
    half = np.array([[[0.5, 0.5]], [[1.0, 0.0]]], np.float32)
    assert attention_change([at(0, 1, 1, 2)]) == pytest.approx(200 / 3)
    assert attention_change([half]) == pytest.approx(50.0)
    assert attention_change([at(0, 1, 1, 2), half, at(5)]) == pytest.approx(250 / 4)


def test_captions_of_one_word_have_no_step():
    assert attention_change([at(0), at()]) == 0.0
