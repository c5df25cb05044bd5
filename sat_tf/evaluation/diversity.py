"""How much captions differ from each other and from those that were trained on."""

from collections.abc import Collection, Sequence

from sat_tf.evaluation.measures import Measure, mean


def counts(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """What images drawn again would not tell: a caption that comes twice is no new one.

    Args:
      captions: the words of one caption an image.

    Returns:
      distinct_captions: captions that differ, of all, in percent.
      vocabulary_used: different words in all captions together.
    """
    different = {tuple(words) for words in captions}
    return {
        "distinct_captions": 100.0 * len(different) / len(captions),
        "vocabulary_used": float(len({word for words in captions for word in words})),
    }


def measures(
    captions: Sequence[Sequence[str]], known: Collection[tuple[str, ...]]
) -> dict[str, Measure]:
    """Length and novelty.

    Args:
      captions: the words of one caption an image.
      known: the words of each training caption; without any, novelty is left out.

    Returns:
      mean_words: words of a caption.
      novel_captions: captions that are no training caption word by word, in percent.
    """
    found = {"mean_words": mean([len(words) for words in captions])}
    if known:
        found["novel_captions"] = mean([100.0 * (tuple(words) not in known) for words in captions])
    return found
