"""Pointing and attention correctness on maps and boxes whose scores are known."""

import dataclasses

import numpy as np
import pytest
from evaluation_data import attended_data, evaluation_data, metrics_of
from scene_examples import BOTH_CIRCLES, GRID, TWO, AttendedCaption, attending, scene_of

from sat_tf.data.objects import Box, NamedBox, ObjectBoxes
from sat_tf.metrics.grounding import GROUP, SIZES, grounding, grounding_table
from sat_tf.metrics.registry import SCORES
from sat_tf.shapes.judge import describe, scene_objects
from sat_tf.shapes.scenes import make_scene

NAMES = [name for name, score in SCORES.items() if score.group == GROUP]


def metrics_at(captions, objects):
    data = attended_data(captions, objects=objects)
    return metrics_of(data, names=NAMES)


def scores_of(captions, scenes):
    metrics = metrics_at(captions, [scene_objects(scene) for scene in scenes])
    return {name: metric.score for name, metric in metrics.items()}


def score(caption, scene, *cells):
    return scores_of([attending(caption, *cells)], [scene])


def knows(boxes, size=(1, 1)):
    """Objects of which these words are the names, in an image of some height and width."""
    objects = [NamedBox(name, box) for name, listed in boxes.items() for box in listed]

    def mentions(words):
        of_word = {
            word: [i for i, thing in enumerate(objects) if thing.name == word] for word in words
        }
        return {place: of_word[word] for place, word in enumerate(words) if of_word[word]}

    return ObjectBoxes(*size, objects, mentions)


LEFT_HALF, UPPER_LEFT = Box(0, 0, 1, 0.5), Box(0, 0, 0.5, 0.5)


def test_maps_at_the_objects_that_words_name():
    scores = score("a red circle and a blue star", TWO, (1, 0), (0, 2))
    assert scores["pointing_accuracy"] == 100
    # 0.81 of the mass of "circle" is at its one cell; the star has another cell, of 0.01.
    assert scores["attention_correctness"] == pytest.approx(100 * (0.81 + 0.82) / 2)
    # One cell of 20 for the circle, two for the star.
    share = pytest.approx(100 * (1 / 20 + 2 / 20) / 2)
    assert scores["pointing_uniform"] == scores["correctness_uniform"] == share
    # The middle of a 4 x 5 grid lies between two cells, neither in a box.
    assert scores["pointing_centre"] == 0


@pytest.mark.parametrize(
    ("cells", "accuracy"),
    [(((1, 0), (0, 1)), 100), (((1, 0), (1, 1)), 50), (((0, 1), (1, 0)), 0)],
)
def test_each_noun_is_scored_on_its_own_object(cells, accuracy):
    scores = score("a red circle and a blue star", TWO, *cells)
    assert scores["pointing_accuracy"] == accuracy
    assert scores["attention_correctness"] == pytest.approx(0.8 * accuracy + 1.5)


def test_rows_are_down_and_columns_across():
    # Cell (0, 1) of the transposed picture would be (1, 0).
    assert score("a blue star", TWO, (0, 1))["pointing_accuracy"] == 100
    assert score("a blue star", TWO, (1, 0))["pointing_accuracy"] == 0


def test_objects_that_are_not_in_the_image_do_not_count():
    scores = score("a red circle and a green star", TWO, (1, 0), (0, 1))
    assert scores["pointing_accuracy"] == 100  # of the circle alone
    assert scores["pointing_uniform"] == pytest.approx(5)


def test_objects_count_in_captions_that_are_no_sentences():
    words = "red circle star of blue star green circle"
    scores = score(words, TWO, (1, 0), (3, 3), (0, 1), (3, 3))
    assert scores["pointing_accuracy"] == 100


def test_a_noun_may_mean_any_object_that_fits():
    assert score("a red circle", BOTH_CIRCLES, (2, 4))["pointing_accuracy"] == 100
    assert score("a red circle", BOTH_CIRCLES, (1, 0))["pointing_accuracy"] == 100


def test_a_size_selects_the_object():
    assert score("a large red circle", BOTH_CIRCLES, (2, 3))["pointing_accuracy"] == 100
    assert score("a large red circle", BOTH_CIRCLES, (1, 0))["pointing_accuracy"] == 0


def test_a_size_that_no_object_has_is_ignored():
    assert score("a large red circle", TWO, (1, 0))["pointing_accuracy"] == 100


def test_ties_score_the_share_of_tied_cells_inside():
    alphas = np.full((3, *GRID), 0.01)
    alphas[2, 0, 1] = alphas[2, 0, 2] = alphas[2, 3, 3] = 0.3
    scores = scores_of([AttendedCaption(["a", "blue", "star"], alphas)], [TWO])
    assert scores["pointing_accuracy"] == pytest.approx(100 * 2 / 3)


