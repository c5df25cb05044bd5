"""Whether images and their references belong to each other."""

import numpy as np
import tensorflow as tf

from sat_tf.data.pipeline import pad_captions
from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext, Sample
from sat_tf.vocabulary import tokenize

_FEWEST, _FEWEST_OF_A_PLACE = 8, 12
# 0.5 is chance, whose mean over 64 images is 0.04 off, and over a fifth of them 0.08; trained runs
# have less than 0.1.
_MOST_RANK, _MOST_OF_A_PLACE = 0.3, 0.35


def alignment(patient: RunContext) -> CheckResult:
    """An image's own caption suits it better than those of other images do.

    Each caption is read with each image. A caption is likely or not by itself, whatever the image:
    it counts how much likelier it is with this image than with the others. Of the first image the
    first caption is taken, of the second the second and so on, round and round: where lines have
    slipped by one, captions of one place are other images'.
    """
    means: dict[str, float] = {}
    told: list[str] = []
    worst, where = 0.0, ""
    for split, sample in (("train", patient.train), ("dev", patient.dev)):
        if len(sample.records) < _FEWEST:
            continue
        places = np.array([i % len(record.captions) for i, record in enumerate(sample.records)])
        found = own_ranks(_log_probabilities(patient, sample, places))
        means[split] = float(found.mean())
        told.append(f"{means[split]:.2f} of {len(found)} images of {split}")
        for place in np.unique(places):
            of_place = found[places == place]
            if len(of_place) >= _FEWEST_OF_A_PLACE and of_place.mean() > worst:
                worst = float(of_place.mean())
                where = f"; counting caption {place + 1} of an image alone, {worst:.2f} of {split}"
    if not means:
        return not_needed(f"fewer than {_FEWEST} images are too few to see it by")
    return judge(
        max(means.values()) > _MOST_RANK or worst > _MOST_OF_A_PLACE,
        "mean rank of an image's own caption among those of the others, 0 the first, 1 the last, "
        f"0.5 chance: {', '.join(told)}{where}",
        "images and captions do not belong together, or the run has learned nothing from images: "
        "look at some by eye (python -m sat_tf.evaluate --report=...), for captions that have "
        "slipped by a line or images that were renamed",
        **means,
        worst_place=worst,
    )


def _log_probabilities(patient: RunContext, sample: Sample, places: np.ndarray) -> np.ndarray:
    """Of each caption with each image, [n images, n captions]: one caption an image, by place."""
    run = patient.run
    chosen = [record.captions[place] for record, place in zip(sample.records, places, strict=True)]
    tokens = pad_captions([run.vocabulary.encode(tokenize(caption)) for caption in chosen])
    shared = {"tokens": tf.constant(tokens), "image_index": tf.zeros([len(tokens)], tf.int32)}
    return np.stack(
        [
            run.model.score({**shared, "features": one}, run.config.decoding)
            .log_probs.numpy()
            .sum(axis=1)  # over T
            for one in tf.constant(sample.annotations)[:, None]
        ]
    )


def own_ranks(log_p: np.ndarray) -> np.ndarray:
    """Where each image's own caption stands among all.

    Args:
      log_p: of each caption with each image, [n, n], n at least 2: the i-th caption is that of
        the i-th image.

    Returns:
      [n]: 0 if it is the first by how much likelier the image makes it than others do, 1 if it is
      the last; 0.5 is chance. Equal ones count half.
    """
    gained = log_p - log_p.mean(axis=0)
    own = np.diag(gained)[:, None]
    before = (gained > own).sum(axis=1) + ((gained == own).sum(axis=1) - 1) / 2
    return before / (len(log_p) - 1)
