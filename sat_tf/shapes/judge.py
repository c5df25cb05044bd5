"""Captions and their scenes: true captions, a judge of any caption, the objects that it mentions.

A generated caption states only what is clearly so (the STATED constants); the judge tolerates a
little more (the TRUE constants), so that no generated caption is a borderline case.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sat_tf.data.objects import Box, NamedBox, ObjectBoxes
from sat_tf.shapes import language
from sat_tf.shapes.language import MANY, OBJECT_SLOTS, ONE, Form, NounPhrase, Position
from sat_tf.shapes.scenes import Scene, choose

# A is left of B if its centre is at least this far to the left of B's, as a fraction of the side.
# To be stated, the offset must also be larger than the one up or down.
STATED_MARGIN = 0.2
TRUE_MARGIN = 0.1
# Width of the outer columns and rows of the picture, fraction of the side.
STATED_EDGE = 1 / 3
TRUE_EDGE = 2 / 5
# Half the width of the middle column and row.
STATED_MIDDLE = 1 / 10
TRUE_MIDDLE = 1 / 6

MAX_WORDS = 14  # of a generated caption
_STATED_SIZES = 0.3  # fraction of objects whose size a generated caption states
# Probability of each kind of statement for scenes with several objects, and with one.
_KINDS_OF_SEVERAL = {"relation": 0.36, "position": 0.16, "count": 0.12, "plain": 0.36}
_KINDS_OF_ONE = {"position": 0.3, "plain": 0.7}
# Unit vector (right, down) of each relation.
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}

# For each noun phrase, the indices of the objects that it refers to.
_Referents = tuple[tuple[int, ...], ...]


class Mention(NamedTuple):
    """A noun of a caption and the objects that it may refer to."""

    word_index: int  # of the noun among the caption's words
    matches: tuple[int, ...]  # indices of the scene's objects; empty if none fits
    exists: bool = True  # whether the scene has an object of that shape and colour, of any size


class Caption(NamedTuple):
    """A true caption: its words, and the objects that its nouns refer to."""

    words: tuple[str, ...]
    mentions: tuple[Mention, ...]

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(self.words)


class Judgement(NamedTuple):
    """Whether a caption is true of a scene."""

    true: bool  # it is grammatical, too
    kind: str  # "relation", "position", "count" or "plain", see `Form`; "" if it is no sentence
    # Of its nouns in order: the objects that make it true, or else those of the shape and colour.
    mentions: tuple[Mention, ...]

    @property
    def relational(self) -> bool:
        """Whether the caption states a relation between objects."""
        return self.kind == "relation"


def judge(words: Sequence[str], scene: Scene) -> Judgement:
    """Judge whether a caption, of any words, is true of a scene.

    True means: there are distinct objects for its nouns, of the shape, colour and size named, such
    that each relation and position holds; counts are exact.
    """
    reading = language.read(words)
    if reading is None:
        return Judgement(False, "", ())
    phrases = reading.of(*OBJECT_SLOTS)
    fitting = [_fitting(phrase, scene) for phrase in phrases]
    stated = reading.of("relation"), reading.of("position")
    true = [found for found in _distinct(fitting) if _holds(*stated, found, scene)]
    mentions = []
    for number, (phrase, noun) in enumerate(zip(phrases, reading.nouns, strict=True)):
        kind = objects_of_kind(scene, (phrase.shape, phrase.colour))
        matches = {index for found in true for index in found[number]}
        mentions.append(Mention(noun, tuple(sorted(matches)) or kind, bool(kind)))
    return Judgement(bool(true), reading.form.kind, tuple(mentions))


def objects_of_kind(scene: Scene, kind: tuple[str | None, str | None]) -> tuple[int, ...]:
    """Return the indices of the scene's objects of that shape and colour."""
    return tuple(index for index, thing in enumerate(scene.objects) if thing.kind == kind)


