"""Scores of captions of the embedded data set, whose scenes are known: whether they are true.

Each is 0 to 100, and 0 where there is nothing to count.
"""

from collections.abc import Sequence

from sat_tf.metrics.registry import EvaluationData, Metric, Need, ratio, register
from sat_tf.shapes.judge import judge
from sat_tf.shapes.objects import SceneObjects, named_objects
from sat_tf.shapes.scenes import Scene

_GROUP = "truth"

SCENES = Need(
    "needs --dataset=shapes",
    is_in_data=lambda data: bool(data.objects) and len(_scenes(data)) == len(data.objects),
    is_in_run=lambda config: config.data.dataset == "shapes",
)


def _scenes(data: EvaluationData) -> list[Scene]:
    return [objects.scene for objects in data.objects if isinstance(objects, SceneObjects)]


def _judge(captions: Sequence[str], scenes: Sequence[Scene]) -> list[tuple[bool, bool]]:
    """Return whether each caption is true of its scene, and whether it states a relation."""
    pairs = zip(captions, scenes, strict=True)
    judged = [judge(caption.split(), scene) for caption, scene in pairs]
    return [(one.true, one.relational) for one in judged]


def _judged(data: EvaluationData) -> list[tuple[bool, bool]]:
    return _judge(data.captions, _scenes(data))


def _percent(holds: Sequence[bool]) -> Metric:
    return ratio(holds, [1.0] * len(holds), 100)


@register("true_objects", group=_GROUP, needs=(SCENES,))
def true_objects(data: EvaluationData) -> Metric:
    """Compute the named objects that are in the scene; a colour and a shape after it name one."""
    mentions = [
        [mention.exists for mention in named_objects(caption.split(), scene)]
        for caption, scene in zip(data.captions, _scenes(data), strict=True)
    ]
    return ratio([sum(each) for each in mentions], [len(each) for each in mentions], 100)


@register("true_captions", group=_GROUP, needs=(SCENES,))
def true_captions(data: EvaluationData) -> Metric:
    """Compute the captions that are grammatical and true as a whole."""
    return _percent([is_true for is_true, _ in data.shared(_judged)])


@register("true_relational", group=_GROUP, needs=(SCENES,))
def true_relational(data: EvaluationData) -> Metric:
    """Compute the captions that are true as a whole, of those that state a relation."""
    judged = data.shared(_judged)
    return ratio([both == (True, True) for both in judged], [each for _, each in judged], 100)


@register("relational_captions", group=_GROUP, needs=(SCENES,), can_monitor=False)
def relational_captions(data: EvaluationData) -> Metric:
    """Compute the captions that state a relation."""
    return _percent([is_relational for _, is_relational in data.shared(_judged)])


@register("shuffled_true_captions", group=_GROUP, needs=(SCENES,), can_monitor=False)
def shuffled_true_captions(data: EvaluationData) -> Metric:
    """Compute the captions that are true of the next image's scene: a baseline."""
    first, *others = _scenes(data)
    judged = _judge(data.captions, [*others, first])
    return _percent([is_true and bool(others) for is_true, _ in judged])
