"""Scores on scenes whose answers are known."""

import numpy as np
import pytest

from sat_tf.data.shapes_grammar import describe
from sat_tf.data.shapes_scenes import Background, Scene, SceneObject, make_scene
from sat_tf.evaluation.shapes_scores import shapes_scores

GRAY = Background("flat", (120, 120, 120), (120, 120, 120), 0.0, 0.2, 0)


def scene_of(*objects: tuple[str, str, str, tuple[int, int, int, int]]) -> Scene:
    """A scene of 80 pixels; objects as (size, colour, shape, box)."""
    return Scene(
        80,
        GRAY,
        tuple(
            SceneObject(shape, colour, size, (0, 0, 0), box) for size, colour, shape, box in objects
        ),
    )


# On a grid of 4 rows and 5 columns a cell is 20 pixels high and 16 wide.
GRID = (4, 5)
LEFT_CIRCLE = ("small", "red", "circle", (0, 20, 16, 40))  # the cell (1, 0) alone
RIGHT_CIRCLE = ("large", "red", "circle", (50, 40, 78, 68))  # the centres of (2, 3) and (2, 4)
STAR = ("small", "blue", "star", (16, 0, 48, 20))  # the cells (0, 1) and (0, 2)
TWO = scene_of(LEFT_CIRCLE, STAR)
BOTH_CIRCLES = scene_of(LEFT_CIRCLE, RIGHT_CIRCLE)


def maps(words: list[str], *looks: tuple[int, int]) -> np.ndarray:
    """Alphas [T, 4, 5] of a caption: its nouns look at `looks` in turn, other words nowhere."""
    alphas = np.full((len(words), *GRID), 1 / 20)
    nouns = [i for i, word in enumerate(words) if word in ("circle", "circles", "star")]
    for noun, cell in zip(nouns, looks, strict=True):
        alphas[noun] = 0.01
        alphas[noun][cell] = 0.81
    return alphas


def score(caption: str, scene: Scene, *looks: tuple[int, int]) -> dict[str, float]:
    words = caption.split()
    return shapes_scores([words], [scene], [maps(words, *looks)])


def test_a_true_caption_that_looks_at_its_objects():
    scores = score("a red circle and a blue star", TWO, (1, 0), (0, 2))
    assert scores["true_objects"] == scores["true_captions"] == 100
    assert scores["pointing_accuracy"] == 100
    # One cell of 20 for the circle, two for the star.
    assert scores["pointing_uniform"] == pytest.approx(100 * (1 / 20 + 2 / 20) / 2)
    # The middle of a 4 x 5 grid lies between two cells, neither in a box.
    assert scores["pointing_centre"] == 0


@pytest.mark.parametrize(
    ("looks", "accuracy"),
    [(((1, 0), (0, 1)), 100), (((1, 0), (1, 1)), 50), (((0, 1), (1, 0)), 0)],
)
def test_each_noun_is_asked_for_its_own_object(looks, accuracy):
    assert score("a red circle and a blue star", TWO, *looks)["pointing_accuracy"] == accuracy


def test_rows_are_down_and_columns_across():
    # Cell (0, 1) of the transposed picture would be (1, 0).
    assert score("a blue star", TWO, (0, 1))["pointing_accuracy"] == 100
    assert score("a blue star", TWO, (1, 0))["pointing_accuracy"] == 0


def test_objects_that_are_not_there():
    scores = score("a red circle and a green star", TWO, (1, 0), (0, 1))
    assert scores["true_objects"] == 50
    assert scores["true_captions"] == 0
    assert scores["pointing_accuracy"] == 100  # of the circle alone
    assert scores["pointing_uniform"] == pytest.approx(5)


def test_objects_count_in_captions_that_are_no_sentences():
    scores = score("red circle star of blue star green circle", TWO, (1, 0), (3, 3), (0, 1), (3, 3))
    assert scores["true_objects"] == pytest.approx(100 * 2 / 3)  # a star alone names no colour
    assert scores["true_captions"] == 0
    assert scores["pointing_accuracy"] == 100


def test_a_noun_may_mean_any_object_that_fits():
    assert score("a red circle", BOTH_CIRCLES, (2, 4))["pointing_accuracy"] == 100
    assert score("a red circle", BOTH_CIRCLES, (1, 0))["pointing_accuracy"] == 100


def test_its_size_says_which_is_meant():
    assert score("a large red circle", BOTH_CIRCLES, (2, 3))["pointing_accuracy"] == 100
    assert score("a large red circle", BOTH_CIRCLES, (1, 0))["pointing_accuracy"] == 0


def test_a_size_that_no_object_has_is_false_but_the_object_is_there():
    scores = score("a large red circle", TWO, (1, 0))
    assert (scores["true_objects"], scores["true_captions"]) == (100, 0)
    assert scores["pointing_accuracy"] == 100