def _fitting(phrase: NounPhrase, scene: Scene) -> list[tuple[int, ...]]:
    """Return the sets of objects that fit a noun phrase by itself."""
    fitting = tuple(
        index
        for index in objects_of_kind(scene, (phrase.shape, phrase.colour))
        if phrase.size in (None, scene.objects[index].size)
    )
    if phrase.count is None:
        return [(index,) for index in fitting]
    return [fitting] if len(fitting) == phrase.count else []


def _distinct(sets: Sequence[Sequence[tuple[int, ...]]]) -> Iterator[_Referents]:
    """Yield every choice of one set for each phrase that uses no object twice."""
    for referents in itertools.product(*sets):
        indices = [index for part in referents for index in part]
        if len(set(indices)) == len(indices):
            yield referents


def _holds(
    relations: Sequence[str], positions: Sequence[Position], referents: _Referents, scene: Scene
) -> bool:
    """Return whether the relations of the first object, and the positions of all, hold."""
    # Only phrases that refer to a single object have relations and positions.
    first, *others = indices = [part[0] for part in referents]
    return all(
        _offset(scene, first, other, relation)[0] >= TRUE_MARGIN
        for other, relation in zip(others, relations, strict=False)
    ) and all(
        _is_at(scene, index, position, TRUE_EDGE, TRUE_MIDDLE)
        for index, position in zip(indices, positions, strict=False)
    )


def _centre(scene: Scene, index: int) -> tuple[float, float]:
    """Return an object's centre (x, y) as fractions of the side."""
    x, y = scene.objects[index].centre
    return x / scene.size, y / scene.size


def _offset(scene: Scene, first: int, second: int, relation: str) -> tuple[float, float]:
    """Return the offset of an object from another along a relation's direction, and across it."""
    right, down = _DIRECTIONS[relation]
    x, y = (a - b for a, b in zip(_centre(scene, first), _centre(scene, second), strict=True))
    return x * right + y * down, abs(x * down) + abs(y * right)


def _is_at(scene: Scene, index: int, position: Position, edge: float, middle: float) -> bool:
    """Return whether an object's centre is in a column and row of the picture."""
    return all(
        part is None
        or (part in ("left", "top") and at <= edge)
        or (part in ("right", "bottom") and at >= 1 - edge)
        or (part == "middle" and abs(at - 0.5) <= middle)
        for at, part in zip(_centre(scene, index), position, strict=True)
    )


def describe(scene: Scene, rng: np.random.Generator) -> Caption:
    """Generate a caption of at most `MAX_WORDS` words that is clearly true of the scene.

    If the scene allows no statement of the kind chosen, another kind is stated instead.
    """
    kinds = _KINDS_OF_ONE if len(scene.objects) == 1 else _KINDS_OF_SEVERAL
    kind = str(rng.choice(list(kinds), p=list(kinds.values())))
    while True:
        attempts = (_state(each, scene, rng) for each in (kind, "relation", "position", "plain"))
        form, referents, clear = next(filter(None, attempts))  # any scene has a plain statement
        parts = iter(referents)
        meanings = [
            _noun_phrase(slot, next(parts), scene, rng)
            if slot in OBJECT_SLOTS
            else choose(options, rng)
            for slot, options in zip(form.slots, clear, strict=True)
        ]
        words, nouns = language.write(form, meanings, rng)
        if len(words) <= MAX_WORDS:
            return Caption(words, tuple(map(Mention, nouns, referents)))


def _state(
    kind: str, scene: Scene, rng: np.random.Generator
) -> tuple[Form, _Referents, list[list[Any]]] | None:
    """Choose a form of that kind, and objects of which it can state something clearly true."""
    forms = [form for form in language.FORMS if form.kind == kind]
    while forms:
        weights = np.array([form.weight for form in forms])
        form = forms.pop(int(rng.choice(len(forms), p=weights / weights.sum())))
        sets = [_referred(slot, scene) for slot in form.slots if slot in OBJECT_SLOTS]
        found = [
            (form, referents, clear)
            for referents in _distinct(sets)
            if all(clear := _clear_meanings(form, referents, scene))
        ]
        if found:
            return choose(found, rng)
    return None


