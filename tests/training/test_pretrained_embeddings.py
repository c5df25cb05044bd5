"""Word vectors from files of GloVe's layout."""

import numpy as np
import pytest

from sat_tf.errors import UserError
from sat_tf.training.initialize import read_embeddings
from sat_tf.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build([["red", "star", "café"]])


def read(tmp_path, content, size=3):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_embeddings(path, VOCABULARY, size)


def test_vectors_of_the_vocabularys_words_are_read(tmp_path):
    found = read(tmp_path, "blue 9 9 9\nred 0.5 -1 2e-1\ncafé 1 2 3\nred 7 7 7\n")
    by_word = {VOCABULARY.words[number]: vector for number, vector in found.items()}
    assert set(by_word) == {"red", "café"}
    np.testing.assert_allclose(by_word["red"], [0.5, -1.0, 0.2], rtol=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_vectors_by_other_editors(tmp_path, encoding):
    found = read(tmp_path, "café 1 2 3\r\nstar 4 5 6\r\n".encode(encoding))
    assert sorted(vector.tolist() for vector in found.values()) == [[1, 2, 3], [4, 5, 6]]


def test_words_with_spaces_and_a_header_are_passed_over(tmp_path):
    found = read(tmp_path, "2 3\n. . . 1 2 3\nat home 1 2 3\nstar 4 5 6\n")
    assert [vector.tolist() for vector in found.values()] == [[4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("red 1 2\n", "vectors.txt:1: is not a word and 3 numbers"),
        ("star 1 2 3\nred 1 2 3 4\n", "vectors.txt:2: is not a word and 3 numbers"),
        ("red 1 x 3\n", "vectors.txt:1: contains a value that is not a finite number"),
        ("red 1 nan 3\n", "vectors.txt:1: contains a value that is not a finite number"),
        (b"red 1 2 3\n\xff\xfe 1 2 3\n", "vectors.txt:2: is not UTF-8"),
        ("blue 1 2 3\n", "has no word of the vocabulary"),
        ("", "has no word of the vocabulary"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, what):
    with pytest.raises(UserError, match=what):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_embeddings(tmp_path / "nowhere.txt", VOCABULARY, 3)
