"""Truth of captions of known scenes."""

import numpy as np
import pytest
from evaluation_data import evaluation_data, metrics_of
from scene_examples import BOTH_CIRCLES, STAR, TWO, scene_of

from sat_tf.shapes.judge import describe, scene_objects
from sat_tf.shapes.scenes import make_scene


def truth_metrics(captions, scenes):
    return metrics_of(evaluation_data(captions, objects=[*map(scene_objects, scenes)]), "truth")


def scores_of(captions, scenes):
    return {name: metric.score for name, metric in truth_metrics(captions, scenes).items()}


def score(caption, scene):
    return scores_of([caption.split()], [scene])


def test_a_true_caption():
    scores = score("a red circle and a blue star", TWO)
    assert scores["true_objects"] == scores["true_captions"] == 100


def test_objects_that_are_not_in_the_scene():
    scores = score("a red circle and a green star", TWO)
    assert (scores["true_objects"], scores["true_captions"]) == (50, 0)


def test_objects_count_in_captions_that_are_no_sentences():
    scores = score("red circle star of blue star green circle", TWO)
    assert scores["true_objects"] == pytest.approx(100 * 2 / 3)  # "star" alone names none
    assert scores["true_captions"] == 0


def test_a_size_that_no_object_has_is_false_but_the_object_is_there():
    scores = score("a large red circle", TWO)
    assert (scores["true_objects"], scores["true_captions"]) == (100, 0)


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
    scores = scores_of(captions, [BOTH_CIRCLES, TWO, TWO, TWO, TWO])
    assert scores["true_relational"] == 50
    assert scores["relational_captions"] == pytest.approx(100 * 2 / 5)
    assert scores["true_captions"] == pytest.approx(100 * 3 / 5)


def test_statistics_are_per_image():
    captions = [["a", "red", "circle"], ["a", "red", "circle", "and", "a", "green", "star"], ["a"]]
    metrics = truth_metrics(captions, [TWO] * 3)
    assert metrics["true_objects"].statistics.tolist() == [[1, 1], [1, 2], [0, 0]]
    assert metrics["true_captions"].statistics.tolist() == [[1, 1], [0, 1], [0, 1]]


def test_shuffled_captions_are_judged_by_the_next_scene():
    captions = [["a", "red", "circle"], ["a", "blue", "star"], ["a", "red", "circle"]]
    scores = scores_of(captions, [BOTH_CIRCLES, scene_of(STAR), TWO])
    assert scores["true_captions"] == 100
    # The star meets the scene of both, the last circle the two circles; the first one a star.
    assert scores["shuffled_true_captions"] == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize("captions", [[[]], [["<unk>"]]])
def test_captions_without_objects_score_zero(captions):
    assert set(scores_of(captions, [TWO]).values()) == {0.0}


def test_descriptions_are_true_and_shuffled_ones_mostly_not():
    rng = np.random.default_rng(1)
    scenes = [make_scene(3, index, 64) for index in range(60)]
    scores = scores_of([describe(scene, rng).words for scene in scenes], scenes)
    assert scores["true_objects"] == scores["true_captions"] == scores["true_relational"] == 100
    assert scores["shuffled_true_captions"] < 20
