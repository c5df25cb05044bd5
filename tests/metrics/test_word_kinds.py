from collections import Counter

import pytest

from sat_tf.metrics.word_kinds import FUNCTION_WORDS, kind_of
from sat_tf.vocabulary import tokenize


def test_each_word_is_of_one_kind():
    counts = Counter(word for words in FUNCTION_WORDS.values() for word in words.split())
    assert [word for word, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("word", [w for words in FUNCTION_WORDS.values() for w in words.split()])
def test_each_word_is_one_of_the_tokenizer(word):
    assert tokenize(word) == [word]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("the dog's", ["article", "content", "clitic"]),
        ("two in red", ["content", "preposition", "content"]),
        ("he is", ["pronoun", "auxiliary"]),
        ("isn't", ["auxiliary", "clitic"]),
    ],
)
def test_kinds_of_words(text, kinds):
    assert [kind_of(word) for word in tokenize(text)] == kinds
