"""The objects of a scene, and the words of any caption that mention them."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence

from sat_tf.data.objects import Box, NamedBox, ObjectBoxes
from sat_tf.shapes.judge import Mention, judge, objects_of_kind
from sat_tf.shapes.language import COLOUR_OF, SHAPE_OF
from sat_tf.shapes.scenes import Scene


@dataclasses.dataclass(frozen=True)
class SceneObjects(ObjectBoxes):
    """The objects of a scene, and the scene itself."""

    scene: Scene


def scene_objects(scene: Scene) -> SceneObjects:
    """Return the objects of a scene, named by colour and shape."""
    objects = [
        NamedBox(f"{thing.colour} {thing.shape}", box)
        for thing, box in zip(scene.objects, object_boxes(scene), strict=True)
    ]
    mentions = functools.partial(_mentions, scene)
    return SceneObjects(scene.size, scene.size, objects, mentions, scene)


def _mentions(scene: Scene, words: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """See `sat_tf.data.objects.Mentions`."""
    named = named_objects(words, scene)
    return {mention.word_index: mention.matches for mention in named if mention.exists}


def object_boxes(scene: Scene) -> tuple[Box, ...]:
    """Return the boxes of the scene's objects as fractions of its sides."""
    edges = ([edge / scene.size for edge in thing.box] for thing in scene.objects)
    return tuple(Box(top, left, bottom, right) for left, top, right, bottom in edges)


def named_objects(words: Sequence[str], scene: Scene) -> list[Mention]:
    """Return the mentions of objects in a caption, grammatical or not.

    A colour followed by a shape names an object.
    """
    judged = {mention.word_index: mention.matches for mention in judge(words, scene).mentions}
    named = []
    for index, (before, noun) in enumerate(itertools.pairwise(words), start=1):
        shape, colour = SHAPE_OF.get(noun), COLOUR_OF.get(before)
        if shape is not None and colour is not None:
            kind = objects_of_kind(scene, (shape, colour))
            # In a true caption, size and position tell apart objects of the same kind.
            named.append(Mention(index, judged.get(index, kind), bool(kind)))
    return named
