"""Evaluation data for tests of scores: what a test leaves out is not available."""

from sat_tf.metrics.registry import SCORES, EvaluationData


def evaluation_data(captions, references=None, **known):
    """Of captions as text or as lists of words; without references each is its own."""
    texts = [caption if isinstance(caption, str) else " ".join(caption) for caption in captions]
    return EvaluationData(texts, references or [[text] for text in texts], **known)


def attended_data(captions, **known):
    """Of captions with attention."""
    return evaluation_data([caption.words for caption in captions], attended=captions, **known)


def metrics_of(data, group="", names=()):
    """The metrics of a group, but for slow ones, or of some names, that these data allow."""
    return {
        name: score.compute(data)
        for name, score in SCORES.items()
        if (name in names or (score.group == group and score.in_validations))
        and all(need.is_in_data(data) for need in score.needs)
    }


def scores_of(data, group="", names=()):
    """As `metrics_of`, but the scores."""
    return {name: metric.score for name, metric in metrics_of(data, group, names).items()}