def test_uniform_attention_is_the_uniform_baseline():
    rng = np.random.default_rng(0)
    scenes = [make_scene(0, index, 64) for index in range(20)]
    captions = [describe(scene, rng).words for scene in scenes]
    attended = [
        AttendedCaption(words, np.full((len(words), 8, 8), 1 / 64, np.float32))
        for words in captions
    ]
    scores = scores_of(attended, scenes)
    uniform = scores["pointing_uniform"]
    assert 0 < uniform < 30
    for name in ("pointing_accuracy", "pointing_average"):
        assert scores[name] == uniform
    for name in ("attention_correctness", "correctness_average", "correctness_uniform"):
        assert scores[name] == pytest.approx(uniform)


def test_the_average_baseline_is_the_mean_map_of_the_caption():
    attended = attending("a red circle and a blue star", (1, 0), (0, 1))
    attended.alphas[:, 0, 1] += 0.5  # every word prefers the star's cell
    assert scores_of([attended], [TWO])["pointing_average"] == 50


def test_every_word_counts_in_the_average():
    alphas = np.zeros((3, *GRID))
    alphas[0, 3, 3] = alphas[1, 1, 0] = alphas[2, 1, 0] = 1  # the first word attends elsewhere
    scores = scores_of([AttendedCaption(["a", "red", "circle"], alphas)], [TWO])
    assert scores["pointing_average"] == 100
    assert scores["correctness_average"] == pytest.approx(100 * 2 / 3)


def test_constant_maps_score_as_their_average():
    alphas = np.tile(np.random.default_rng(0).dirichlet(np.ones(20)).reshape(1, *GRID), (7, 1, 1))
    attended = AttendedCaption(["a", "red", "circle", "and", "a", "blue", "star"], alphas)
    scores = scores_of([attended], [TWO])
    assert scores["attention_correctness"] == pytest.approx(scores["correctness_average"])
    assert scores["attention_correctness"] > 0


def test_a_box_ends_before_its_right_and_lower_edge():
    touching = scene_of(("small", "red", "circle", (8, 10, 40, 50)))  # edges through cell centres
    uniform = score("a red circle", touching, (0, 0))["pointing_uniform"]
    assert uniform == pytest.approx(100 * 2 * 2 / 20)  # columns 0 and 1, rows 0 and 1


def test_the_centre_baseline_is_at_the_centre():
    middle = scene_of(("small", "red", "circle", (32, 32, 48, 60)))  # the cell (2, 2)
    # (1, 2) and (2, 2) are equally near the middle of the picture.
    scores = score("a red circle", middle, (0, 0))
    assert scores["pointing_centre"] == 50
    # Weights 1, 3, 3, 1 down and 1, 3, 5, 3, 1 across.
    assert scores["correctness_centre"] == pytest.approx(100 * 3 * 5 / (8 * 13))
    alphas = np.full((3, 3, 5), 1 / 15)  # three rows have a middle one, its centre at 40 pixels
    scores = scores_of([AttendedCaption(["a", "red", "circle"], alphas)], [middle])
    assert scores["pointing_centre"] == 100


def test_boxes_may_come_from_any_source():
    alphas = np.array([[[0.4, 0.1], [0.3, 0.2]]] * 2)
    attended = AttendedCaption(["dog", "runs"], alphas)
    metrics = metrics_at([attended], [knows({"dog": [LEFT_HALF]})])
    assert metrics["attention_correctness"].score == pytest.approx(70)
    assert metrics["pointing_accuracy"].score == 100
    assert metrics["pointing_uniform"].score == 50


def test_all_boxes_of_a_word_are_one_region():
    alphas = np.array([[[0.4, 0.1], [0.3, 0.2]]])
    known = knows({"dogs": [UPPER_LEFT, LEFT_HALF]})
    metrics = metrics_at([AttendedCaption(["dogs"], alphas)], [known])
    assert metrics["attention_correctness"].score == pytest.approx(70)  # 0.4 counts once


def test_the_null_location_is_in_no_box():
    alphas = np.array([[[0.2, 0.0], [0.0, 0.2]]])  # 0.6 is at the null location
    metrics = metrics_at([AttendedCaption(["dog"], alphas)], [knows({"dog": [LEFT_HALF]})])
    assert metrics["attention_correctness"].score == pytest.approx(20)


def test_objects_outside_the_crop_do_not_count():
    alphas = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    right = Box(0, 0.5, 1, 1)
    known = dataclasses.replace(knows({"dog": [LEFT_HALF]}), crop=right)
    metrics = metrics_at([AttendedCaption(["dog"], alphas)], [known])
    assert metrics["pointing_accuracy"].statistics.tolist() == [[0, 0]]


def test_statistics_are_per_image():
    dog = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    captions = [
        AttendedCaption(["dog"], dog),
        AttendedCaption(["dog", "dog"], np.tile(dog[:, ::-1], (2, 1, 1))),
    ]
    captions += [
        AttendedCaption(["cat"], dog),
        AttendedCaption(["dog"], dog),
        AttendedCaption([], dog[:0]),
    ]
    known = [knows({"dog": [UPPER_LEFT]})] * 3 + [None, knows({})]
    metrics = metrics_at(captions, known)
    expected = [[1, 1], [0, 2], [0, 0], [0, 0], [0, 0]]
    assert metrics["pointing_accuracy"].statistics.tolist() == expected
    assert metrics["attention_correctness"].statistics.tolist() == expected
    assert metrics["pointing_accuracy"].score == pytest.approx(100 / 3)


