"""The language of the embedded data set: its words, its sentence forms, and their reading.

One table of forms serves both ways: `write` picks words for a meaning, `read` finds the meaning
of words. A caption is a `Form`, a row of slots, each filled with one of its slot's phrases.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Shape -> its nouns, each singular and plural.
NOUNS: dict[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs")),
    "square": (("square", "squares"),),
    "triangle": (("triangle", "triangles"),),
    "diamond": (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    "star": (("star", "stars"),),
    "cross": (("cross", "crosses"),),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "heart": (("heart", "hearts"),),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red",),
    "green": ("green",),
    "blue": ("blue",),
    "yellow": ("yellow",),
    "orange": ("orange",),
    "purple": ("purple", "violet"),
    "white": ("white",),
    "black": ("black",),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}
COUNT_PHRASES: dict[int, tuple[str, ...]] = {2: ("two", "a pair of"), 3: ("three",), 4: ("four",)}


Place = tuple[str | None, str | None]  # column and row of the picture; None leaves it open


class Slot(enum.Enum):
    """What may stand at one place of a form."""

    ONE = "an object: 'a small red circle'"
    ALONE = "the only object of its kind: 'one red circle'"
    MANY = "all objects of a kind: 'two red circles'"
    RELATION = "where the first object lies as seen from the next"
    PLACE = "where the object before or after lies in the picture"
    OPENING = "words before one object, or none"
    OPENING_MANY = "words before several objects, or none"
    VERB = "a verb between object and place"
    INVERTED = "a verb between place and object"
    AND = "a word between two objects"
    ALSO = "a word before the last object or a second statement"


# Slot -> meaning -> phrases. Slots that mean nothing by themselves have the meaning None.
PHRASES: dict[Slot, dict[Any, tuple[str, ...]]] = {
    Slot.RELATION: {
        "left": ("left of", "to the left of", "on the left of"),
        "right": ("right of", "to the right of", "on the right of"),
        "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
    },
    Slot.PLACE: {
        ("left", None): ("on the left", "on the left side", "at the left"),
        ("right", None): ("on the right", "on the right side", "at the right"),
        (None, "top"): ("at the top", "near the top"),
        (None, "bottom"): ("at the bottom", "near the bottom"),
        ("middle", "middle"): ("in the middle", "in the center"),
        ("left", "top"): ("at the top left", "in the upper left corner"),
        ("right", "top"): ("at the top right", "in the upper right corner"),
        ("left", "bottom"): ("at the bottom left", "in the lower left corner"),
        ("right", "bottom"): ("at the bottom right", "in the lower right corner"),
    },
    Slot.OPENING: {
        None: ("", "there is", "a picture of", "an image of", "the picture shows", "we see")
    },
    Slot.OPENING_MANY: {
        None: ("", "there are", "a picture of", "an image of", "the picture shows", "we see")
    },
    Slot.VERB: {None: ("is", "sits", "lies")},
    Slot.INVERTED: {None: ("is", "there is", "we see")},
    Slot.AND: {None: ("and", "with")},
    Slot.ALSO: {None: ("and",)},
}
OBJECT_SLOTS = (Slot.ONE, Slot.ALONE, Slot.MANY)


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """What a caption says of one object, or of all objects of a kind.

    Attributes:
      shape: one of the scenes' shapes.
      colour: one of the scenes' colours.
      size: "small", "large", or None when not stated.
      count: how many there are of them exactly; None for at least one.
      word_index: where its noun stands in the caption; -1 before it is written.
    """

    shape: str
    colour: str
    size: str | None = None
    count: int | None = None
    word_index: int = -1


@dataclass(frozen=True, slots=True)
class Form:
    """A sentence form.

    Attributes:
      kind: what it states besides objects: "relation", "place", "count", or "plain" for nothing.
      weight: how often it is written, as against others of its kind.
      slots: its slots in order.
    """

    kind: str
    weight: float
    slots: tuple[Slot, ...]


FORMS = (
    Form("plain", 0.5, (Slot.OPENING, Slot.ONE)),
    Form("plain", 0.4, (Slot.OPENING, Slot.ONE, Slot.AND, Slot.ONE)),
    Form("plain", 0.1, (Slot.OPENING, Slot.ONE, Slot.AND, Slot.ONE, Slot.ALSO, Slot.ONE)),
    Form("count", 0.4, (Slot.OPENING_MANY, Slot.MANY)),
    Form("count", 0.2, (Slot.OPENING_MANY, Slot.MANY, Slot.AND, Slot.ONE)),
    Form("count", 0.2, (Slot.OPENING_MANY, Slot.MANY, Slot.AND, Slot.ALONE)),
    Form("count", 0.1, (Slot.OPENING, Slot.ALONE, Slot.AND, Slot.MANY)),
    Form("count", 0.1, (Slot.OPENING_MANY, Slot.MANY, Slot.AND, Slot.MANY)),
    Form("place", 0.4, (Slot.OPENING, Slot.ONE, Slot.PLACE)),
    Form("place", 0.3, (Slot.ONE, Slot.VERB, Slot.PLACE)),
    Form("place", 0.15, (Slot.PLACE, Slot.INVERTED, Slot.ONE)),
    Form("place", 0.15, (Slot.ONE, Slot.PLACE, Slot.ALSO, Slot.ONE, Slot.PLACE)),
    Form("relation", 0.4, (Slot.OPENING, Slot.ONE, Slot.RELATION, Slot.ONE)),
    Form("relation", 0.5, (Slot.ONE, Slot.VERB, Slot.RELATION, Slot.ONE)),
    Form(
        "relation",
        0.1,
        (Slot.ONE, Slot.VERB, Slot.RELATION, Slot.ONE, Slot.ALSO, Slot.RELATION, Slot.ONE),
    ),
)


def write(
    form: Form, meanings: Sequence[Any], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Words for a form's meanings, synonyms drawn at random.

    Args:
      form: one of `FORMS`.
      meanings: one for each slot that bears a meaning, in order: a `NounPhrase`, or a key of
        `PHRASES`.
      rng: chooses among phrases of the same meaning.

    Returns:
      The caption's words, and the position of each noun among them.
    """
    words: list[str] = []
    nouns: list[int] = []
    waiting = iter(meanings)
    for slot in form.slots:
        if slot in OBJECT_SLOTS:
            words += _write_object(slot, next(waiting), rng)
            nouns.append(len(words) - 1)
        else:
            meaning = None if None in PHRASES[slot] else next(waiting)
            words += _pick(PHRASES[slot][meaning], rng).split()
    return tuple(words), tuple(nouns)


