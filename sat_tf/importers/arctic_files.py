"""The three files of a model of arctic-captions: weights, options and dictionary."""

import dataclasses
import os
from typing import Any

import numpy as np

from sat_tf.errors import UserError
from sat_tf.importers.arctic_options import ArcticOptions, read_options
from sat_tf.importers.arctic_weights import expected_shapes, read_weights
from sat_tf.importers.safe_pickle import read_pickle

END, UNKNOWN = 0, 1  # tokens of arctic-captions
FIRST_WORD = 2


@dataclasses.dataclass(frozen=True, slots=True)
class ArcticModel:
    """A model as arctic-captions left it, checked.

    Attributes:
      options: what it was told.
      weights: by the names of `expected_shapes`, float32.
      words: those of the tokens 2, 3, …: `n_words - 2` or, if the dictionary is shorter, fewer;
        the tokens after them were never seen in training.
    """

    options: ArcticOptions
    weights: dict[str, np.ndarray]
    words: tuple[str, ...]


def read_arctic_model(
    npz: str | os.PathLike[str],
    options: str | os.PathLike[str],
    dictionary: str | os.PathLike[str],
) -> ArcticModel:
    """Reads the archive of weights, the pickled options and the pickled dictionary.

    Raises:
      UserError: one can't be read, is wrong in itself, or they do not belong together.
    """
    checked = read_options(options)
    words = read_words(dictionary, checked.n_words)
    return ArcticModel(checked, read_weights(npz, expected_shapes(checked)), words)


def read_words(path: str | os.PathLike[str], n_words: int) -> tuple[str, ...]:
    """The words of the tokens 2, 3, … below `n_words`, from a pickled dictionary word -> token.

    Words of other tokens are left out: 0 and 1 are end and unknown whatever the dictionary says,
    and from `n_words` on words are unknown to the model.

    Raises:
      UserError: the file can't be read, or what it holds is not such a dictionary.
    """
    tokens = read_pickle(path, "dictionary of arctic-captions")
    if not isinstance(tokens, dict):
        raise UserError(f"{path}: must hold tokens by word; it holds a {type(tokens).__name__}")
    words: dict[int, str] = {}
    for key, token in tokens.items():
        if type(token) is not int or token < 0:
            raise UserError(f"{path}: the token of {key!a:.80} must be a whole number, 0 or more")
        if FIRST_WORD <= token < n_words:
            word = _word(path, key)
            if token in words:
                raise UserError(
                    f"{path}: {words[token]!r:.80} and {word!r:.80} have the same token, {token}"
                )
            words[token] = word
    _check_words(path, words)
    return tuple(words[token] for token in sorted(words))


def _word(path: str | os.PathLike[str], key: Any) -> str:
    try:
        word = key.decode("utf-8") if isinstance(key, bytes) else key
        if not isinstance(word, str) or word.split() != [word]:
            raise UserError(f"{path}: {key!a:.80} is not a word: a text without spaces")
        word.encode("utf-8")
    except UnicodeError:
        raise UserError(f"{path}: the word {key!a:.80} is not UTF-8") from None
    return word


def _check_words(path: str | os.PathLike[str], words: dict[int, str]) -> None:
    if not words:
        raise UserError(f"{path}: has no words: their tokens start at {FIRST_WORD}")
    for token in range(FIRST_WORD, FIRST_WORD + len(words)):
        if token not in words:
            raise UserError(f"{path}: no word has the token {token}, but some have higher ones")
    known: set[str] = set()
    for token, word in words.items():
        if word in known:
            raise UserError(f"{path}: {word!r} has two tokens, one of them {token}")
        known.add(word)
