"""Whether a model of the run's shape can learn a handful of captions by heart."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from sat_tf.diagnosis.findings import Finding, judge, not_needed
from sat_tf.diagnosis.patient import Patient
from sat_tf.model.caption_model import CaptionModel
from sat_tf.training.objective import CONTROLS, Batch, Sums, likelihood
from sat_tf.vocabulary import PAD, tokenize

_CAPTIONS = 16
_MOST_STEPS = 300
_LEARNING_RATE = 2e-3
_CLIP_NORM = 5.0
# Nats a word. Of 16 captions with the same annotations, the first word that tells them apart costs
# log 16: 0.2 a word, as captions go.
_LEARNED = 0.1


def overfitting(patient: Patient) -> Finding:
    """A new model learns 16 training captions, an image each, by heart.

    It has the run's encoder, as it is now, and the run's decoder without dropout and with soft
    attention; nothing but the likelihood is trained, by Adam. What fails here is the annotations,
    or the decoder's settings.
    """
    batch = _captions(patient)
    count = len(batch["tokens"])
    if count < 2:
        return not_needed("there are no two training images with captions of their own")
    keras.utils.set_random_seed(patient.settings.training.seed)
    run = patient.run
    decoder = dataclasses.replace(
        run.settings.decoder, attention="soft", dropout=0.0, lstm_dropout=0.0
    )
    model = CaptionModel(run.model.encoder, decoder, len(run.vocabulary))
    model.scale_annotations(batch["annotations"])
    nats, steps = _learn(model, patient, batch)
    return judge(
        not nats < _LEARNED,  # nor if it is not a number
        f"a new model knows {count} training captions to {nats:.2f} nats a word after {steps} "
        f"steps ({_LEARNED} is by heart)",
        "it can't tell the images apart, or can't learn: look at the encoder's checks above, then "
        "at the sizes of the decoder (--hidden_size, --embedding_size, --attention_size)",
        captions=count,
        steps=steps,
        nats=nats,
    )


def _captions(patient: Patient) -> Batch:
    """One caption of each of some training images, all different."""
    _, records, _, annotations = patient.train
    chosen: dict[tuple[int, ...], int] = {}  # ids of a caption -> number of its image
    for number, record in enumerate(records):
        each = (patient.run.vocabulary.encode(tokenize(text)) for text in record.captions)
        new = next((ids for ids in map(tuple, each) if ids not in chosen), None)
        if new and len(chosen) < _CAPTIONS:
            chosen[new] = number
    width = max(map(len, chosen), default=0)
    tokens = [[*ids, *[PAD] * (width - len(ids))] for ids in chosen]
    return {
        "annotations": tf.constant(annotations[list(chosen.values())]),
        "tokens": tf.constant(np.asarray(tokens, np.int32).reshape(len(chosen), width)),
        "image_index": tf.range(len(chosen)),
    }


def _learn(model: CaptionModel, patient: Patient, batch: Batch) -> tuple[float, int]:
    """Trains until the captions are learned, or long enough; nats a word, and steps."""
    training = dataclasses.replace(
        patient.settings.training, label_smoothing=0.0, scheduled_sampling=0.0
    )
    controls = {name: tf.constant(0.0) for name in CONTROLS}
    variables = model.cell.trainable_variables
    optimizer = keras.optimizers.Adam(_LEARNING_RATE, global_clipnorm=_CLIP_NORM)
    optimizer.build(variables)

    @tf.function
    def step() -> Sums:
        with tf.GradientTape() as tape:
            sums = likelihood(model, batch, controls, training)
            loss = sums["nll"] / sums["captions"]
        optimizer.apply(tape.gradient(loss, variables), variables)
        return sums

    nats, steps = np.inf, 0
    while not nats < _LEARNED and steps < _MOST_STEPS:
        sums = step()
        nats, steps = float(sums["nll"] / sums["words"]), steps + 1
    return nats, steps
