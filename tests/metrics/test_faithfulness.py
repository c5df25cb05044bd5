"""Areas under curves of probability."""

import numpy as np

from sat_tf.metrics.faithfulness import FRACTIONS, ORDERS, faithfulness


def of_a_word(before, covered, after):
    (found,) = faithfulness(np.array([before]), covered[None], np.array([after]), FRACTIONS)
    return found


def test_areas_of_known_curves():
    flat = np.full([len(ORDERS), len(FRACTIONS)], np.log(0.5))
    found = of_a_word(np.log(0.5), flat, np.log(0.5))
    np.testing.assert_allclose(found, [0] * len(ORDERS) + [0.5] * len(ORDERS) + [1], atol=1e-12)
    # p falls in a straight line from 1 to 0, or is lost with the first tenth.
    straight = np.log(1 - np.asarray(FRACTIONS))
    lost = np.full(len(FRACTIONS), -np.inf)
    found = of_a_word(0.0, np.stack([straight, lost, straight, straight]), -np.inf)
    np.testing.assert_allclose(found[4:8], [0.5, 0.05, 0.5, 0.5], atol=1e-12)
    np.testing.assert_allclose(found[[0, 2, 3]], -np.log(0.9))
