"""What a step of training minimises, summed over a minibatch's captions."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.hard_attention import Places, reinforce, rewards, training_places
from sat_tf.model.losses import (
    doubly_stochastic_penalty,
    real_steps,
    supervision,
    uniform_cross_entropy,
    word_log_probabilities,
)

Sums = dict[str, tf.Tensor]
Batch = Mapping[str, tf.Tensor]
# What the loop hands to a step beside the batch, float32 [] each: the baseline of hard attention's
# rewards, and the probability of scheduled sampling.
CONTROLS = ("baseline", "sampled_inputs")
Controls = Mapping[str, tf.Tensor]
Objective = Callable[[Batch, Controls], Sums]


def likelihood(
    model: CaptionModel,
    batch: Batch,
    controls: Controls,
    config: TrainingConfig,
    places: Places = (),
) -> Sums:
    """Equation (14), or (12) for hard attention, and what config add.

    Args:
      model: the captions are read by.
      batch: see `sat_tf.data.pipeline.caption_batches`.
      controls: see `Controls`.
      config: of the training.
      places: the looks of hard attention, drawn by `training_places`; none for soft attention.

    Returns:
      Sums over the captions of the batch, each float32 []: `nll` and `penalty`; `smoothing`,
      `supervision`, where settings ask for them; `reinforce` (weighted), `entropy` and `reward`
      (the mean over a caption's steps) of hard attention; `captions` and `words`, ends included,
      are counts.
    """
    annotations = model.annotate(batch, training=True)
    tokens = batch["tokens"]
    mask = real_steps(tokens)
    read = model(
        annotations,
        tokens,
        batch["image_index"],
        training=True,
        places=places,
        sampled_inputs=controls["sampled_inputs"] if config.scheduled_sampling else None,
    )
    log_p = word_log_probabilities(read.logits, tokens)
    each = {
        "nll": -tf.reduce_sum(log_p * mask, axis=1),
        "penalty": doubly_stochastic_penalty(read.alphas, tokens),
        "captions": tf.ones_like(mask[:, 0]),
        "words": tf.reduce_sum(mask, axis=1),
    }
    if config.label_smoothing:
        each["smoothing"] = uniform_cross_entropy(read.logits, tokens) - each["nll"]
    if "regions" in batch:
        cells = tf.shape(batch["regions"])[2]  # without the annotation of zeros
        each["supervision"] = supervision(read.alphas[..., :cells], batch["regions"])
    if places:
        reward = rewards(log_p, mask, config.reward)
        baseline = 0.0 if config.reward == "step" else controls["baseline"]
        gained = reinforce(read.choices, reward, baseline, mask)
        each["reinforce"] = config.reinforce_weight * gained
        each["entropy"] = tf.reduce_sum(read.entropies * mask, axis=1)
        each["reward"] = tf.reduce_sum(reward * mask, axis=1) / each["words"]
    return {name: tf.reduce_sum(value) for name, value in each.items()}


def make_likelihood(model: CaptionModel, config: TrainingConfig) -> Objective:
    """`likelihood` of a model; in hard attention with places drawn anew for each batch."""

    def objective(batch: Batch, controls: Controls) -> Sums:
        places: Places = ()
        if model.config.attention == "hard":
            rows, steps = tf.unstack(tf.shape(batch["tokens"]))
            places = training_places(
                config,
                (steps, rows, model.location_count),
                model.config.lstm_layers,
                model.cell.seed_generator,
            )
        return likelihood(model, batch, controls, config, places)

    return objective


def total_loss(sums: Mapping[str, Any], config: TrainingConfig) -> Any:
    """What is minimised of a batch, summed over its captions.

    Args:
      sums: from an objective.
      config: the weights of its parts.
    """
    weights = {
        "nll": 1.0,
        "penalty": config.doubly_stochastic_weight,
        "supervision": config.attention_supervision,
        "smoothing": config.label_smoothing,
        "entropy": -config.entropy_weight,
        "score": -1.0,
    }
    return sum(weight * sums[name] for name, weight in weights.items() if name in sums)


def surrogate_loss(sums: Sums, config: TrainingConfig) -> tf.Tensor:
    """`total_loss` with the terms that stand in for gradients of what was drawn.

    Their values mean nothing, so that `total_loss` leaves them out.
    """
    return total_loss(sums, config) - sums.get("reinforce", 0.0)
