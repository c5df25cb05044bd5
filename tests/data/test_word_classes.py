from collections import Counter

import pytest

from sat_tf.data.word_classes import FUNCTION_WORDS, word_class
from sat_tf.vocabulary import tokenize


def test_each_word_has_one_class():
    counts = Counter(word for words in FUNCTION_WORDS.values() for word in words.split())
    assert [word for word, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("word", [w for words in FUNCTION_WORDS.values() for w in words.split()])
def test_each_word_is_one_token(word):
    assert tokenize(word) == [word]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("the dog's", ["article", "content", "clitic"]),
        ("two in red", ["content", "preposition", "content"]),
        ("he is", ["pronoun", "auxiliary"]),
        ("isn't", ["auxiliary", "clitic"]),
    ],
)
def test_classes_of_words(text, classes):
    assert [word_class(word) for word in tokenize(text)] == classes
