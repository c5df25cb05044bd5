"""The language of the embedded data set: its sentence forms, written and read by one table.

A caption is a `Form`, a sequence of slots, each filled with one of its slot's phrases. `write`
chooses words for a meaning, `read` finds the meaning of words.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
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
SIZE_WORDS: dict[str | None, tuple[str, ...]] = {
    None: ("",),  # not stated
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}
COUNT_PHRASES: dict[int, tuple[str, ...]] = {2: ("two", "a pair of"), 3: ("three",), 4: ("four",)}

# Word -> colour, and noun -> shape.
COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
SHAPE_OF = {noun: shape for shape, pairs in NOUNS.items() for pair in pairs for noun in pair}

# Column and row of the picture: "left", "middle", "right" and "top", "middle", "bottom"; None if
# not stated.
Position = tuple[str | None, str | None]


class Slot(enum.Enum):
    """A part of a form."""

    ONE = "an object: 'a small red circle'"
    ALONE = "the only object of its kind: 'one red circle'"
    MANY = "all objects of a kind: 'two red circles'"
    RELATION = "position of the first object relative to the next"
    POSITION = "position of the object before or after in the picture"
    OPENING = "words before one object, or none"
    OPENING_MANY = "words before several objects, or none"
    VERB = "a verb between object and position"
    INVERTED = "a verb between position and object"
    AND = "a word between two objects"
    ALSO = "a word before the last object or a second statement"


OBJECT_SLOTS = (Slot.ONE, Slot.ALONE, Slot.MANY)
# Slot -> meaning -> phrases, except for objects. Slots without a meaning have the key None.
PHRASES: dict[Slot, dict[Any, tuple[str, ...]]] = {
    Slot.RELATION: {
        "left": ("left of", "to the left of", "on the left of"),
        "right": ("right of", "to the right of", "on the right of"),
        "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
    },
    Slot.POSITION: {
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


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """What a caption states about one object, or about all objects of a kind.

    Attributes:
      shape: one of the scenes' shapes.
      colour: one of the scenes' colours.
      size: "small", "large", or None if not stated.
      count: the exact number of such objects; None for at least one.
    """

    shape: str
    colour: str
    size: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """A sentence form.

    Attributes:
      kind: what it states besides objects: "relation", "position", "count", or "plain" for nothing.
      weight: its probability among the forms of its kind.
      slots: its slots in order.
    """

    kind: str
    weight: float
    slots: tuple[Slot, ...]


FORMS = tuple(
    Form(kind, weight, tuple(Slot[name] for name in slots.split()))
    for kind, weight, slots in (
        ("plain", 0.5, "OPENING ONE"),
        ("plain", 0.4, "OPENING ONE AND ONE"),
        ("plain", 0.1, "OPENING ONE AND ONE ALSO ONE"),
        ("count", 0.4, "OPENING_MANY MANY"),
        ("count", 0.2, "OPENING_MANY MANY AND ONE"),
        ("count", 0.2, "OPENING_MANY MANY AND ALONE"),
        ("count", 0.1, "OPENING ALONE AND MANY"),
        ("count", 0.1, "OPENING_MANY MANY AND MANY"),
        ("position", 0.4, "OPENING ONE POSITION"),
        ("position", 0.3, "ONE VERB POSITION"),
        ("position", 0.15, "POSITION INVERTED ONE"),
        ("position", 0.15, "ONE POSITION ALSO ONE POSITION"),
        ("relation", 0.4, "OPENING ONE RELATION ONE"),
        ("relation", 0.5, "ONE VERB RELATION ONE"),
        ("relation", 0.1, "ONE VERB RELATION ONE ALSO RELATION ONE"),
    )
)


def write(
    form: Form, meanings: Sequence[Any], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Put meanings into words, choosing among synonyms at random.

    Args:
      form: one of `FORMS`.
      meanings: one for each slot that has a meaning, in order: a `NounPhrase`, or a key of
        `PHRASES`.
      rng: chooses among phrases of the same meaning.

    Returns:
      The caption's words, and the index of each noun among them.
    """
    words: list[str] = []
    nouns: list[int] = []
    remaining = iter(meanings)
    for slot in form.slots:
        if slot in OBJECT_SLOTS:
            words += _write_object(slot, next(remaining), rng)
            nouns.append(len(words) - 1)
        else:
            meaning = None if None in PHRASES[slot] else next(remaining)
            words += _choose(PHRASES[slot][meaning], rng).split()
    return tuple(words), tuple(nouns)


