"""Scores of captions as texts, whoever wrote them."""

from collections.abc import Collection, Iterable, Sequence

from sat_tf.data.records import Record
from sat_tf.metrics import coco_metrics, diversity
from sat_tf.metrics.bleu import bleu_measures
from sat_tf.metrics.metric import Metric
from sat_tf.vocabulary import tokenize

Words = tuple[str, ...]


def words_of_captions(records: Iterable[Record]) -> list[list[Words]]:
    """The words of each image's captions."""
    return [[tuple(tokenize(text)) for text in record.captions] for record in records]


def known_captions(records: Iterable[Record]) -> frozenset[Words]:
    """What a caption must differ from to be new: those of the training images."""
    return frozenset(words for image in words_of_captions(records) for words in image)


def text_measures(
    captions: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    *,
    known: Collection[Words] = (),
    with_meteor: bool = False,
) -> dict[str, Metric]:
    """BLEU, and CIDEr and ROUGE-L where they can be had; length and novelty.

    Args:
      captions: the words of one caption an image; may be none.
      references: the words of each image's references.
      known: see `known_captions`; without any, novelty is left out.
      with_meteor: whether METEOR, which takes a Java process and seconds, is wanted too.

    Returns:
      By name, in the order of the table; from 0 to 100, but for `cider` (0 to 10) and
      `mean_length`.

    Raises:
      UserError: there is no image, or one without a reference.
    """
    texts = [" ".join(words) for words in captions]
    truths = [[" ".join(words) for words in image] for image in references]
    found = bleu_measures(texts, truths)
    missing = coco_metrics.missing()
    for name, score in (("cider", coco_metrics.cider), ("rouge_l", coco_metrics.rouge_l)):
        if name not in missing:
            found[name] = score(texts, truths)
    if with_meteor and "meteor" not in missing:
        found["meteor"] = coco_metrics.meteor(texts, truths)
    return found | diversity.measures(captions, known)
