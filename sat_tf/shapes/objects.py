"""Which objects of a drawn scene the words of a caption name, and where they are."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence

from sat_tf.data.objects import Box, NamedBox, ObjectBoxes
from sat_tf.shapes.grammar import Mention, judge
from sat_tf.shapes.scenes import Scene
from sat_tf.shapes.words import COLOUR_WORDS, NOUNS

_COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
_SHAPE_OF = {
    word: shape
    for shape, nouns in NOUNS.items()
    for singular_and_plural in nouns
    for word in singular_and_plural
}


def object_boxes(scene: Scene, objects: Iterable[int]) -> tuple[Box, ...]:
    """The boxes of these of the scene's objects."""
    drawn = (scene.objects[index].box for index in objects)
    return tuple(
        Box(top / scene.size, left / scene.size, bottom / scene.size, right / scene.size)
        for left, top, right, bottom in drawn
    )


def named_objects(words: Sequence[str], scene: Scene) -> list[Mention]:
    """The objects that a caption names, grammatical or not, and those of the scene that fit.

    An object is named by a colour and a shape right after it.
    """
    judged = {mention.word_index: mention.matches for mention in judge(words, scene).mentions}
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


@dataclasses.dataclass(frozen=True)
class SceneObjects(ObjectBoxes):
    """The objects of a scene, and the scene itself."""

    scene: Scene


def scene_objects(scene: Scene) -> SceneObjects:
    """Return the objects of a scene, named by colour and shape."""
    boxes = object_boxes(scene, range(len(scene.objects)))
    objects = [
        NamedBox(f"{thing.colour} {thing.shape}", box)
        for thing, box in zip(scene.objects, boxes, strict=True)
    ]
    mentions = functools.partial(_mentions, scene)
    return SceneObjects(scene.size, scene.size, objects, mentions, scene)


def _mentions(scene: Scene, words: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """See `sat_tf.data.objects.Mentions`."""
    return {
        mention.word_index: mention.matches
        for mention in named_objects(words, scene)
        if mention.exists
    }
