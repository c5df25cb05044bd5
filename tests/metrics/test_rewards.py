"""Rewards of single captions, against the libraries that score corpora."""

import numpy as np
import pytest
from evaluation_data import evaluation_data
from pycocoevalcap.cider.cider import Cider

from sat_tf.metrics.registry import SCORES, make_reward

REWARDS = [name for name, score in SCORES.items() if score.make_reward]
REFERENCES = [
    ["a dog runs on the grass", "the brown dog is running"],
    ["two men sit on a bench"],
    ["a girl in a red dress", "a girl jumps", "the girl is happy in her red dress"],
    ["a dog and a cat", "a cat sits beside a dog", "the the the cat"],
    ["a red bus", "the bus is red", "a bus", "one bus on the road", "a b c d e f", "g h i j"],
]
CAPTIONS = [
    "a dog runs on grass",
    "",
    "the the the girl girl in a red dress",
    "a cat and a dog",
    "zebra",
]


def test_cider_over_the_whole_corpus_is_that_of_coco_caption():
    mean, expected = Cider().compute_score(
        dict(enumerate(REFERENCES)), {i: [caption] for i, caption in enumerate(CAPTIONS)}
    )
    found = make_reward("cider", REFERENCES)(np.arange(5), CAPTIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert expected.max() > 1
    metric = SCORES["cider"].compute(evaluation_data(CAPTIONS, REFERENCES))
    assert metric.score == pytest.approx(mean)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_does_not_depend_on_its_batch(name):
    """On the captions scored with it or before it, or their order."""
    reward = make_reward(name, REFERENCES)
    whole = reward(np.arange(5), CAPTIONS)
    rows = np.array([3, 0, 2])
    np.testing.assert_allclose(reward(rows, [CAPTIONS[i] for i in rows]), whole[rows])
    for row in range(5):
        np.testing.assert_allclose(reward(np.array([row]), [CAPTIONS[row]]), whole[[row]])
    twice = reward(np.tile(np.arange(5), 2), CAPTIONS * 2)  # more captions than images
    np.testing.assert_allclose(twice, np.tile(whole, 2))
    assert whole.dtype == np.float32


@pytest.mark.parametrize("name", REWARDS)
def test_a_better_caption_has_a_greater_reward(name):
    reward = make_reward(name, REFERENCES)
    rows = np.zeros(4, int)
    captions = ["a dog runs on the grass", "a dog runs on the road", "a dog dog dog", "a bus"]
    rewards = reward(rows, captions)
    assert (np.diff(rewards) < 0).all()


def test_bleu_is_from_0_to_10():
    reward = make_reward("bleu_4", REFERENCES)
    assert reward(np.array([1, 1]), [REFERENCES[1][0], "zebra"]).tolist() == [10.0, 0.0]


def test_the_rewards():
    assert REWARDS == ["bleu_4", "cider"]