@pytest.mark.parametrize("caption", [[], ["<unk>"]])
def test_captions_without_objects_score_zero(caption):
    attended = AttendedCaption(caption, np.ones((len(caption), *GRID)))
    scores = scores_of([attended], [TWO])
    assert len(scores) == 8
    assert set(scores.values()) == {0.0}


def test_without_known_objects_there_is_no_score():
    attended = AttendedCaption(["dog"], np.ones((1, 2, 2)))
    assert metrics_at([attended], [None]) == {}


# Two words and the end on a grid of one row and two columns: left, right, left.
SWINGING = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]]])


def reference_scores(*found):
    data = evaluation_data(
        ["a"] * len(found), objects=[knows({})] * len(found), reference_grounding=found
    )
    return {name: metric.score for name, metric in metrics_of(data, names=NAMES).items()}


def test_the_map_after_a_word_is_that_of_the_next_step():
    scores = reference_scores(grounding(["dog", "runs"], SWINGING, knows({"dog": [LEFT_HALF]})))
    assert scores["reference_pointing_accuracy"] == 100
    assert scores["reference_attention_correctness"] == pytest.approx(90)
    assert scores["reference_pointing_after"] == 0
    assert scores["reference_correctness_after"] == pytest.approx(20)


def test_the_map_after_the_last_word_is_that_of_the_end():
    known = knows({"runs": [LEFT_HALF]})
    scores = reference_scores(grounding(["dog", "runs"], SWINGING, known))
    assert scores["reference_correctness_after"] == pytest.approx(70)
    assert scores["reference_correctness_average"] == pytest.approx(55)  # without that of the end
    # Without a map of the end the word does not count.
    counts = grounding(["dog", "runs"], SWINGING[:2], known)[0, :, -1]
    assert counts.tolist() == [1, 0, 1, 1, 1]


def test_references_of_an_image_are_added():
    known = knows({"dog": [LEFT_HALF]})
    sums = sum(grounding(["dog"], SWINGING[start : start + 1], known) for start in range(3))
    assert reference_scores(sums)["reference_pointing_accuracy"] == pytest.approx(100 * 2 / 3)


def test_sizes_are_those_of_the_largest_box_in_pixels():
    # Of an image of 200 by 200 pixels: 20 x 20, 80 x 80 and 200 x 100.
    boxes = {"ant": [Box(0, 0, 0.1, 0.1)], "cat": [Box(0, 0, 0.4, 0.4)], "cow": [LEFT_HALF]}
    for word, size in zip(boxes, ("small", "medium", "large"), strict=True):
        scores = reference_scores(grounding([word], SWINGING, knows(boxes, (200, 200))))
        found = {each: scores[f"reference_correctness_uniform_{each}"] > 0 for each in SIZES[1:]}
        inside = word == "cow"  # the others have no cell
        assert found == {each: inside and each == size for each in SIZES[1:]}
    herd = knows({"cows": boxes["ant"] + boxes["cow"]}, (200, 200))
    counts = grounding(["cows"], SWINGING, herd)[:, 0, -1]
    assert counts.tolist() == [1, 0, 0, 1]
    limits = {32 * 32 - 1: "small", 32 * 32: "medium", 96 * 96 - 1: "medium", 96 * 96: "large"}
    for pixels, size in limits.items():
        counts = grounding(["dog"], SWINGING, knows({"dog": [Box(0, 0, 1, 1)]}, (1, pixels)))
        assert counts[SIZES.index(size), 0, -1] == 1


def test_the_table_has_a_line_for_each_map():
    data = attended_data(
        [AttendedCaption(["dog"], SWINGING[:1])],
        objects=[knows({"dog": [LEFT_HALF]})],
        reference_grounding=[grounding(["dog"], SWINGING, knows({"dog": [LEFT_HALF]}))],
    )
    metrics = metrics_of(data, names=NAMES)
    scores = {name: metric.score for name, metric in metrics.items() if metric.is_defined}
    intervals = {"pointing_accuracy": (80.0, 100.0)}
    lines = grounding_table(scores, intervals).splitlines()
    assert [line[:26].strip() for line in lines] == [
        *("generated captions", "alpha of the word", "uniform map", "centre"),
        "mean map of the caption",
        *("reference captions", "alpha of the word", "alpha after the word", "uniform map"),
        *("centre", "mean map of the caption"),
    ]
    assert lines[1].split()[4:] == ["100.0", "[80.0,", "100.0]", "90.0"]
    assert lines[6].split()[4:] == ["100.0", "100.0", "-", "-", "90.0", "90.0", "-", "-"]
    assert grounding_table({"bleu_4": 20.0}, {}) == ""
