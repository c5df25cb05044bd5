"""What is true of a scene: captions that describe it, and a judge of any caption.

A description states only what is clearly so (the STATED constants); the judge is a little more
tolerant (the TRUE constants), so that no description is judged by a hair's breadth.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sat_tf.data.shapes_scenes import Scene, SceneObject
from sat_tf.data.shapes_words import (
    FORMS,
    OBJECT_SLOTS,
    PHRASES,
    Form,
    NounPhrase,
    Reading,
    Slot,
    read,
    write,
)

# A is left of B when its centre lies at least so far left of B's, as a share of the side.
# Stated, the offset must also be larger than the one up or down.
STATED_MARGIN = 0.2
TRUE_MARGIN = 0.1
# The outer columns and rows of the picture reach so far in from its edge, share of the side.
STATED_EDGE = 1 / 3
TRUE_EDGE = 2 / 5
# The middle reaches so far to each side of the picture's middle.
STATED_MIDDLE = 1 / 10
TRUE_MIDDLE = 1 / 6

LONGEST = 14  # words of a description
_SIZE_SHARE = 0.3  # of objects whose size a description states
# Share of each kind of statement among descriptions of scenes with several objects, and with one.
_KINDS_OF_SEVERAL = {"relation": 0.36, "place": 0.16, "count": 0.12, "plain": 0.36}
_KINDS_OF_ONE = {"place": 0.3, "plain": 0.7}
_FORMS_OF = {
    kind: tuple(form for form in FORMS if form.kind == kind) for kind in _KINDS_OF_SEVERAL
}
_OFFSETS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun of a caption and the objects it can speak of.

    Attributes:
      word_index: the noun's position among the caption's words.
      matches: indices of the scene's objects; empty when none fits.
      exists: whether an object of that shape and colour is in the scene, whatever its size.
    """

    word_index: int
    matches: tuple[int, ...]
    exists: bool = True


@dataclass(frozen=True, slots=True)
class Caption:
    """A true description: its words, and which of them speaks of which object."""

    words: tuple[str, ...]
    mentions: tuple[Mention, ...]

    @property
    def text(self) -> str:
        """The words, with a space between."""
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's answer.

    Attributes:
      grammatical: whether the caption is one of the grammar's.
      true: whether it is grammatical and true of the scene.
      kind: "relation", "place", "count" or "plain": what it states besides objects; "" when it
        is not grammatical.
      mentions: its nouns in order. Of a true caption, their matches are the objects that can
        play that part in it; of another, those of the shape and colour named.
    """

    grammatical: bool
    true: bool
    kind: str
    mentions: tuple[Mention, ...]

    @property
    def relational(self) -> bool:
        """Whether the caption states a relation between objects."""
        return self.kind == "relation"


def judge(words: Sequence[str], scene: Scene) -> Verdict:
    """Whether a caption is true of a scene; takes any words and never raises.

    True means: distinct objects can be found for its nouns, of the shape, colour and size named,
    so that each relation and place holds; counts are exact.
    """
    reading = read(words)
    if reading is None:
        return Verdict(False, False, "", ())
    casts = list(_true_casts(reading, scene))
    mentions = []
    for part, phrase in enumerate(reading.phrases):
        kin = tuple(i for i, thing in enumerate(scene.objects) if _is_kind(thing, phrase))
        able = {index for cast in casts for index in cast[part]}
        mentions.append(Mention(phrase.word_index, tuple(sorted(able)) or kin, bool(kin)))
    return Verdict(True, bool(casts), reading.kind, tuple(mentions))


def _is_kind(thing: SceneObject, phrase: NounPhrase) -> bool:
    return (thing.shape, thing.colour) == (phrase.shape, phrase.colour)


def _true_casts(reading: Reading, scene: Scene) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Every way of giving each phrase its objects so that the caption is true."""
    choices = [_candidates(phrase, scene) for phrase in reading.phrases]
    for cast in itertools.product(*choices):
        used = [index for part in cast for index in part]
        if len(set(used)) == len(used) and _holds(reading, cast, scene):
            yield cast


def _candidates(phrase: NounPhrase, scene: Scene) -> list[tuple[int, ...]]:
    """The sets of objects that fit a phrase by themselves."""
    fitting = tuple(
        index
        for index, thing in enumerate(scene.objects)
        if _is_kind(thing, phrase) and phrase.size in (None, thing.size)
    )
    if phrase.count is None:
        return [(index,) for index in fitting]
    return [fitting] if len(fitting) == phrase.count else []