def test_ties_score_the_share_of_tied_cells_inside():
    words = ["a", "blue", "star"]
    alphas = np.full((3, *GRID), 0.01)
    alphas[2, 0, 1] = alphas[2, 0, 2] = alphas[2, 3, 3] = 0.3
    scores = shapes_scores([words], [TWO], [alphas])
    assert scores["pointing_accuracy"] == pytest.approx(100 * 2 / 3)


def test_uniform_attention_is_the_uniform_baseline():
    rng = np.random.default_rng(0)
    scenes = [make_scene(0, index, 64) for index in range(20)]
    captions = [describe(scene, rng).words for scene in scenes]
    alphas = [np.full((len(words), 8, 8), 1 / 64, np.float32) for words in captions]
    scores = shapes_scores(captions, scenes, alphas)
    assert 0 < scores["pointing_accuracy"] == scores["pointing_uniform"] < 30
    assert scores["pointing_average"] == scores["pointing_uniform"]


def test_the_average_baseline_looks_where_the_whole_caption_does():
    words = ["a", "red", "circle", "and", "a", "blue", "star"]
    alphas = maps(words, (1, 0), (0, 1))
    alphas[:, 0, 1] += 0.5  # every word prefers the star's cell
    scores = shapes_scores([words], [TWO], [alphas])
    assert scores["pointing_average"] == 50


def test_every_word_counts_in_the_average():
    words = ["a", "red", "circle"]
    alphas = np.zeros((3, *GRID))
    alphas[0, 3, 3] = alphas[1, 1, 0] = alphas[2, 1, 0] = 1  # the first word looks elsewhere
    assert shapes_scores([words], [TWO], [alphas])["pointing_average"] == 100


def test_a_box_ends_before_its_right_and_lower_edge():
    touching = scene_of(("small", "red", "circle", (8, 10, 40, 50)))  # edges through cell centres
    uniform = score("a red circle", touching, (0, 0))["pointing_uniform"]
    assert uniform == pytest.approx(100 * 2 * 2 / 20)  # columns 0 and 1, rows 0 and 1


def test_the_centre_baseline_looks_at_the_middle():
    middle = scene_of(("small", "red", "circle", (32, 32, 48, 60)))  # the cell (2, 2)
    # (1, 2) and (2, 2) are equally near the middle of the picture.
    assert score("a red circle", middle, (0, 0))["pointing_centre"] == 50
    alphas = np.full((3, 3, 5), 1 / 15)  # three rows have a middle one, its centre at 40 pixels
    scores = shapes_scores([["a", "red", "circle"]], [middle], [alphas])
    assert scores["pointing_centre"] == 100


def test_relations_are_counted_among_relational_captions():
    captions = [
        text.split()
        for text in (
            "a red circle left of a red circle",
            "a red circle is above a blue star",
            "a blue star",
            "a red circle",
            "a green ring",
        )
    ]
    scenes = [BOTH_CIRCLES, TWO, TWO, TWO, TWO]
    scores = shapes_scores(captions, scenes, [np.ones((len(words), *GRID)) for words in captions])
    assert scores["true_relational"] == 50
    assert scores["relational_captions"] == pytest.approx(100 * 2 / 5)
    assert scores["true_captions"] == pytest.approx(100 * 3 / 5)


def test_shuffled_captions_meet_other_scenes():
    captions = [["a", "red", "circle"], ["a", "blue", "star"], ["a", "red", "circle"]]
    scenes = [BOTH_CIRCLES, scene_of(STAR), TWO]
    alphas = [np.ones((3, *GRID))] * 3
    scores = shapes_scores(captions, scenes, alphas)
    assert scores["true_captions"] == 100
    # The star meets the scene of both, the last circle the two circles; the first one a star.
    assert scores["shuffled_true_captions"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("captions", [[], [[]], [["<unk>"]]])
def test_nothing_to_count_is_nothing(captions):
    alphas = [np.ones((len(words), *GRID)) for words in captions]
    scores = shapes_scores(captions, [TWO][: len(captions)], alphas)
    assert set(scores.values()) == {0.0}


def test_descriptions_are_true_and_shuffled_ones_mostly_not():
    rng = np.random.default_rng(1)
    scenes = [make_scene(3, index, 64) for index in range(60)]
    captions = [describe(scene, rng).words for scene in scenes]
    alphas = [np.ones((len(words), 8, 8)) for words in captions]
    scores = shapes_scores(captions, scenes, alphas)
    assert scores["true_objects"] == scores["true_captions"] == scores["true_relational"] == 100
    assert scores["shuffled_true_captions"] < 20