def _referred(slot: str, scene: Scene) -> list[tuple[int, ...]]:
    """Return the sets of objects that a slot's noun phrase can refer to."""
    if slot == ONE:
        return [(index,) for index in range(len(scene.objects))]
    kinds = dict.fromkeys(objects_of_kind(scene, thing.kind) for thing in scene.objects)
    return [kind for kind in kinds if (len(kind) > 1) == (slot == MANY)]


def _clear_meanings(form: Form, referents: _Referents, scene: Scene) -> list[list[Any]]:
    """Return what each slot can clearly state of these objects: nothing, if its list is empty."""
    indices = [part[0] for part in referents]
    kinds = {scene.objects[index].kind for index in indices}
    if form.kind in ("plain", "count") and len(kinds) < len(indices):
        return [[]]  # "a red circle and a red circle" is true of two, but unnatural
    positioned, related = iter(indices), iter(indices[1:])
    meanings: list[list[Any]] = []
    for slot in form.slots:
        if slot == "relation":
            meanings.append(_clear_relations(scene, indices[0], next(related)))
        elif slot == "position":
            meanings.append(_clear_positions(scene, next(positioned)))
        else:
            meanings.append([None])
    return meanings


def _clear_relations(scene: Scene, first: int, second: int) -> list[str]:
    """Return the relation of the first object to the second, if one is clear."""
    for relation in _DIRECTIONS:
        along, across = _offset(scene, first, second, relation)
        if along >= STATED_MARGIN and along > across:
            return [relation]
    return []


def _clear_positions(scene: Scene, index: int) -> list[Position]:
    """Return the positions in the picture that an object clearly has."""
    positions = language.PHRASES["position"]
    return [each for each in positions if _is_at(scene, index, each, STATED_EDGE, STATED_MIDDLE)]


def _noun_phrase(
    slot: str, part: tuple[int, ...], scene: Scene, rng: np.random.Generator
) -> NounPhrase:
    thing = scene.objects[part[0]]
    # "Two small red circles" counts the small ones only: stated if all of them are small.
    same_size = len({scene.objects[index].size for index in part}) == 1
    size = thing.size if same_size and rng.random() < _STATED_SIZES else None
    return NounPhrase(thing.shape, thing.colour, size, None if slot == ONE else len(part))


@dataclasses.dataclass(frozen=True)
class SceneObjects(ObjectBoxes):
    """The objects of a scene, and the scene itself."""

    scene: Scene


def scene_objects(scene: Scene) -> SceneObjects:
    """Return the objects of a scene, named by colour and shape."""
    names = [f"{thing.colour} {thing.shape}" for thing in scene.objects]
    objects = [*map(NamedBox, names, object_boxes(scene))]
    mentions = functools.partial(_mentions, scene)
    return SceneObjects(scene.size, scene.size, objects, mentions, scene)


def _mentions(scene: Scene, words: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """See `sat_tf.data.objects.Mentions`."""
    named = named_objects(words, scene)
    return {mention.word_index: mention.matches for mention in named if mention.exists}


def object_boxes(scene: Scene) -> list[Box]:
    """Return the boxes of the scene's objects as fractions of its sides."""
    edges = ([edge / scene.size for edge in thing.box] for thing in scene.objects)
    return [Box(top, left, bottom, right) for left, top, right, bottom in edges]


def named_objects(words: Sequence[str], scene: Scene) -> list[Mention]:
    """Return the mentions of objects in a caption, grammatical or not.

    A colour followed by a shape names an object.
    """
    judged = {mention.word_index: mention.matches for mention in judge(words, scene).mentions}
    named = []
    for index, (before, noun) in enumerate(itertools.pairwise(words), start=1):
        shape, colour = language.SHAPE_OF.get(noun), language.COLOUR_OF.get(before)
        if shape and colour:
            kind = objects_of_kind(scene, (shape, colour))
            # In a true caption, size and position tell apart objects of the same kind.
            named.append(Mention(index, judged.get(index, kind), bool(kind)))
    return named
