"""Pretrained embeddings from a text file in GloVe's format: a word and its vector per line."""

from pathlib import Path

import numpy as np

from sat_tf.errors import UserError
from sat_tf.vocabulary import Vocabulary


def read_embeddings(path: Path, vocabulary: Vocabulary, size: int) -> dict[int, np.ndarray]:
    """Read the vectors of the vocabulary's words that are in the file.

    The file is read line by line, as it may be larger than memory. The first vector of a repeated
    word is used. A first line of two numbers, as word2vec writes it, is skipped.

    Args:
      path: of the file, UTF-8.
      vocabulary: of the model.
      size: E, length of a vector.

    Returns:
      float32 [E] by the word's id.

    Raises:
      UserError: the file can't be read, a line is not a word with `size` numbers, or no word of
        the vocabulary is in it.
    """
    vectors: dict[int, np.ndarray] = {}
    ids = {word: number for number, word in enumerate(vocabulary.words)}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                # From the right: some files have words with spaces in them.
                word, *values = line.decode("utf-8").rstrip().rsplit(" ", size)
                if number == 1 and len(values) == 1 and (word + values[0]).isdigit():
                    continue
                if len(values) != size or (" " in word and _is_number(word.rsplit(" ", 1)[1])):
                    raise UserError(
                        f"--pretrained_embeddings={path}:{number}: is not a word and {size} "
                        "numbers, which --embedding_size asks for"
                    )
                if word in ids:
                    vectors.setdefault(ids[word], _vector(path, number, values))
    except OSError as error:
        raise UserError(
            f"--pretrained_embeddings={path}: can't be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"--pretrained_embeddings={path}:{number}: is not UTF-8 text") from None
    if not vectors:
        raise UserError(f"--pretrained_embeddings={path}: has no word of the vocabulary")
    return vectors


def _vector(path: Path, line: int, values: list[str]) -> np.ndarray:
    try:
        vector = np.asarray(values, np.float32)
    except ValueError:
        vector = np.array([np.nan])
    if not np.isfinite(vector).all():
        raise UserError(
            f"--pretrained_embeddings={path}:{line}: contains a value that is not a finite number"
        )
    return vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
