"""Scores on the embedded data set, whose scenes are known: is it true, and did it look there?"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from sat_tf.data.regions import cells_inside
from sat_tf.data.shapes_grammar import Mention, Verdict, judge
from sat_tf.data.shapes_scenes import Scene
from sat_tf.data.shapes_words import COLOUR_WORDS, NOUNS

_COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
_SHAPE_OF = {
    word: shape
    for shape, nouns in NOUNS.items()
    for singular_and_plural in nouns
    for word in singular_and_plural
}


def shapes_scores(
    captions: Sequence[Sequence[str]], scenes: Sequence[Scene], alphas: Sequence[np.ndarray]
) -> dict[str, float]:
    """What captions say and where attention looked, against the scenes themselves.

    An object is named by a colour and a shape right after it. Pointing asks, of each named object
    that is there, whether the centre of a cell lies in its box (in the box of one of them, when
    several fit): of the cell that the word looked at most, and as baselines of other cells. Of
    cells that tie, the share inside counts.

    Args:
      captions: the words of one caption a scene.
      scenes: their scenes, seen whole by the encoder.
      alphas: for each caption of T words, [T, rows, columns].

    Returns:
      Each 0 to 100, and 0 where there is nothing to count:

      true_objects: named objects that are there.
      true_captions: captions that are grammatical and true as a whole.
      true_relational: captions true as a whole, of those that state a relation.
      relational_captions: captions that state a relation.
      shuffled_true_captions: captions true of the next scene instead of their own.
      pointing_accuracy: by the word's own alpha.
      pointing_uniform: any cell, as a guess would have it.
      pointing_centre: the middle of the image.
      pointing_average: by the mean of alpha over the caption's words.
    """
    verdicts = [judge(words, scene) for words, scene in zip(captions, scenes, strict=True)]
    named: list[bool] = []
    pointing: list[dict[str, float]] = []
    for words, scene, maps, verdict in zip(captions, scenes, alphas, verdicts, strict=True):
        for mention in _named_objects(words, scene, verdict):
            named.append(mention.exists)
            if mention.exists:
                pointing.append(_pointing(mention, scene, np.asarray(maps)))
    scores = {
        "true_objects": _share(named),
        "true_captions": _share(verdict.true for verdict in verdicts),
        "true_relational": _share(verdict.true for verdict in verdicts if verdict.relational),
        "relational_captions": _share(verdict.relational for verdict in verdicts),
        "shuffled_true_captions": _shuffled_true(captions, scenes),
    }
    for name in ("accuracy", "uniform", "centre", "average"):
        scores[f"pointing_{name}"] = _share(point[name] for point in pointing)
    return scores


def _share(values: Iterable[float]) -> float:
    """The mean of values from 0 to 1, as a percentage; 0 of none."""
    listed = list(values)
    return 100 * float(np.mean(listed)) if listed else 0.0


def _shuffled_true(captions: Sequence[Sequence[str]], scenes: Sequence[Scene]) -> float:
    if len(scenes) < 2:
        return 0.0  # there is no other scene
    others = [*scenes[1:], scenes[0]]
    return _share(judge(words, scene).true for words, scene in zip(captions, others, strict=True))


def _named_objects(words: Sequence[str], scene: Scene, verdict: Verdict) -> list[Mention]:
    """The objects that a caption names, grammatical or not, and those of the scene that fit."""
    judged = {mention.word_index: mention.matches for mention in verdict.mentions}
    named = []
    for index, (before, noun) in enumerate(itertools.pairwise(words), start=1):
        colour, shape = _COLOUR_OF.get(before), _SHAPE_OF.get(noun)
        if colour is not None and shape is not None:
            kin = tuple(
                place
                for place, thing in enumerate(scene.objects)
                if (thing.shape, thing.colour) == (shape, colour)
            )
            # The judge also knows which of several is meant by its size or its place.
            named.append(Mention(index, judged.get(index, kin), bool(kin)))
    return named


def _pointing(mention: Mention, scene: Scene, maps: np.ndarray) -> dict[str, float]:
    """Of one named object, the share of cells inside its box, by each way to choose cells."""
    _, rows, columns = maps.shape
    inside = cells_inside(scene, mention.matches, (rows, columns))
    down, across = np.indices((rows, columns))
    # Squared, in whole numbers: equal distances must be equal for a tie.
    off_centre = ((2 * down + 1 - rows) * columns) ** 2 + ((2 * across + 1 - columns) * rows) ** 2
    return {
        "accuracy": _share_at_peak(inside, maps[mention.word_index]),
        "uniform": float(inside.mean()),
        "centre": _share_at_peak(inside, -off_centre),
        "average": _share_at_peak(inside, maps.mean(axis=0)),  # mean over T -> [rows, columns]
    }


def _share_at_peak(inside: np.ndarray, weights: np.ndarray) -> float:
    """Of the cells of the largest weight, the share inside; [rows, columns] both."""
    return float(inside[weights == weights.max()].mean())
