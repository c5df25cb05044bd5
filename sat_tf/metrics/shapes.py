"""Scores of captions of the embedded data set, whose scenes are known: whether they are true.

Each is 0 to 100, and 0 where there is nothing to count.
"""

from collections.abc import Sequence

from sat_tf.metrics.registry import EvaluationData, Metric, Need, ratio, register
from sat_tf.shapes.judge import judge
from sat_tf.shapes.objects import named_objects

_GROUP = "truth"

SCENES = Need(
    "needs --dataset=shapes",
    is_in_data=lambda data: data.scenes is not None,
    is_in_run=lambda config: config.data.dataset == "shapes",
)


def _judged(data: EvaluationData) -> list[tuple[bool, bool]]:
    """Judge each caption against the scene of its image: whether it is true, and relational."""
    pairs = zip(data.captions, data.scenes or (), strict=True)
    judged = [judge(caption.split(), scene) for caption, scene in pairs]
    return [(verdict.true, verdict.relational) for verdict in judged]


def _percent(holds: Sequence[bool]) -> Metric:
    return ratio(holds, [1.0] * len(holds), 100)


@register("true_objects", group=_GROUP, needs=(SCENES,))
def true_objects(data: EvaluationData) -> Metric:
    """Compute the named objects that are in the scene; a colour and a shape after it name one."""
    mentions = [
        [mention.exists for mention in named_objects(caption.split(), scene)]
        for caption, scene in zip(data.captions, data.scenes or (), strict=True)
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
    scenes = data.scenes or ()
    if len(scenes) < 2:
        return _percent([False] * len(scenes))
    pairs = zip(data.captions, [*scenes[1:], scenes[0]], strict=True)
    return _percent([judge(caption.split(), scene).true for caption, scene in pairs])
