"""BLEU against its definition."""

import math
import random
from collections import Counter

import pytest
from evaluation_data import evaluation_data, scores_of

from sat_tf.errors import UserError
from sat_tf.metrics.registry import SCORES

NAMES = [name for name in SCORES if name.startswith("bleu_")]


def bleu_scores(captions, references):
    return scores_of(evaluation_data(captions, references), names=NAMES)


def counted(words, order):
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def expected_bleu(hypotheses, references, longest):
    """(with, without brevity penalty), 0..100, from the definition of Papineni et al."""
    right, total = [0] * longest, [0] * longest
    length = reference_length = 0
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        words = hypothesis.split()
        length += len(words)
        nearest = min((len(t.split()) for t in texts), key=lambda n: (abs(n - len(words)), n))
        reference_length += nearest
        for order in range(1, longest + 1):
            most = Counter()
            for text in texts:
                most |= counted(text.split(), order)
            ngrams = counted(words, order)
            right[order - 1] += (ngrams & most).total()
            total[order - 1] += ngrams.total()
    if 0 in right:
        return 0.0, 0.0
    mean = sum(math.log(r / t) for r, t in zip(right, total, strict=True)) / longest
    penalty = min(0.0, 1 - reference_length / length)
    return 100 * math.exp(mean + penalty), 100 * math.exp(mean)


def random_corpus(seed):
    rng = random.Random(seed)

    def text(least):
        return " ".join(rng.choice("abc") for _ in range(rng.randint(least, 9)))

    images = rng.randint(1, 30)
    references = [[text(1) for _ in range(rng.randint(1, 5))] for _ in range(images)]
    return [text(0) for _ in range(images)], references


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_definition_on_random_corpora(seed):
    hypotheses, references = random_corpus(seed)
    scores = bleu_scores(hypotheses, references)
    for order in range(1, 5):
        expected = expected_bleu(hypotheses, references, order)
        assert scores[f"bleu_{order}"] == pytest.approx(expected[0], abs=1e-6)
        assert scores[f"bleu_{order}_no_bp"] == pytest.approx(expected[1], abs=1e-6)


def test_the_random_corpora_are_not_all_zero():
    assert sum(expected_bleu(*random_corpus(seed), 4)[0] > 0 for seed in range(40)) > 20


def test_names_are_in_the_order_of_tables():
    assert list(bleu_scores(["a"], [["a"]])) == [
        *(f"bleu_{order}" for order in range(1, 5)),
        *(f"bleu_{order}_no_bp" for order in range(1, 5)),
    ]


def test_brevity_penalty_by_hand():
    # Two of five words, both right: precision 1, penalty exp(1 - 5/2).
    scores = bleu_scores(["the cat"], [["the cat sat down there"]])
    assert scores["bleu_1"] == pytest.approx(100 * math.exp(-1.5))
    assert scores["bleu_2"] == pytest.approx(100 * math.exp(-1.5))
    assert scores["bleu_1_no_bp"] == pytest.approx(100)
    assert scores["bleu_3"] == scores["bleu_3_no_bp"] == 0


def test_a_repeated_word_counts_no_more_often_than_in_a_reference():
    # Papineni's example: "the" is at most twice in one reference.
    references = [["the cat is on the mat", "there is a cat on the mat"]]
    scores = bleu_scores(["the the the the the the the"], references)
    assert scores["bleu_1"] == pytest.approx(100 * 2 / 7)


def test_of_two_references_equally_near_the_shorter_counts():
    scores = bleu_scores(["a b c d"], [["a b c d e", "a b c"]])
    assert scores["bleu_1"] == pytest.approx(100)


def test_text_is_not_tokenized_again():
    # Its own tokenizer would cut "1.5" and "dog's" into pieces.
    assert bleu_scores(["dog's 1.5 ,"], [["dog 's 1.5,"]])["bleu_1"] == 0


def test_empty_captions_score_zero():
    scores = bleu_scores(["", ""], [["a b"], ["c", "d e"]])
    assert set(scores.values()) == {0.0}


def test_an_image_without_reference_is_named():
    with pytest.raises(UserError, match="image 2 of the split has no reference"):
        bleu_scores(["a", "b"], [["a"], []])


def test_an_empty_split_is_rejected():
    with pytest.raises(UserError, match="no image"):
        bleu_scores([], [])
