"""Stochastic hard attention (section 4.1): who draws locations, and what alpha learns from it.

Attention is made hard by a `Chance` at each look, and trained by

    dL/dW = 1/N sum_n [ dlog p(y|s~n, a)/dW
                        + lambda_r (log p(y|s~n, a) - b) dlog p(s~n|a)/dW
                        + lambda_e dH[s~n]/dW ]                                          (12)

with N = 1 draw a caption. All else is shared with soft attention:

- The gate beta weighs the context in both, as in the authors' code. It is a function of h_{t-1},
  and learns through log p(y|s~, a) whatever location was drawn.
- lambda, the doubly stochastic weight, acts in both too: sum_t alpha_ti is the number of looks
  that location i may expect, and the penalty's gradient reaches alpha directly, without a draw. In
  the authors' code it has no effect in stochastic mode, for REINFORCE's gradient replaces alpha's:
  their models are lambda = 0 here.

Where the expectation takes the sample's place, alpha has a gradient through the context, and there
is no REINFORCE term.
"""

import keras
import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.attention import Chance
from sat_tf.model.seeds import per_replica_seed, shared_seed

_LEAST = 1e-30  # keeps logarithms finite

Places = tuple[Chance, ...]  # of each LSTM layer


def gumbel_noise(uniform: tf.Tensor) -> tf.Tensor:
    """Numbers uniform in [0, 1) -> such that argmax(log p + noise) is a draw from p."""
    return -tf.math.log(-tf.math.log(tf.maximum(uniform, _LEAST)))


def training_places(
    config: TrainingConfig,
    shape: tuple[tf.Tensor | int, tf.Tensor | int, int],
    layers: int,
    generator: keras.random.SeedGenerator,
) -> Places:
    """The looks of a minibatch: drawn with probability `sampling_probability`, else expected.

    That is decided for each caption, as in the paper, or once for the minibatch, as in the
    authors' code (`sampling_by`).

    Args:
      config: of the training.
      shape: T, B, L.
      layers: LSTM layers.
      generator: of the random numbers.

    Returns:
      For each LSTM layer noise [T, B, L] and drawn [T, B, 1].
    """
    steps, rows, _ = shape
    by_caption = config.sampling_by == "caption"
    seed = per_replica_seed(generator) if by_caption else shared_seed(generator)
    uniform = tf.random.stateless_uniform([rows if by_caption else 1, 1], seed)
    drawn = tf.broadcast_to(uniform < config.sampling_probability, [steps, rows, 1])
    uniform = tf.random.stateless_uniform([layers, *shape], per_replica_seed(generator))
    return tuple(Chance(noise, drawn) for noise in tf.unstack(gumbel_noise(uniform), layers))


def given_places(context: str, shape: tf.Tensor, layers: int, seed: tf.Tensor) -> Places:
    """The looks of a finished model.

    Args:
      context: "expectation" over alpha, "argmax" or "sample".
      shape: of the noise, [..., L].
      layers: LSTM layers.
      seed: of the samples, int32 [2].
    """
    if context == "expectation":
        return ()
    drawn = tf.ones(tf.concat([shape[:-1], [1]], axis=0), tf.bool)
    if context == "argmax":
        return (Chance(tf.zeros(shape), drawn),) * layers
    uniform = tf.random.stateless_uniform(tf.concat([[layers], shape], axis=0), seed)
    return tuple(Chance(noise, drawn) for noise in tf.unstack(gumbel_noise(uniform), layers))


def rewards(log_probabilities: tf.Tensor, mask: tf.Tensor, reward: str) -> tf.Tensor:
    """What a drawn path is worth, without gradient.

    Args:
      log_probabilities: log p(y_t) of each word, float32 [B, T].
      mask: 1 at real steps, 0 at padded ones, float32 [B, T].
      reward: "sum": log p(y|s~, a), the paper's; "mean": that over the caption's steps, the
        authors' RL_sumCost; "step": each step's own, the authors' without RL_sumCost.

    Returns:
      float32 [B, T]; the first two are the same at all steps.

    Departs from the authors' code: with RL_sumCost it subtracts the cost from the baseline, where
    (12) has the reward less the baseline, so that what was worse than expected is made likelier.
    The sign here is (12)'s, for all three.
    """
    gained = tf.stop_gradient(log_probabilities * mask)
    if reward == "step":
        return gained
    total = tf.reduce_sum(gained, axis=1, keepdims=True)  # sum over T -> [B, 1]
    if reward == "mean":
        total /= tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    return tf.broadcast_to(total, tf.shape(mask))


def reinforce(
    choices: tf.Tensor, reward: tf.Tensor, baseline: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """sum_t (reward_t - b) log alpha_t,s_t of each caption: only its gradient means something.

    Args:
      choices: log p of the locations drawn, float32 [B, T]; 0 where none was.
      reward: from `rewards`.
      baseline: b, float32 []; zero for the reward "step", which has none.
      mask: 1 at real steps, 0 at padded ones, float32 [B, T].

    Returns:
      float32 [B].
    """
    advantage = tf.stop_gradient(reward - baseline)
    return tf.reduce_sum(advantage * choices * mask, axis=1)  # sum over T -> [B]
