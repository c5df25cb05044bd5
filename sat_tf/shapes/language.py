"""The language of the embedded data set: its sentence forms, written and read by one table.

A caption is a `Form`, a sequence of slots, each filled with one of its slot's phrases. `write`
chooses words for a meaning, `read` finds the meaning of words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sat_tf.shapes.scenes import COLOURS, SHAPES, choose

# Shape -> its nouns in the singular, colour -> its adjectives, and so on.
NOUNS = {shape: (shape,) for shape in SHAPES} | {
    "circle": ("circle", "disc"),
    "diamond": ("diamond", "rhombus"),
    "ring": ("ring", "hoop"),
}
COLOUR_WORDS = {colour: (colour,) for colour in COLOURS} | {"purple": ("purple", "violet")}
SIZE_WORDS = {
    None: ("",),
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
}

# Column and row of the picture: "left", "middle", "right" and "top", "middle", "bottom"; None if
# not stated.
Position = tuple[str | None, str | None]

# Slots of objects: "a small red circle"; the only one of its kind, "one red circle"; all of a
# kind, "two red circles".
OBJECT_SLOTS = ONE, ALONE, MANY = "one", "alone", "many"
_COUNT_PHRASES: dict[str, dict[int | None, tuple[str, ...]]] = {
    ONE: {None: ("",)},  # then an article
    ALONE: {1: ("one",)},
    MANY: {2: ("two", "a pair of"), 3: ("three",), 4: ("four",)},
}
# The other slots -> meaning -> phrases; a slot without a meaning has the key None.
PHRASES: dict[str, dict[Any, tuple[str, ...]]] = {
    # Of the first object, relative to the next.
    "relation": {
        "left": ("left of", "to the left of", "on the left of"),
        "right": ("right of", "to the right of", "on the right of"),
        "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
    },
    # In the picture, of the object before or after.
    "position": {
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
    "opening": {  # before one object
        None: ("", "there is", "a picture of", "an image of", "the picture shows", "we see")
    },
    "openings": {  # before several objects
        None: ("", "there are", "a picture of", "an image of", "the picture shows", "we see")
    },
    "verb": {None: ("is", "sits", "lies")},  # between object and position
    "inverted": {None: ("is", "there is", "we see")},  # between position and object
    "with": {None: ("and", "with")},
    "and": {None: ("and",)},
}


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """What a caption states about one object, or about all objects of a kind."""

    shape: str
    colour: str
    size: str | None = None  # not stated
    count: int | None = None  # the exact number of such objects; None: at least one


class Form(NamedTuple):
    """A sentence form."""

    kind: str  # what it states: "relation", "position", "count", or "plain" for objects alone
    weight: float  # probability among the forms of its kind
    slots: tuple[str, ...]


FORMS = tuple(
    Form(kind, weight, tuple(slots.split()))
    for kind, weight, slots in (
        ("plain", 0.5, "opening one"),
        ("plain", 0.4, "opening one with one"),
        ("plain", 0.1, "opening one with one and one"),
        ("count", 0.4, "openings many"),
        ("count", 0.2, "openings many with one"),
        ("count", 0.2, "openings many with alone"),
        ("count", 0.1, "opening alone with many"),
        ("count", 0.1, "openings many with many"),
        ("position", 0.4, "opening one position"),
        ("position", 0.3, "one verb position"),
        ("position", 0.15, "position inverted one"),
        ("position", 0.15, "one position and one position"),
        ("relation", 0.4, "opening one relation one"),
        ("relation", 0.5, "one verb relation one"),
        ("relation", 0.1, "one verb relation one and relation one"),
    )
)


def write(
    form: Form, meanings: Sequence[Any], rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Put meanings into words, choosing among synonyms at random.

    Args:
      form: one of `FORMS`.
      meanings: one for each slot: a `NounPhrase`, or a key of `PHRASES`.
      rng: chooses among phrases of the same meaning.

    Returns:
      The caption's words, and the index of each noun among them.
    """
    words: list[str] = []
    nouns: list[int] = []
    for slot, meaning in zip(form.slots, meanings, strict=True):
        if slot in OBJECT_SLOTS:
            # The order of these choices is part of the data set: another one gives other captions.
            size = choose(SIZE_WORDS[meaning.size], rng)
            noun = choose(NOUNS[meaning.shape], rng)
            colour = choose(COLOUR_WORDS[meaning.colour], rng)
            count = choose(_COUNT_PHRASES[slot][meaning.count], rng)
            words += _join(slot, count, size, colour, noun)
            nouns.append(len(words) - 1)
        else:
            words += choose(PHRASES[slot][meaning], rng).split()
    return tuple(words), tuple(nouns)


def _join(slot: str, count: str, size: str, colour: str, noun: str) -> tuple[str, ...]:
    if slot == ONE:
        count = "an" if (size or colour)[0] in "aeiou" else "a"
    if slot == MANY:
        noun = plural(noun)
    return tuple(f"{count} {size} {colour} {noun}".split())


def plural(noun: str) -> str:
    """Return the plural of one of the nouns."""
    return noun + ("es" if noun.endswith("s") else "s")


class Reading(NamedTuple):
    """What `write` was given, and the index of each noun among the words."""

    form: Form
    meanings: tuple[Any, ...]
    nouns: tuple[int, ...]

    def of(self, *slots: str) -> list[Any]:
        """Return the meanings of these slots in order."""
        stated = zip(self.form.slots, self.meanings, strict=True)
        return [meaning for slot, meaning in stated if slot in slots]


def read(words: Sequence[str]) -> Reading | None:
    """Return the meaning of a caption; None if no form fits it."""
    for form in FORMS:
        for filled in _fill(form.slots, tuple(words), 0):
            meanings, ends = zip(*filled, strict=True)
            objects = zip(form.slots, ends, strict=True)
            nouns = tuple(end - 1 for slot, end in objects if slot in OBJECT_SLOTS)
            return Reading(form, meanings, nouns)
    return None


def _fill(
    slots: Sequence[str], words: tuple[str, ...], start: int
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


def _inverse(table: Mapping[Any, Sequence[str]]) -> list[tuple[str, Any]]:
    """Return (phrase, meaning) of every phrase of a table."""
    return [(phrase, meaning) for meaning, phrases in table.items() for phrase in phrases]


def _object_meanings(slot: str) -> dict[tuple[str, ...], NounPhrase]:
    """Return the meaning of every phrase of an object slot."""
    return {
        _join(slot, count_phrase, size_word, colour_word, noun): NounPhrase(
            shape, colour, size, count
        )
        for count_phrase, count in _inverse(_COUNT_PHRASES[slot])
        for size_word, size in _inverse(SIZE_WORDS)
        for colour_word, colour in _inverse(COLOUR_WORDS)
        for noun, shape in _inverse(NOUNS)
    }


# Slot -> the words of each phrase -> meaning.
_MEANINGS: dict[str, dict[tuple[str, ...], Any]] = {
    slot: {tuple(text.split()): meaning for text, meaning in _inverse(table)}
    for slot, table in PHRASES.items()
} | {slot: _object_meanings(slot) for slot in OBJECT_SLOTS}
# Word -> colour, and noun -> shape.
COLOUR_OF = dict(_inverse(COLOUR_WORDS))
SHAPE_OF = dict(_inverse(NOUNS)) | {plural(noun): shape for noun, shape in _inverse(NOUNS)}
_LONGEST_PHRASE = max(len(phrase) for table in _MEANINGS.values() for phrase in table)