def _holds(reading: Reading, cast: Sequence[tuple[int, ...]], scene: Scene) -> bool:
    """Whether the reading's relations and places hold of the objects cast."""
    # Only phrases of a single object stand in relations and places.
    centres = [_centre(scene, part[0]) for part in cast]
    return all(
        _offset(centres[first], centres[second], relation)[0] >= TRUE_MARGIN
        for first, relation, second in reading.relations
    ) and all(
        _is_at(centres[part], place, TRUE_EDGE, TRUE_MIDDLE) for part, place in reading.places
    )


def _centre(scene: Scene, index: int) -> tuple[float, float]:
    """An object's centre as shares of the side."""
    x, y = scene.objects[index].centre
    return x / scene.size, y / scene.size


def _offset(
    first: tuple[float, float], second: tuple[float, float], relation: str
) -> tuple[float, float]:
    """How far `first` lies from `second` in the relation's direction, and across it."""
    right, down = _OFFSETS[relation]
    x, y = first[0] - second[0], first[1] - second[1]
    return x * right + y * down, abs(x * down) + abs(y * right)


def _is_at(
    centre: tuple[float, float],
    place: tuple[str | None, str | None],
    edge: float,
    middle: float,
) -> bool:
    for at, part in zip(centre, place, strict=True):
        if part in ("left", "top"):
            inside = at <= edge
        elif part in ("right", "bottom"):
            inside = at >= 1 - edge
        else:
            inside = part is None or abs(at - 0.5) <= middle
        if not inside:
            return False
    return True


def describe(scene: Scene, rng: np.random.Generator) -> Caption:
    """A caption of at most `LONGEST` words that is clearly true of the scene.

    A kind of statement that the scene does not offer gives way to one that it does, a plain one
    at last.
    """
    kinds = _KINDS_OF_ONE if len(scene.objects) == 1 else _KINDS_OF_SEVERAL
    kind = str(rng.choice(list(kinds), p=list(kinds.values())))
    while True:
        for fallback in (kind, "relation", "place", "plain"):
            statement = _state(fallback, scene, rng)
            if statement is not None:
                break
        assert statement is not None  # an object can always be named plainly
        form, meanings, casts = statement
        words, nouns = write(form, meanings, rng)
        if len(words) <= LONGEST:
            mentions = (Mention(noun, cast) for noun, cast in zip(nouns, casts, strict=True))
            return Caption(words, tuple(mentions))


_Statement = tuple[Form, list[Any], list[tuple[int, ...]]]


def _state(kind: str, scene: Scene, rng: np.random.Generator) -> _Statement | None:
    """A form of that kind with meanings that are clearly true, and the objects it speaks of."""
    forms = list(_FORMS_OF[kind])
    while forms:
        weights = np.array([form.weight for form in forms])
        form = forms.pop(int(rng.choice(len(forms), p=weights / weights.sum())))
        casts = _cast(form, scene, rng)
        if casts is not None:
            return form, _meanings(form, casts, scene, rng), casts
    return None


def _cast(form: Form, scene: Scene, rng: np.random.Generator) -> list[tuple[int, ...]] | None:
    """Objects for each noun phrase of a form, so that it can be filled with what is clearly so."""
    slots = [slot for slot in form.slots if slot in (Slot.ONE, Slot.ALONE, Slot.MANY)]
    kinds = _kinds(scene)
    choices: list[list[tuple[int, ...]]] = []
    for slot in slots:
        if slot is Slot.MANY:
            choices.append([kind for kind in kinds if len(kind) > 1])
        elif slot is Slot.ALONE:
            choices.append([kind for kind in kinds if len(kind) == 1])
        else:
            choices.append([(index,) for index in range(len(scene.objects))])
    casts = [
        list(cast)
        for cast in itertools.product(*choices)
        if len({index for part in cast for index in part}) == sum(map(len, cast))
        and _is_clear(form, cast, scene)
    ]
    return casts[int(rng.integers(len(casts)))] if casts else None


