"""Scores of whether captions of the embedded data set are true of their scenes, in percent."""

from sat_tf.metrics.registry import EvaluationData, Metric, Need, mean, ratio, register
from sat_tf.shapes.judge import Judgement, SceneObjects, judge, named_objects
from sat_tf.shapes.scenes import Scene

SCENES = Need(
    "needs --dataset=shapes",
    is_in_data=lambda data: bool(data.objects) and len(_scenes(data)) == len(data.objects),
    is_in_run=lambda config: config.data.dataset == "shapes",
)


def _scenes(data: EvaluationData) -> list[Scene]:
    return [objects.scene for objects in data.objects if isinstance(objects, SceneObjects)]


def _judgements(data: EvaluationData) -> list[Judgement]:
    pairs = zip(data.captions, _scenes(data), strict=True)
    return [judge(caption.split(), scene) for caption, scene in pairs]


@register("true_objects", group="truth", needs=(SCENES,))
def true_objects(data: EvaluationData) -> Metric:
    """Compute the named objects that are in the scene; a colour and a shape after it name one."""
    pairs = zip(data.captions, _scenes(data), strict=True)
    mentions = [named_objects(caption.split(), scene) for caption, scene in pairs]
    existing = [sum(mention.exists for mention in each) for each in mentions]
    return ratio(existing, [len(each) for each in mentions], 100)


@register("true_captions", group="truth", needs=(SCENES,))
def true_captions(data: EvaluationData) -> Metric:
    """Compute the captions that are grammatical and true as a whole."""
    return mean([one.true for one in data.shared(_judgements)], 100)


@register("true_relational", group="truth", needs=(SCENES,))
def true_relational(data: EvaluationData) -> Metric:
    """Compute the captions that are true as a whole, of those that state a relation."""
    judged = data.shared(_judgements)
    true = [one.true and one.relational for one in judged]
    return ratio(true, [one.relational for one in judged], 100)


@register("relational_captions", group="truth", needs=(SCENES,), can_monitor=False)
def relational_captions(data: EvaluationData) -> Metric:
    """Compute the captions that state a relation."""
    return mean([one.relational for one in data.shared(_judgements)], 100)


@register("shuffled_true_captions", group="truth", needs=(SCENES,), can_monitor=False)
def shuffled_true_captions(data: EvaluationData) -> Metric:
    """Compute the captions that are true of the next image's scene: a baseline."""
    first, *others = _scenes(data)
    pairs = zip(data.captions, [*others, first], strict=True)
    is_true = [bool(others) and judge(text.split(), scene).true for text, scene in pairs]
    return mean(is_true, 100)
