"""Whether a model of the run's shape can learn a handful of captions by heart."""

import dataclasses
import math

import keras
import tensorflow as tf

from sat_tf.data.pipeline import pad_captions
from sat_tf.doctor.results import CheckResult, judge, not_needed
from sat_tf.doctor.run_context import RunContext
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.losses import CaptionLoss, Sums
from sat_tf.vocabulary import tokenize

_CAPTIONS = 16
_MOST_STEPS = 300
_LEARNING_RATE = 2e-3
_CLIP_NORM = 5.0
# Nats a word, and of log n a caption, which is what n captions cost at the least that can't be told
# apart by their images.
_LEARNED, _TOLD_APART = 0.1, 0.5


def overfitting(patient: RunContext) -> CheckResult:
    """A new model learns 16 training captions, an image each, by heart.

    It has the run's encoder, as it is now, and the run's decoder without dropout and with soft
    attention; nothing but the likelihood is trained, by Adam. What fails here is the annotations,
    or the decoder's config.
    """
    batch = _captions(patient)
    count = len(batch["tokens"])
    if count < 2:
        return not_needed("there are no two training images with captions of their own")
    keras.utils.set_random_seed(patient.config.training.seed)
    run = patient.run
    decoder = dataclasses.replace(
        run.config.decoder, attention="soft", dropout=0.0, lstm_dropout=0.0
    )
    grid = keras.Input(run.model.encoder.output_shape[1:])  # the features are computed once
    model = CaptionModel(keras.Model(grid, grid), decoder, len(run.vocabulary))
    model.scale_features(batch["features"])
    steps, per_word, per_caption = _learn(model, batch)
    is_learned = _is_learned(count, per_word, per_caption)
    return judge(
        not is_learned,
        f"a new model has learned {count} training captions by heart in {steps} steps"
        if is_learned
        else f"after {steps} steps a new model still lacks {per_caption:.1f} nats of each of "
        f"{count} training captions ({math.log(count):.1f} if it can't tell their images apart at "
        f"all), {per_word:.2f} of a word",
        "it can't tell the images apart, or can't learn: look at the encoder's checks above, then "
        "at the sizes of the decoder (--hidden_size, --embedding_size, --attention_size)",
        captions=count,
        steps=steps,
        nats_per_word=per_word,
        nats_per_caption=per_caption,
    )


def _is_learned(count: int, per_word: float, per_caption: float) -> bool:
    return per_word < _LEARNED and per_caption < _TOLD_APART * math.log(count)


def _captions(patient: RunContext) -> Batch:
    """One caption of each of some training images, all different."""
    _, records, _, annotations = patient.train
    chosen: dict[tuple[int, ...], int] = {}  # ids of a caption -> number of its image
    for number, record in enumerate(records):
        each = (patient.run.vocabulary.encode(tokenize(text)) for text in record.captions)
        new = next((ids for ids in map(tuple, each) if ids not in chosen), None)
        if new and len(chosen) < _CAPTIONS:
            chosen[new] = number
    return {
        "features": tf.constant(annotations[list(chosen.values())]),
        "tokens": tf.constant(pad_captions([*chosen])),
        "image_index": tf.range(len(chosen)),
    }


def _learn(model: CaptionModel, batch: Batch) -> tuple[int, float, float]:
    """Trains until the captions are learned, or long enough.

    Returns:
      Steps, and -log p in nats, of a word and of a caption.
    """
    loss = CaptionLoss(doubly_stochastic_weight=0.0)
    model.compile(keras.optimizers.Adam(_LEARNING_RATE), loss, clip_norm=_CLIP_NORM)

    @tf.function(autograph=False)
    def step() -> Sums:
        return model.update(batch)

    steps, per_word, per_caption = 0, math.inf, math.inf
    while steps < _MOST_STEPS and not _is_learned(len(batch["tokens"]), per_word, per_caption):
        sums = {name: float(value) for name, value in step().items()}
        per_word, per_caption = sums["nll"] / sums["words"], sums["nll"] / sums["captions"]
        steps += 1
    return steps, per_word, per_caption
