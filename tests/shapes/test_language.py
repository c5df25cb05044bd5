"""The embedded data set's language: what is written is read back, in one way only."""

import itertools

import numpy as np
import pytest
from scene_examples import EVERY_WORD

from sat_tf.shapes.language import (
    ALONE,
    FORMS,
    MANY,
    OBJECT_SLOTS,
    ONE,
    PHRASES,
    NounPhrase,
    read,
    write,
)
from sat_tf.shapes.scenes import COLOURS, SHAPES, SIZES
from sat_tf.vocabulary import tokenize


def random_meaning(slot, rng):
    """A meaning for a slot."""
    if slot in OBJECT_SLOTS:
        count = {ONE: None, ALONE: 1, MANY: int(rng.integers(2, 5))}[slot]
        size = [None, *SIZES][rng.integers(3)]
        return NounPhrase(SHAPES[rng.integers(8)], list(COLOURS)[rng.integers(8)], size, count)
    return list(PHRASES[slot])[rng.integers(len(PHRASES[slot]))]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form.slots))
def test_what_is_written_is_read_back(form):
    rng = np.random.default_rng(0)
    for _ in range(100):
        meanings = tuple(random_meaning(slot, rng) for slot in form.slots)
        words, nouns = write(form, meanings, rng)
        assert read(words) == (form, meanings, nouns)


def test_every_phrase_has_one_meaning():
    for table in PHRASES.values():
        texts = list(itertools.chain.from_iterable(table.values()))
        assert len(set(texts)) == len(texts)


def test_words_are_many_and_as_the_tokenizer_makes_them():
    assert len(EVERY_WORD) >= 60
    assert all(tokenize(word) == [word] for word in EVERY_WORD)


def test_any_words_can_be_read():
    rng = np.random.default_rng(3)
    words = ["", "<unk>", "a.b", *sorted(EVERY_WORD)]
    for _ in range(1000):
        length = rng.integers(12)
        read([words[i] for i in rng.integers(len(words), size=length)])


def test_a_truncated_caption_is_not_read_as_more_than_it_states():
    words = ["a", "small", "red", "circle", "is", "to", "the", "left", "of", "a", "blue", "square"]
    kinds = [reading.form.kind if (reading := read(words[:end])) else "" for end in range(13)]
    #        a  small  red  circle   is  to  the left of  a  blue square
    assert kinds == ["", "", "", "", "plain", "", "", "", "", "", "", "", "relation"]
