"""What is true of a scene: captions that describe it, and a judge of any caption.

A description states only what is clearly so (the STATED constants); the judge is a little more
tolerant (the TRUE constants), so that no description is judged by a hair's breadth.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sat_tf.shapes.scenes import Scene, SceneObject
from sat_tf.shapes.words import (
    FORMS,
    OBJECT_SLOTS,
    PHRASES,
    Form,
    NounPhrase,
    Place,
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
# Unit steps of each relation, to the right and downwards.
_OFFSETS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}

_Cast = tuple[tuple[int, ...], ...]  # for each noun phrase, the objects it speaks of


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
class Status:
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


def judge(words: Sequence[str], scene: Scene) -> Status:
    """Whether a caption is true of a scene; takes any words and never raises.

    True means: distinct objects can be found for its nouns, of the shape, colour and size named,
    so that each relation and place holds; counts are exact.
    """
    reading = read(words)
    if reading is None:
        return Status(False, False, "", ())
    casts = list(_true_casts(reading, scene))
    mentions = []
    for part, phrase in enumerate(reading.phrases):
        kin = tuple(i for i, thing in enumerate(scene.objects) if _is_kind(thing, phrase))
        able = {index for cast in casts for index in cast[part]}
        mentions.append(Mention(phrase.word_index, tuple(sorted(able)) or kin, bool(kin)))
    return Status(True, bool(casts), reading.kind, tuple(mentions))


def _is_kind(thing: SceneObject, phrase: NounPhrase) -> bool:
    return (thing.shape, thing.colour) == (phrase.shape, phrase.colour)


def _true_casts(reading: Reading, scene: Scene) -> Iterator[_Cast]:
    """Every way of giving each phrase its objects so that the caption is true."""
    choices = [_candidates(phrase, scene) for phrase in reading.phrases]
    for cast in itertools.product(*choices):
        if _is_disjoint(cast) and _holds(reading, cast, scene):
            yield cast


def _is_disjoint(cast: _Cast) -> bool:
    return len({index for part in cast for index in part}) == sum(map(len, cast))


def _candidates(phrase: NounPhrase, scene: Scene) -> list[tuple[int, ...]]:
    """The sets of objects that fit a noun phrase, seen by itself."""
    fitting = tuple(
        index
        for index, thing in enumerate(scene.objects)
        if _is_kind(thing, phrase) and phrase.size in (None, thing.size)
    )
    if phrase.count is None:
        return [(index,) for index in fitting]
    return [fitting] if len(fitting) == phrase.count else []


def _holds(reading: Reading, cast: _Cast, scene: Scene) -> bool:
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
    place: Place,
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
        attempts = (_state(each, scene, rng) for each in (kind, "relation", "place", "plain"))
        form, meanings, cast = next(filter(None, attempts))  # any scene has a plain statement
        words, nouns = write(form, meanings, rng)
        if len(words) <= LONGEST:
            mentions = (Mention(noun, part) for noun, part in zip(nouns, cast, strict=True))
            return Caption(words, tuple(mentions))


def _state(
    kind: str, scene: Scene, rng: np.random.Generator
) -> tuple[Form, list[Any], _Cast] | None:
    """A form of that kind with meanings that are clearly true, and the objects it speaks of."""
    forms = [form for form in FORMS if form.kind == kind]
    while forms:
        weights = np.array([form.weight for form in forms])
        form = forms.pop(int(rng.choice(len(forms), p=weights / weights.sum())))
        options = [_options(slot, scene) for slot in form.slots if slot in OBJECT_SLOTS]
        casts = [
            cast
            for cast in itertools.product(*options)
            if _is_disjoint(cast) and _is_clear(form, cast, scene)
        ]
        if casts:
            cast = casts[int(rng.integers(len(casts)))]
            return form, _meanings(form, cast, scene, rng), cast
    return None


def _options(slot: Slot, scene: Scene) -> list[tuple[int, ...]]:
    """The sets of objects that a slot's noun phrase can speak of."""
    if slot is Slot.ONE:
        return [(index,) for index in range(len(scene.objects))]
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, thing in enumerate(scene.objects):
        kinds.setdefault((thing.shape, thing.colour), []).append(index)
    return [tuple(kind) for kind in kinds.values() if (len(kind) > 1) == (slot is Slot.MANY)]


def _is_clear(form: Form, cast: _Cast, scene: Scene) -> bool:
    """Whether the form can say something clearly true of these objects."""
    if form.kind == "relation":
        return all(_clear_relation(scene, cast[0][0], other[0]) for other in cast[1:])
    if form.kind == "place":
        return all(_clear_places(scene, part[0]) for part in cast)
    # "A red circle and a red circle" is true of two, but nobody says so.
    things = [scene.objects[part[0]] for part in cast]
    return len({(thing.shape, thing.colour) for thing in things}) == len(things)


def _clear_relation(scene: Scene, first: int, second: int) -> str | None:
    """How the first object clearly lies as seen from the second; None when it is not clear."""
    for relation in _OFFSETS:
        along, across = _offset(_centre(scene, first), _centre(scene, second), relation)
        if along >= STATED_MARGIN and along > across:
            return relation
    return None


def _clear_places(scene: Scene, index: int) -> list[Place]:
    """The places of the picture in which an object clearly lies."""
    centre = _centre(scene, index)
    places = PHRASES[Slot.PLACE]
    return [place for place in places if _is_at(centre, place, STATED_EDGE, STATED_MIDDLE)]


def _meanings(form: Form, cast: _Cast, scene: Scene, rng: np.random.Generator) -> list[Any]:
    """What each slot that bears a meaning is to say of its objects."""
    meanings: list[Any] = []
    parts, placed, others = iter(cast), iter(cast), iter(cast[1:])
    for slot in form.slots:
        if slot in OBJECT_SLOTS:
            meanings.append(_noun_phrase(slot, next(parts), scene, rng))
        elif slot is Slot.RELATION:
            meanings.append(_clear_relation(scene, cast[0][0], next(others)[0]))
        elif slot is Slot.PLACE:
            clear = _clear_places(scene, next(placed)[0])
            meanings.append(clear[int(rng.integers(len(clear)))])
    return meanings


def _noun_phrase(
    slot: Slot, part: tuple[int, ...], scene: Scene, rng: np.random.Generator
) -> NounPhrase:
    thing = scene.objects[part[0]]
    # "Two small red circles" would count the small ones only: said when all of them are small.
    alike = len({scene.objects[index].size for index in part}) == 1
    size = thing.size if alike and rng.random() < _SIZE_SHARE else None
    return NounPhrase(thing.shape, thing.colour, size, None if slot is Slot.ONE else len(part))