def _write_object(slot: Slot, phrase: NounPhrase, rng: np.random.Generator) -> list[str]:
    size = [_pick(SIZE_WORDS[phrase.size], rng)] if phrase.size else []
    singular, plural = NOUNS[phrase.shape][int(rng.integers(len(NOUNS[phrase.shape])))]
    rest = [*size, _pick(COLOUR_WORDS[phrase.colour], rng)]
    if slot is Slot.MANY:
        assert phrase.count is not None
        return [*_pick(COUNT_PHRASES[phrase.count], rng).split(), *rest, plural]
    return ["one" if slot is Slot.ALONE else _article(rest[0]), *rest, singular]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _pick(items: Sequence[str], rng: np.random.Generator) -> str:
    return items[int(rng.integers(len(items)))]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a caption means.

    Attributes:
      kind: its form's kind.
      phrases: what it says of objects, in order.
      relations: (phrase, relation, phrase): the first is left/right of, above/below the second.
      places: (phrase, place): where the phrase's object lies in the picture.
    """

    kind: str
    phrases: tuple[NounPhrase, ...]
    relations: tuple[tuple[int, str, int], ...]
    places: tuple[tuple[int, Place], ...]


def read(words: Sequence[str]) -> Reading | None:
    """The meaning of a caption; None when no form fits it."""
    for form in FORMS:
        for meanings in _fill(form.slots, words, 0):
            return _reading(form, meanings)
    return None


def _reading(form: Form, meanings: Sequence[Any]) -> Reading:
    stated = list(zip(form.slots, meanings, strict=True))
    phrases = tuple(meaning for slot, meaning in stated if slot in OBJECT_SLOTS)
    relations = [meaning for slot, meaning in stated if slot is Slot.RELATION]
    places = [meaning for slot, meaning in stated if slot is Slot.PLACE]
    return Reading(
        form.kind,
        phrases,
        # Every relation of a form speaks of its first object.
        tuple((0, relation, other) for other, relation in enumerate(relations, start=1)),
        tuple(enumerate(places)),
    )


def _fill(slots: Sequence[Slot], words: Sequence[str], start: int) -> Iterator[list[Any]]:
    """Every way of dividing `words[start:]` among the slots: a meaning for each slot."""
    if not slots:
        if start == len(words):
            yield []
        return
    if slots[0] in OBJECT_SLOTS:
        found = _read_object(slots[0], words, start)
        here: Sequence[tuple[Any, int]] = [] if found is None else [found]
    else:
        here = [
            (meaning, start + len(phrase))
            for phrase, meaning in _PHRASE_LISTS[slots[0]]
            if tuple(words[start : start + len(phrase)]) == phrase
        ]
    for meaning, end in here:
        for rest in _fill(slots[1:], words, end):
            yield [meaning, *rest]


def _read_object(slot: Slot, words: Sequence[str], start: int) -> tuple[NounPhrase, int] | None:
    """The noun phrase that begins at `start`, and where it ends."""
    count, at = _read_count(slot, words, start)
    size = _SIZE_OF.get(words[at]) if at < len(words) else None
    noun = at + 2 if size else at + 1
    if at == start or noun >= len(words):
        return None
    colour = _COLOUR_OF.get(words[noun - 1])
    shape = (_PLURALS if slot is Slot.MANY else _SINGULARS).get(words[noun])
    if colour is None or shape is None:
        return None
    return NounPhrase(shape, colour, size, count, noun), noun + 1


def _read_count(slot: Slot, words: Sequence[str], start: int) -> tuple[int | None, int]:
    """The count at `start` and where it ends, which is `start` itself when there is none."""
    if slot is Slot.MANY:
        for phrase, count in _COUNT_LIST:
            if tuple(words[start : start + len(phrase)]) == phrase:
                return count, start + len(phrase)
    elif slot is Slot.ALONE:
        if start < len(words) and words[start] == "one":
            return 1, start + 1
    elif start + 1 < len(words) and words[start + 1]:
        return None, start + (words[start] == _article(words[start + 1]))
    return None, start


def _by_phrase(table: dict[Any, tuple[str, ...]]) -> tuple[tuple[tuple[str, ...], Any], ...]:
    return tuple(
        (tuple(text.split()), meaning) for meaning, texts in table.items() for text in texts
    )


_PHRASE_LISTS = {slot: _by_phrase(table) for slot, table in PHRASES.items()}
_COUNT_LIST = _by_phrase(COUNT_PHRASES)
_SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
_COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
_SINGULARS = {pair[0]: shape for shape, pairs in NOUNS.items() for pair in pairs}
_PLURALS = {pair[1]: shape for shape, pairs in NOUNS.items() for pair in pairs}


def every_word() -> frozenset[str]:
    """Every word a caption can hold."""
    tables: list[dict[Any, tuple[str, ...]]] = [*PHRASES.values(), SIZE_WORDS, COLOUR_WORDS]
    texts = [
        text for table in [*tables, COUNT_PHRASES] for texts in table.values() for text in texts
    ]
    nouns = [noun for pairs in NOUNS.values() for pair in pairs for noun in pair]
    return frozenset(" ".join([*texts, *nouns, "a an one"]).split())
