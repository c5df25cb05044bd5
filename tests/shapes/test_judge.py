"""Generated captions of the embedded data set, and the judge of any caption."""

import collections
import dataclasses

import numpy as np
import pytest
from scene_examples import EVERY_WORD

from sat_tf.shapes.judge import describe, judge
from sat_tf.shapes.language import OBJECT_SLOTS, read
from sat_tf.shapes.scenes import Background, Scene, SceneObject, make_scene


def true(caption, scene):
    return judge(caption.split(), scene).true


@pytest.fixture(scope="module")
def described():
    """(scene, caption, judgement) of three captions of each scene."""
    random = np.random.default_rng(0)
    scenes = [make_scene(7, index, 64) for index in range(1000)]
    captions = [(scene, describe(scene, random)) for scene in scenes for _ in range(3)]
    return [(scene, caption, judge(caption.words, scene)) for scene, caption in captions]


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


def test_captions_are_true_of_their_scene(described):
    assert not [caption.text for _, caption, judged in described if not judged.true]


def test_captions_are_false_of_other_scenes(described):
    others = [scene for scene, *_ in described[3:] + described[:3]]
    true = [
        judge(caption.words, other).true
        for (_, caption, _), other in zip(described, others, strict=True)
    ]
    assert np.mean(true) < 0.15


def test_captions_name_the_objects_that_they_refer_to(described):
    for _, caption, judged in described:
        for mention, found in zip(caption.mentions, judged.mentions, strict=True):
            assert mention.word_index == found.word_index
            assert set(mention.matches) <= set(found.matches)


def test_half_the_captions_of_several_objects_state_more_than_existence(described):
    kinds = collections.Counter(
        judged.kind for scene, _, judged in described if len(scene.objects) > 1
    )
    shares = {kind: count / kinds.total() for kind, count in kinds.items()}
    assert shares["plain"] <= 0.5
    assert shares["relation"] >= 0.25
    assert shares["position"] >= 0.1
    assert shares["count"] >= 0.03


def test_every_word_is_in_use(described):
    used = {word for _, caption, _ in described for word in caption.words}
    assert len(used) >= 60
    assert used == EVERY_WORD


def test_captions_are_short(described):
    lengths = [len(caption.words) for _, caption, _ in described]
    assert min(lengths) >= 3
    assert max(lengths) <= 14


def test_captions_name_no_kind_twice_without_a_count(described):
    for _, caption, judged in described:
        if judged.kind in ("plain", "count"):
            named = [
                (phrase.shape, phrase.colour) for phrase in read(caption.words).of(*OBJECT_SLOTS)
            ]
            assert len(set(named)) == len(named)


def test_captions_state_only_clear_relations(described):
    directions = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
    stated = 0
    for scene, caption, judged in described:
        if not judged.relational:
            continue
        first, *others = caption.mentions
        for relation, second in zip(read(caption.words).of("relation"), others, strict=True):
            (one,), (other,) = first.matches, second.matches
            offset = np.subtract(scene.objects[one].centre, scene.objects[other].centre)
            along = offset @ directions[relation]
            across = np.abs(offset).sum() - abs(along)
            assert along >= 0.2 * scene.size
            assert along > across
            stated += 1
    assert stated > 600


def test_captions_are_a_function_of_the_seed():
    def texts(seed):
        random = np.random.default_rng(seed)
        return [describe(make_scene(7, index, 64), random).text for index in range(50)]

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
    judged = judge(caption.split(), scene)
    assert judged.kind
    assert judged.true is true


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
def test_an_ungrammatical_caption_is_false(scene, caption):
    judged = judge(caption.split(), scene)
    assert not judged.kind
    assert not judged.true


@pytest.mark.parametrize(
    ("caption", "mentions"),
    [
        # Of a true caption: the objects that make it true.
        ("a red circle", [(2, (0, 1), True)]),
        ("a small red circle", [(3, (1,), True)]),
        ("two red circles", [(2, (0, 1), True)]),
        ("a red circle is left of a blue star", [(2, (0,), True), (8, (2,), True)]),
        ("a red circle on the right", [(2, (1,), True)]),
        # Of a false one: those of that shape and colour, if there are any.
        ("a red circle is below a blue star", [(2, (0, 1), True), (7, (2,), True)]),
        ("a large blue star", [(3, (2,), True)]),
        ("a green heart and a red circle", [(2, (), False), (6, (0, 1), True)]),
        ("four red circles", [(2, (0, 1), True)]),
        ("there is something red", []),
    ],
)
def test_the_judge_names_the_objects_that_a_noun_refers_to(scene, caption, mentions):
    judged = judge(caption.split(), scene)
    assert [(m.word_index, m.matches, m.exists) for m in judged.mentions] == mentions


@pytest.mark.parametrize(
    ("caption", "kind"),
    [
        ("a red circle with a blue star", "plain"),
        ("we see two red circles", "count"),
        ("at the top there is a red circle", "position"),
        ("a red circle lies under a blue star", "relation"),
        ("red", ""),
    ],
)
def test_the_judge_names_the_kind_of_statement(scene, caption, kind):
    judged = judge(caption.split(), scene)
    assert judged.kind == kind
    assert judged.relational == (kind == "relation")


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
    ("x", "y", "positions"),
    [
        (20, 20, {"at the left", "at the top", "at the top left"}),
        (39, 50, {"at the left", "in the middle"}),
        (41, 50, {"in the middle"}),
        (50, 68, {"at the bottom"}),
        (61, 39, {"at the right", "at the top", "at the top right", "in the middle"}),
    ],
)
def test_a_position_is_true_where_the_centre_is(scene, x, y, positions):
    thing = dataclasses.replace(scene.objects[1], box=(x - 10, y - 10, x + 10, y + 10))
    moved = dataclasses.replace(scene, objects=(thing,))
    sides = "left", "right", "top", "bottom", "top left", "top right", "bottom left", "bottom right"
    every = ["in the middle", *(f"at the {side}" for side in sides)]
    assert {position for position in every if true(f"a red circle {position}", moved)} == positions
