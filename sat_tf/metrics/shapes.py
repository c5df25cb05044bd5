"""Whether captions of the embedded data set, whose scenes are known, are true."""

from collections.abc import Iterable, Sequence

import numpy as np

from sat_tf.metrics.metric import Metric, ratio
from sat_tf.shapes.grammar import judge
from sat_tf.shapes.objects import named_objects
from sat_tf.shapes.scenes import Scene


def shapes_measures(
    captions: Sequence[Sequence[str]], scenes: Sequence[Scene]
) -> dict[str, Metric]:
    """What captions say, against the scenes themselves.

    Args:
      captions: the words of one caption a scene.
      scenes: their scenes.

    Returns:
      Each 0 to 100, and 0 where there is nothing to count:

      true_objects: named objects that are there; a colour and a shape right after it name one.
      true_captions: captions that are grammatical and true as a whole.
      true_relational: captions true as a whole, of those that state a relation.
      relational_captions: captions that state a relation.
      shuffled_true_captions: captions true of the next scene instead of their own.
    """
    verdicts = [judge(words, scene) for words, scene in zip(captions, scenes, strict=True)]
    named = [
        [mention.exists for mention in named_objects(words, scene)]
        for words, scene in zip(captions, scenes, strict=True)
    ]
    relational = [verdict.relational for verdict in verdicts]
    return {
        "true_objects": ratio([sum(of) for of in named], [len(of) for of in named], 100),
        "true_captions": _share(verdict.true for verdict in verdicts),
        "true_relational": ratio(
            [verdict.true and verdict.relational for verdict in verdicts], relational, 100
        ),
        "relational_captions": _share(relational),
        "shuffled_true_captions": _share(_shuffled_true(captions, scenes)),
    }


def _share(of_each: Iterable[bool]) -> Metric:
    """The captions of which something holds, in percent of all."""
    listed = list(of_each)
    return ratio(listed, np.ones(len(listed)).tolist(), 100)


def _shuffled_true(captions: Sequence[Sequence[str]], scenes: Sequence[Scene]) -> list[bool]:
    if len(scenes) < 2:
        return [False] * len(scenes)  # there is no other scene
    others = [*scenes[1:], scenes[0]]
    return [judge(words, scene).true for words, scene in zip(captions, others, strict=True)]
