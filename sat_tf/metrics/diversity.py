"""How much captions differ from each other and from those that were trained on."""

from collections.abc import Collection, Sequence

from sat_tf.metrics.metric import Metric, mean


def counts(captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """What images drawn again would not tell: a caption that comes twice is no new one.

    Args:
      captions: the words of one caption an image.

    Returns:
      distinct_captions: captions that differ, of all, in percent.
      vocab_size: different words in all captions together.
    """
    different = {tuple(words) for words in captions}
    return {
        "distinct_captions": 100.0 * len(different) / len(captions),
        "vocab_size": float(len({word for words in captions for word in words})),
    }


def measures(
    captions: Sequence[Sequence[str]], known: Collection[tuple[str, ...]]
) -> dict[str, Metric]:
    """Length and novelty.

    Args:
      captions: the words of one caption an image.
      known: the words of each training caption; without any, novelty is left out.

    Returns:
      mean_length: words of a caption.
      novel_captions: captions that are no training caption word by word, in percent.
    """
    found = {"mean_length": mean([len(words) for words in captions])}
    if known:
        found["novel_captions"] = mean([100.0 * (tuple(words) not in known) for words in captions])
    return found
