"""The tokenizer, the vocabulary that maps words to ids, and classes of English words."""

import hashlib
import itertools
import json
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from sat_tf.errors import UserError
from sat_tf.storage import read_json, write_json
from sat_tf.text_files import NOT_TEXT

FORMAT_VERSION = 1
PAD, END, UNK = 0, 1, 2
SPECIAL = ("<pad>", "<end>", "<unk>")

# Clitics that the field's evaluation (the Penn Treebank tokenizer) splits off: dog's -> dog 's.
_CLITICS = ("'s", "'re", "'ve", "'ll", "'d", "'m", "n't")
# Marks that may occur inside a word, the last two (joiners) in Persian and Indic scripts.
_INNER = "-'.,:/\u200c\u200d"
# Occurrences of them that are punctuation.
_LOOSE = re.compile(r"(?<!\d)[.,:]|[.,:](?!\d)|(?<!\w)/|/(?!\w)")


# Apostrophes, hyphens and the soft hyphen.
_REPLACED = dict.fromkeys("\u2019\u2018\u02bc`", "'") | {"\u2010": "-", "\u2011": "-", "\u00ad": ""}


class _Characters(dict[int, str]):
    """The replacement of each character of a caption, filled when it first occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Letters, marks (vowel signs of Indic scripts among them) and numbers.
        is_kept = character in _INNER or unicodedata.category(character)[0] in "LMN"
        return self.setdefault(code, _REPLACED.get(character, character if is_kept else " "))


_CHARACTERS = _Characters()


def tokenize(text: str) -> list[str]:
    """Split a caption into words: lower case, without punctuation, composed Unicode (NFC).

    Follows the Penn Treebank tokenizer of coco-caption: punctuation is dropped except hyphens,
    apostrophes and slashes within a word ("t-shirt", "and/or") and the marks within a number
    ("3.5", "7:30"); possessive and verb clitics and "n't" are separate words ("dog's" -> "dog",
    "'s"). Unlike coco-caption, it drops symbols ("&", "#"), brackets and the points of
    abbreviations ("d.c."); one caption in 900 of Flickr8k differs. Suitable for all languages that
    separate words by spaces.
    """
    text = unicodedata.normalize("NFC", text.lower()).translate(_CHARACTERS)
    return [part for word in _LOOSE.sub(" ", text).split() for part in _split_clitics(word)]


# Scripts without spaces between words: Thai, Lao, Burmese and Khmer, Japanese syllables, Chinese
# characters.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
)
# Letters, without marks: a word of these scripts has 2 or 3 on average, a phrase 6 and more.
_LONGEST_AVERAGE = 4
_LONGEST_WORD = 20  # characters of a word of any other script


def is_unsegmented(caption: str) -> bool:
    """Return whether the tokenizer finds no words in a caption, but phrases or all of it as one."""
    words = tokenize(caption)
    found = [word for word in words if _WITHOUT_SPACES.search(word)]
    if len(words) == 1:
        # A caption of one word, such as a label, is short.
        return bool(found) or len(words[0]) > _LONGEST_WORD
    letters = sum(character.isalpha() for word in found for character in word)
    return letters > _LONGEST_AVERAGE * len(found)


def _split_clitics(word: str) -> list[str]:
    parts: list[str] = []
    while word:
        if word not in _CLITICS:
            word = word.strip(_INNER)
        last = next((clitic for clitic in _CLITICS if word.endswith(clitic)), word)
        parts.append(last)
        word = word.removesuffix(last)
    return [part for part in reversed(parts) if part]


class Vocabulary:
    """The words of a model; ids are positions, `<pad>`, `<end>` and `<unk>` come first.

    Args:
      words: all entries, the three special ones included.
      counts: occurrences of each entry in the training captions; `<end>` counts once a caption,
        `<unk>` for all words that are not in the vocabulary.

    Raises:
      UserError: the entries do not form a vocabulary.
    """

    def __init__(self, words: Sequence[str], counts: Sequence[int]) -> None:
        self.words = tuple(words)
        self.counts = tuple(counts)
        self._ids: dict[str, int] = {}
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise UserError(f"a vocabulary starts with {', '.join(SPECIAL)}")
        for number, word in enumerate(self.words):
            if not isinstance(word, str) or word.split() != [word] or NOT_TEXT.search(word):
                what = f"{word!r:.80} is no word: a text without spaces, of valid Unicode"
                raise UserError(what)
            if self._ids.setdefault(word, number) != number:
                raise UserError(f"a vocabulary has no word twice, as {word!r:.80} is in this one")
        if len(self.counts) != len(self.words) or not all(
            type(count) is int and 0 <= count < 2**63 for count in self.counts
        ):
            raise UserError("a vocabulary has one count, 0 or more, for each word")

    @classmethod
    def build(
        cls, captions: Iterable[Iterable[str]], *, size: int = 0, min_count: int = 1
    ) -> "Vocabulary":
        """Return the vocabulary of tokenized captions: most frequent first, ties alphabetically.

        Args:
          captions: the words of each; or a `Counter` of the words of several.
          size: largest number of words, special entries not counted; 0: no limit.
          min_count: smallest number of occurrences of a word.
        """
        counts: Counter[str] = Counter()
        ends = 0
        for words in captions:
            counts.update(words)
            ends += 1
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [item for item in ranked if item[1] >= min_count][: size or None]
        left_out = counts.total() - sum(count for _, count in kept)
        return cls(
            (*SPECIAL, *(word for word, _ in kept)),
            (0, ends, left_out, *(count for _, count in kept)),
        )

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def encode(self, words: Iterable[str]) -> list[int]:
        """Return the ids of words, `UNK` for unknown ones, followed by `END`."""
        return [*(self._ids.get(word, UNK) for word in words), END]

    def words_of(self, ids: Iterable[int]) -> list[str]:
        """Return the words of ids up to the end, without padding."""
        until_end = itertools.takewhile(lambda number: number != END, ids)
        return [self.words[number] for number in until_end if number != PAD]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of ids, joined by spaces."""
        return " ".join(self.words_of(ids))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the words in their order, hexadecimal; independent of the counts."""
        return hashlib.sha256(json.dumps(self.words).encode()).hexdigest()

    def log_frequencies(self) -> list[float]:
        """Return the log of each entry's relative frequency with add-one smoothing: V numbers."""
        smoothed = [count + 1 for count in self.counts]
        total = sum(smoothed)
        return [math.log(count / total) for count in smoothed]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary with its fingerprint as JSON."""
        document = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "words": self.words,
            "counts": self.counts,
        }
        write_json(path, document)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read a vocabulary that `save` wrote.

        Raises:
          UserError: the file can't be read, or its words do not match its fingerprint.
        """
        document = read_json(path, "a vocabulary")
        if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{path}: format_version must be {FORMAT_VERSION}")
        if not all(isinstance(document.get(name), list) for name in ("words", "counts")):
            raise UserError(f"{path}: damaged: words and counts must be lists")
        try:
            vocabulary = cls(document["words"], document["counts"])
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        if vocabulary.fingerprint != document.get("fingerprint"):
            raise UserError(f"{path}: its words were changed since then: put the file back")
        return vocabulary


CONTENT = "content"
# Numerals are content words: what "two" means can be seen in an image, as "red" can.
FUNCTION_WORDS = {
    "article": "a an the",
    "determiner": "this that these those some any each every another other both all no",
    "preposition": (
        "of in on at by with from to into onto over under above below behind beside between "
        "through across along around near against among during for off out up down toward towards "
        "upon inside outside underneath beneath past within without about atop"
    ),
    "conjunction": "and or but nor while as because if than so though although",
    "pronoun": (
        "i you he she it we they me him her us them his hers its our their my your who whom which "
        "whose what himself herself itself themselves someone something others there where"
    ),
    "auxiliary": (
        "is are was were be been being am has have had do does did can could will would may might "
        "must should not"
    ),
    "clitic": "'s 're 've 'll 'd 'm n't",
}
_CLASS_OF = {word: name for name, words in FUNCTION_WORDS.items() for word in words.split()}


def word_class(word: str) -> str:
    """Return the class of a token: the name of a list, or "content"."""
    return _CLASS_OF.get(word, CONTENT)