def _write_object(slot: Slot, phrase: NounPhrase, rng: np.random.Generator) -> tuple[str, ...]:
    # The order of these choices is part of the data set: another one gives other captions.
    size = _choose(SIZE_WORDS[phrase.size], rng) if phrase.size else ""
    noun = _choose(NOUNS[phrase.shape], rng)
    colour = _choose(COLOUR_WORDS[phrase.colour], rng)
    count = _choose(_counts(slot)[phrase.count], rng) if slot is Slot.MANY else ""
    return _join(slot, count, size, colour, noun)


def _choose(items: Sequence[Any], rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _counts(slot: Slot) -> Mapping[Any, tuple[str, ...]]:
    """Return the phrases of each count that an object slot can state."""
    if slot is Slot.MANY:
        return COUNT_PHRASES
    return {1 if slot is Slot.ALONE else None: ("",)}


def _join(slot: Slot, count: str, size: str, colour: str, noun: tuple[str, str]) -> tuple[str, ...]:
    """Return the words of a noun phrase; its determiner and its noun depend on the slot."""
    singular, plural = noun
    if slot is Slot.ONE:
        count = "an" if (size or colour)[0] in "aeiou" else "a"
    elif slot is Slot.ALONE:
        count = "one"
    return (*f"{count} {size} {colour}".split(), plural if slot is Slot.MANY else singular)


@dataclass(frozen=True, slots=True)
class Reading:
    """The meaning of a caption.

    Attributes:
      kind: its form's kind.
      phrases: its noun phrases in order.
      nouns: index of each phrase's noun among the words.
      relations: (phrase, relation, phrase): the first is left or right of, above or below the
        second.
      positions: (phrase, position): where the phrase's object is in the picture.
    """

    kind: str
    phrases: tuple[NounPhrase, ...]
    nouns: tuple[int, ...]
    relations: tuple[tuple[int, str, int], ...]
    positions: tuple[tuple[int, Position], ...]


def read(words: Sequence[str]) -> Reading | None:
    """Return the meaning of a caption; None if no form fits it."""
    for form in FORMS:
        for filled in _fill(form.slots, tuple(words), 0):
            stated = list(zip(form.slots, filled, strict=True))
            relations = [meaning for slot, (meaning, _) in stated if slot is Slot.RELATION]
            positions = [meaning for slot, (meaning, _) in stated if slot is Slot.POSITION]
            return Reading(
                form.kind,
                tuple(meaning for slot, (meaning, _) in stated if slot in OBJECT_SLOTS),
                tuple(end - 1 for slot, (_, end) in stated if slot in OBJECT_SLOTS),
                # Every relation of a form is of its first object.
                tuple((0, relation, other) for other, relation in enumerate(relations, start=1)),
                tuple(enumerate(positions)),
            )
    return None


def _fill(
    slots: Sequence[Slot], words: tuple[str, ...], start: int
) -> Iterator[list[tuple[Any, int]]]:
    """Yield every way to divide `words[start:]` among the slots: meaning and end of each."""
    if not slots:
        if start == len(words):
            yield []
        return
    table = _MEANINGS[slots[0]]
    for end in range(start, min(start + _LONGEST_PHRASE, len(words)) + 1):
        if words[start:end] in table:
            for rest in _fill(slots[1:], words, end):
                yield [(table[words[start:end]], end), *rest]


def _inverse(table: Mapping[Any, Sequence[Any]]) -> list[tuple[Any, Any]]:
    """Return (phrase, meaning) of every phrase of a table."""
    return [(phrase, meaning) for meaning, phrases in table.items() for phrase in phrases]


def _object_meanings(slot: Slot) -> dict[tuple[str, ...], NounPhrase]:
    """Return the meaning of every phrase of an object slot."""
    return {
        _join(slot, count_phrase, size_word, colour_word, noun): NounPhrase(
            shape, colour, size, count
        )
        for count_phrase, count in _inverse(_counts(slot))
        for size_word, size in _inverse(SIZE_WORDS)
        for colour_word, colour in _inverse(COLOUR_WORDS)
        for noun, shape in _inverse(NOUNS)
    }


# Slot -> the words of each phrase -> meaning.
_MEANINGS: dict[Slot, dict[tuple[str, ...], Any]] = {
    slot: {tuple(text.split()): meaning for text, meaning in _inverse(table)}
    for slot, table in PHRASES.items()
} | {slot: _object_meanings(slot) for slot in OBJECT_SLOTS}
_LONGEST_PHRASE = max(len(phrase) for table in _MEANINGS.values() for phrase in table)


def every_word() -> frozenset[str]:
    """Return every word that a caption can contain."""
    return frozenset(word for table in _MEANINGS.values() for phrase in table for word in phrase)
