"""Descriptions of the embedded data set, and the judge of any caption."""

import collections
import dataclasses

import numpy as np
import pytest

from sat_tf.shapes.judge import describe, judge
from sat_tf.shapes.language import every_word, read
from sat_tf.shapes.scenes import Background, Scene, SceneObject, make_scene

SCENES = [make_scene(7, index, 64) for index in range(1000)]


def true(caption, scene):
    return judge(caption.split(), scene).true


@pytest.fixture(scope="module")
def described():
    """(scene, caption) pairs, five captions a scene."""
    random = np.random.default_rng(0)
    return [(scene, describe(scene, random)) for scene in SCENES for _ in range(5)]


@pytest.fixture(scope="module")
def scene():
    """Top left a large red circle, top right a small red circle, bottom a small blue star."""
    ground = Background("flat", (120, 120, 120), (120, 120, 120), 0.0, 0.2, 0)

    def thing(shape, colour, size, left, top, width):
        return SceneObject(shape, colour, size, (0, 0, 0), (left, top, left + width, top + width))

    return Scene(
        100,
        ground,
        (
            thing("circle", "red", "large", 5, 5, 30),
            thing("circle", "red", "small", 70, 10, 20),
            thing("star", "blue", "small", 40, 75, 20),
        ),
    )


def test_descriptions_are_true_of_their_scene(described):
    false = [caption.text for scene, caption in described if not judge(caption.words, scene).true]
    assert not false


def test_descriptions_are_false_of_other_scenes(described):
    others = [scene for scene, _ in described[5:] + described[:5]]
    true = [
        judge(caption.words, other).true
        for (_, caption), other in zip(described, others, strict=True)
    ]
    assert np.mean(true) < 0.15


def test_descriptions_name_the_objects_they_speak_of(described):
    for scene, caption in described:
        for mention, judged in zip(
            caption.mentions, judge(caption.words, scene).mentions, strict=True
        ):
            assert mention.word_index == judged.word_index
            assert set(mention.matches) <= set(judged.matches)


def test_half_the_captions_of_several_objects_say_more_than_what_is_there(described):
    kinds = collections.Counter(
        judge(caption.words, scene).kind for scene, caption in described if len(scene.objects) > 1
    )
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert shares["plain"] <= 0.5
    assert shares["relation"] >= 0.25
    assert shares["place"] >= 0.1
    assert shares["count"] >= 0.03


def test_every_word_is_in_use(described):
    used = {word for _, caption in described for word in caption.words}
    assert len(used) >= 60
    assert used == every_word()


def test_captions_are_short(described):
    lengths = [len(caption.words) for _, caption in described]
    assert min(lengths) >= 3
    assert max(lengths) <= 14


def test_descriptions_count_what_is_there_twice(described):
    for _, caption in described:
        reading = read(caption.words)
        if reading.kind in ("plain", "count"):
            named = [(phrase.shape, phrase.colour) for phrase in reading.phrases]
            assert len(set(named)) == len(named)


def test_descriptions_state_only_what_is_clearly_so(described):
    steps = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
    stated = 0
    for scene, caption in described:
        for first, relation, second in read(caption.words).relations:
            (one,), (other,) = caption.mentions[first].matches, caption.mentions[second].matches
            offset = np.subtract(scene.objects[one].centre, scene.objects[other].centre)
            along = offset @ steps[relation]
            across = np.abs(offset).sum() - abs(along)
            assert along >= 0.2 * scene.size
            assert along > across
            stated += 1
    assert stated > 1000


def test_descriptions_are_a_function_of_the_seed():
    def texts(seed):
        random = np.random.default_rng(seed)
        return [describe(scene, random).text for scene in SCENES[:50]]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


