"""Whether images and their references belong to each other."""

import numpy as np
import tensorflow as tf

from sat_tf.captioning import make_reader
from sat_tf.diagnosis.findings import Finding, judge, not_needed
from sat_tf.diagnosis.patient import Patient, Sample
from sat_tf.vocabulary import PAD, tokenize

_FEWEST = 8
_MOST_RANK = 0.3  # 0.5 is chance, whose mean over 64 images is 0.04 off; trained runs have 0.1


def alignment(patient: Patient) -> Finding:
    """An image's own caption suits it better than those of other images do.

    Each caption is read with each image. A caption is likely or not by itself, whatever the image:
    it counts how much likelier it is with this image than with the others.
    """
    ranks = {
        split: _mean_rank(patient, sample)
        for split, sample in (("train", patient.train), ("dev", patient.dev))
        if len(sample.records) >= _FEWEST
    }
    if not ranks:
        return not_needed(f"fewer than {_FEWEST} images are too few to see it by")
    seen = ", ".join(f"{rank:.2f} of {split}" for split, rank in ranks.items())
    return judge(
        max(ranks.values()) > _MOST_RANK,
        f"mean rank of an image's own caption among {len(patient.dev.records)} images': {seen} (0 "
        "is the first, 1 the last, 0.5 is chance)",
        "images and captions do not belong together, or the run has learned nothing from images: "
        "look at some by eye (python -m sat_tf.evaluate --report=...), for captions that have "
        "slipped by a line or images that were renamed",
        **ranks,
    )


def _mean_rank(patient: Patient, sample: Sample) -> float:
    """0 if each image's own caption is the first among all, 1 if it is the last."""
    run, count = patient.run, len(sample.records)
    # The first caption of the first image, the second of the second and so on, round and round.
    chosen = [each.captions[i % len(each.captions)] for i, each in enumerate(sample.records)]
    captions = [run.vocabulary.encode(tokenize(caption)) for caption in chosen]
    width = max(map(len, captions))
    tokens = tf.constant([ids + [PAD] * (width - len(ids)) for ids in captions], tf.int32)
    read = make_reader([run.model], run.settings.decoding)
    shared = {"tokens": tokens, "image_index": tf.zeros([count], tf.int32)}
    log_p = np.stack(
        [
            read([{**shared, "annotations": one}]).log_probabilities.numpy().sum(axis=1)  # over T
            for one in tf.constant(sample.annotations)[:, None]
        ]
    )  # [images, captions]
    return mean_rank(log_p)


def mean_rank(log_p: np.ndarray) -> float:
    """Where an image's own caption stands among all, on average.

    Args:
      log_p: of each caption with each image, [n, n], n at least 2: the i-th caption is that of
        the i-th image.

    Returns:
      0 if it is always the first by how much likelier the image makes it than others do, 1 if it
      is always the last; 0.5 is chance. Equal ones count half.
    """
    count = len(log_p)
    gained = log_p - log_p.mean(axis=0)
    own = np.diag(gained)[:, None]
    before = (gained > own).sum() + ((gained == own).sum() - count) / 2
    return float(before / (count * (count - 1)))