def _kinds(scene: Scene) -> list[tuple[int, ...]]:
    """The objects by shape and colour."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, thing in enumerate(scene.objects):
        kinds.setdefault((thing.shape, thing.colour), []).append(index)
    return [tuple(kind) for kind in kinds.values()]


def _is_clear(form: Form, cast: Sequence[tuple[int, ...]], scene: Scene) -> bool:
    relations = form.slots.count(Slot.RELATION)
    return all(
        _relation(scene, cast[0][0], other[0]) is not None for other in cast[1 : 1 + relations]
    ) and all(_places(scene, part[0]) for part in cast[: form.slots.count(Slot.PLACE)])


def _relation(scene: Scene, first: int, second: int) -> str | None:
    """How the first object clearly lies from the second; None when it is not clear."""
    for relation in _OFFSETS:
        along, across = _offset(_centre(scene, first), _centre(scene, second), relation)
        if along >= STATED_MARGIN and along > across:
            return relation
    return None


def _places(scene: Scene, index: int) -> list[tuple[str | None, str | None]]:
    """The places of the picture in which an object clearly lies."""
    centre = _centre(scene, index)
    places = PHRASES[Slot.PLACE]
    return [place for place in places if _is_at(centre, place, STATED_EDGE, STATED_MIDDLE)]


def _meanings(
    form: Form, casts: Sequence[tuple[int, ...]], scene: Scene, rng: np.random.Generator
) -> list[Any]:
    """What each slot that bears a meaning is to say of its objects."""
    meanings: list[Any] = []
    phrases = iter(casts)
    relations = (_relation(scene, casts[0][0], other[0]) for other in casts[1:])
    places = iter(casts)
    for slot in form.slots:
        if slot in (Slot.ONE, Slot.ALONE, Slot.MANY):
            meanings.append(_noun_phrase(slot, next(phrases), scene, rng))
        elif slot is Slot.RELATION:
            meanings.append(next(relations))
        elif slot is Slot.PLACE:
            offered = _places(scene, next(places)[0])
            meanings.append(offered[int(rng.integers(len(offered)))])
    return meanings


def _noun_phrase(
    slot: Slot, part: tuple[int, ...], scene: Scene, rng: np.random.Generator
) -> NounPhrase:
    thing = scene.objects[part[0]]
    sizes = {scene.objects[index].size for index in part}
    # A count with a size says how many there are of that size: stated only of all of a kind.
    stated = len(sizes) == 1 and rng.random() < _SIZE_SHARE
    count = None if slot is Slot.ONE else len(part)
    return NounPhrase(thing.shape, thing.colour, thing.size if stated else None, count)


def _cast(form: Form, scene: Scene, rng: np.random.Generator) -> list[tuple[int, ...]] | None:
    """Objects for each phrase of a form that make it clearly true; None when there are none."""
    options = [_options(slot, scene) for slot in form.slots if slot in OBJECT_SLOTS]
    casts = [
        list(cast)
        for cast in itertools.product(*options)
        if len({index for part in cast for index in part}) == sum(map(len, cast))
        and _is_clear(form, cast, scene)
    ]
    return casts[int(rng.integers(len(casts)))] if casts else None


def _options(slot: Slot, scene: Scene) -> list[tuple[int, ...]]:
    """The sets of objects that a slot's phrase can speak of."""
    if slot is Slot.ONE:
        return [(index,) for index in range(len(scene.objects))]
    groups: dict[tuple[str, str], tuple[int, ...]] = {}
    for index, thing in enumerate(scene.objects):
        kind = (thing.shape, thing.colour)
        groups[kind] = (*groups.get(kind, ()), index)
    return [group for group in groups.values() if (len(group) > 1) == (slot is Slot.MANY)]


def _is_clear(form: Form, cast: Sequence[tuple[int, ...]], scene: Scene) -> bool:
    centres = [_centre(scene, part[0]) for part in cast]
    if form.kind == "relation":
        return all(_clear_relation(centres[0], other) for other in centres[1:])
    return form.kind != "place" or all(_clear_places(centre) for centre in centres)


def _clear_relation(first: tuple[float, float], second: tuple[float, float]) -> str | None:
    for relation in _OFFSETS:
        along, across = _offset(first, second, relation)
        if along >= STATED_MARGIN and along > across:
            return relation
    return None


def _clear_places(centre: tuple[float, float]) -> list[tuple[str | None, str | None]]:
    places = PHRASES[Slot.PLACE]
    return [place for place in places if _is_at(centre, place, STATED_EDGE, STATED_MIDDLE)]


def _meanings(
    form: Form, casts: Sequence[tuple[int, ...]], scene: Scene, rng: np.random.Generator
) -> list[Any]:
    """The meanings of a form's slots, in order, once it is clear what they speak of."""
    centres = [_centre(scene, cast[0]) for cast in casts]
    parts = iter(range(len(casts)))
    places = iter(centres)
    others = iter(centres[1:])
    meanings: list[Any] = []
    for slot in form.slots:
        if slot in OBJECT_SLOTS:
            meanings.append(_noun_phrase(slot, casts[next(parts)], scene, rng))
        elif slot is Slot.RELATION:
            meanings.append(_clear_relation(centres[0], next(others)))
        elif slot is Slot.PLACE:
            clear = _clear_places(next(places))
            meanings.append(clear[int(rng.integers(len(clear)))])
    return meanings


def _noun_phrase(
    slot: Slot, cast: tuple[int, ...], scene: Scene, rng: np.random.Generator
) -> NounPhrase:
    thing = scene.objects[cast[0]]
    alike = all(scene.objects[index].size == thing.size for index in cast)
    size = thing.size if alike and rng.random() < _SIZE_SHARE else None
    return NounPhrase(thing.shape, thing.colour, size, None if slot is Slot.ONE else len(cast))