@pytest.mark.parametrize(
    ("caption", "true"),
    [
        ("a red circle", True),
        ("a big red disc", True),
        ("a tiny blue star", True),
        ("a large blue star", False),
        ("a green circle", False),
        ("a red star", False),
        ("two red circles", True),
        ("three red circles", False),
        ("an orange circle", False),
        ("two small red circles", False),
        ("one blue star and two red circles", True),
        ("a red circle and a red circle", True),
        ("a blue star and a blue star", False),
        ("a red circle is above a blue star", True),
        ("a red circle is below a blue star", False),
        ("a blue star is beneath a red circle", True),
        ("a large red circle is left of a small red circle", True),
        ("a small red circle is left of a large red circle", False),
        ("a red circle is to the right of a blue star", True),
        ("a blue star at the bottom", True),
        ("a blue star at the top", False),
        ("a red circle in the upper right corner", True),
        ("a blue star in the middle", False),
    ],
)
def test_the_judge_on_grammatical_captions(scene, caption, true):
    verdict = judge(caption.split(), scene)
    assert verdict.grammatical
    assert verdict.true is true


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "circle",
        "red circle",
        "a circle",
        "a red",
        "an red circle",
        "a orange circle",
        "a red circles",
        "two red circle",
        "one red circles",
        "a red circle a blue star",
        "a red circle and",
        "a red circle is",
        "a red circle above",
        "a red red circle",
        "there is something red",
        "there are a red circle",
        "<unk> red circle",
        "three objects",
    ],
)
def test_what_is_ungrammatical_is_false(scene, caption):
    verdict = judge(caption.split(), scene)
    assert not verdict.grammatical
    assert not verdict.true


@pytest.mark.parametrize(
    ("caption", "mentions"),
    [
        # Of a true caption: the objects that can play that part in it.
        ("a red circle", [(2, (0, 1), True)]),
        ("a small red circle", [(3, (1,), True)]),
        ("two red circles", [(2, (0, 1), True)]),
        ("a red circle is left of a blue star", [(2, (0,), True), (8, (2,), True)]),
        ("a red circle on the right", [(2, (1,), True)]),
        # Of another: those of that shape and colour, if there are any.
        ("a red circle is below a blue star", [(2, (0, 1), True), (7, (2,), True)]),
        ("a large blue star", [(3, (2,), True)]),
        ("a green heart and a red circle", [(2, (), False), (6, (0, 1), True)]),
        ("four red circles", [(2, (0, 1), True)]),
        ("there is something red", []),
    ],
)
def test_the_judge_says_which_objects_a_noun_speaks_of(scene, caption, mentions):
    verdict = judge(caption.split(), scene)
    assert [(m.word_index, m.matches, m.exists) for m in verdict.mentions] == mentions


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("a red circle with a blue star", "plain"),
        ("we see two red circles", "count"),
        ("at the top there is a red circle", "place"),
        ("a red circle lies under a blue star", "relation"),
        ("red", ""),
    ],
)
def test_the_judge_says_what_a_caption_states(scene, caption, kind):
    verdict = judge(caption.split(), scene)
    assert verdict.kind == kind
    assert verdict.relational == (kind == "relation")


def test_counts_are_exact(scene):
    third = dataclasses.replace(scene.objects[0], box=(70, 70, 90, 90), size="small")
    three = dataclasses.replace(scene, objects=(*scene.objects, third))
    captions = "two red circles", "three red circles", "two small red circles", "one blue star"
    assert [true(f"{c} and a blue star", three) for c in captions] == [False, True, True, False]
    assert not true("one red circle and two red circles", three)


@pytest.mark.parametrize(("offset", "expected"), [(9, False), (11, True), (40, True)])
def test_a_relation_is_true_from_a_tenth_of_the_side_on(scene, offset, expected):
    first = dataclasses.replace(scene.objects[1], box=(10, 10, 30, 30))
    second = dataclasses.replace(scene.objects[2], box=(10 + offset, 70, 30 + offset, 90))
    moved = dataclasses.replace(scene, objects=(first, second))
    assert true("a red circle left of a blue star", moved) is expected
    assert true("a blue star to the right of a red circle", moved) is expected
    assert not true("a blue star left of a red circle", moved)


@pytest.mark.parametrize(
    ("x", "y", "places"),
    [
        (20, 20, {"at the left", "at the top", "at the top left"}),
        (39, 50, {"at the left", "in the middle"}),
        (41, 50, {"in the middle"}),
        (50, 68, {"at the bottom"}),
        (61, 39, {"at the right", "at the top", "at the top right", "in the middle"}),
    ],
)
def test_a_place_is_true_where_the_centre_lies(scene, x, y, places):
    thing = dataclasses.replace(scene.objects[1], box=(x - 10, y - 10, x + 10, y + 10))
    moved = dataclasses.replace(scene, objects=(thing,))
    sides = "left", "right", "top", "bottom", "top left", "top right", "bottom left", "bottom right"
    every = ["in the middle", *(f"at the {side}" for side in sides)]
    places_true = {place for place in every if true(f"a red circle {place}", moved)}
    assert places_true == places
