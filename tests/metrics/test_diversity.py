import pytest

from sat_tf.metrics.diversity import counts, measures

CAPTIONS = [["a", "dog"], ["a", "cat"], ["a", "dog"], []]


def test_captions_that_come_twice_are_one():
    assert counts(CAPTIONS) == {"distinct_captions": 75.0, "vocab_size": 3.0}


def test_novel_is_what_no_training_caption_says():
    found = measures(CAPTIONS, {("a", "dog"), ("dog", "a", "cat")})
    assert found["novel_captions"].score == pytest.approx(50.0)
    assert found["mean_length"].score == pytest.approx(1.5)


def test_without_training_captions_novelty_is_left_out():
    assert list(measures(CAPTIONS, frozenset())) == ["mean_length"]
