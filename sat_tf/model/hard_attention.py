"""Stochastic hard attention (section 4.1): sampled locations and the REINFORCE gradient.

Hard attention is soft attention with a `LocationSample` at each step. It is trained by

    dL/dW = 1/N sum_n [ dlog p(y|s~n, a)/dW
                        + lambda_r (log p(y|s~n, a) - b) dlog p(s~n|a)/dW
                        + lambda_e dH[s~n]/dW ]                                          (12)

with N = 1 sample per caption. Everything else is shared with soft attention: the gate beta, which
learns through log p(y|s~, a) whichever location is sampled; and lambda, the doubly stochastic
weight, since sum_t alpha_ti is the expected number of times that location i is sampled. (In the
authors' code lambda has no effect in stochastic mode, where the gradient of REINFORCE replaces
that of alpha: their models correspond to lambda = 0.)

Captions that are not sampled (see `training_samples`) use the expectation: alpha then has a
gradient through the context, and no REINFORCE term.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

_TINY = 1e-30  # keeps logarithms finite


class LocationSample(NamedTuple):
    """Random numbers with which one attention step samples its location.

    noise: Gumbel noise float32 [B, L]: the location with the largest log alpha + noise is a
      sample from alpha; with a noise of zero it is the most probable location.
    is_sampled: bool [B, 1], whether the sampled location replaces alpha.
    """

    noise: tf.Tensor
    is_sampled: tf.Tensor


Samples = tuple[LocationSample, ...]  # one for each LSTM layer; empty for soft attention


def sample_locations(
    log_alpha: tf.Tensor, sample: LocationSample
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the attention weights of hard attention, from log alpha float32 [B, L].

    Returns:
      The weights of the features, float32 [B, L]: one-hot and without gradient, or alpha where
      nothing is sampled; log p of the sampled location, float32 [B], 0 where nothing is sampled;
      the entropy of alpha in nats, float32 [B].
    """
    alpha = tf.exp(log_alpha)
    index = tf.argmax(log_alpha + sample.noise, axis=1)  # [B]
    location = tf.one_hot(index, tf.shape(log_alpha)[1])  # [B, L]
    log_prob = tf.gather(log_alpha, index, batch_dims=1)
    return (
        tf.where(sample.is_sampled, location, alpha),
        tf.where(sample.is_sampled[:, 0], log_prob, 0.0),
        -tf.reduce_sum(alpha * log_alpha, axis=1),  # sum over L
    )


def gumbel_noise(uniform: tf.Tensor) -> tf.Tensor:
    """Transform uniform numbers in [0, 1) into Gumbel noise: argmax(log p + noise) samples p."""
    return -tf.math.log(-tf.math.log(tf.maximum(uniform, _TINY)))


def training_samples(
    probability: float,
    unit: str,
    shape: tuple[tf.Tensor | int, tf.Tensor | int, int],
    num_layers: int,
    generator: keras.random.SeedGenerator,
    share: tuple[tf.Tensor | int, tf.Tensor | int] | None = None,
) -> Samples:
    """Return the location samples of a minibatch in training.

    Replicas draw the numbers of the whole minibatch, so that a caption has the same ones on
    whichever replica it is.

    Args:
      probability: of sampling locations; otherwise the expectation is used.
      unit: whether that is decided for each "caption" (the paper) or each "batch" (the authors'
        code).
      shape: T, B and L.
      num_layers: LSTM layers.
      generator: of the seeds.
      share: where the B captions begin in the minibatch, and the size of that; by default they
        are the whole.

    Returns:
      For each LSTM layer noise [T, B, L] and is_sampled [T, B, 1].
    """
    steps, rows, locations = shape
    first, total = share or (0, rows)
    uniform = tf.random.stateless_uniform([total, 1], shared_seed(generator))
    uniform = uniform[first : first + rows] if unit == "caption" else uniform[:1]
    is_sampled = tf.broadcast_to(uniform < probability, [steps, rows, 1])
    uniform = tf.random.stateless_uniform(
        [num_layers, steps, total, locations], shared_seed(generator)
    )
    return _of_layers(uniform[:, :, first : first + rows], is_sampled)


def inference_samples(
    attention_inference: str, shape: tf.Tensor, num_layers: int, seed: tf.Tensor
) -> Samples:
    """Return the location samples of a trained model.

    Args:
      attention_inference: "expectation" over alpha, "argmax" or "sample".
      shape: of the noise of a layer, int32 [n]: [..., L].
      num_layers: LSTM layers.
      seed: int32 [2].
    """
    if attention_inference == "expectation":
        return ()
    is_sampled = tf.ones(tf.concat([shape[:-1], [1]], axis=0), tf.bool)
    if attention_inference == "argmax":
        return (LocationSample(tf.zeros(shape), is_sampled),) * num_layers
    uniform = tf.random.stateless_uniform(tf.concat([[num_layers], shape], axis=0), seed)
    return _of_layers(uniform, is_sampled)


def _of_layers(uniform: tf.Tensor, is_sampled: tf.Tensor) -> Samples:
    """Return the samples of each layer from uniform numbers [layers, ..., L]."""
    return tuple(LocationSample(noise, is_sampled) for noise in tf.unstack(gumbel_noise(uniform)))


def step_rewards(log_probs: tf.Tensor, mask: tf.Tensor, reward: str) -> tf.Tensor:
    """Return the reward of each step's sampled location, float32 [B, T], without gradient.

    Args:
      log_probs: log p(y_t) of each token, float32 [B, T].
      mask: 1 at real steps, 0 at padded ones, float32 [B, T].
      reward: "sum": log p(y|s~, a), as in the paper; "mean": its mean over the caption's steps,
        the authors' RL_sumCost; "step": log p(y_t) of the step itself, the authors' code without
        RL_sumCost. The first two are the same at all steps.

    Departs from the authors' code: with RL_sumCost they subtract the cost from the baseline, where
    (12) has the reward minus the baseline, so that samples worse than expected become more
    probable. The sign here is that of (12) in all three cases.
    """
    log_probs = tf.stop_gradient(log_probs * mask)
    if reward == "step":
        return log_probs
    total = tf.reduce_sum(log_probs, axis=1, keepdims=True)  # sum over T: [B, 1]
    if reward == "mean":
        total /= tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
    return tf.broadcast_to(total, tf.shape(mask))


def reinforce(
    location_log_probs: tf.Tensor, rewards: tf.Tensor, baseline: tf.Tensor, mask: tf.Tensor
) -> tf.Tensor:
    """Return sum_t (reward_t - b) log alpha_{t,s_t} of each caption, [B], for its gradient.

    Args:
      location_log_probs: log p of the sampled locations, float32 [B, T]; 0 where not sampled.
      rewards: from `step_rewards`.
      baseline: b, float32 []; zero for the reward "step", which has no baseline.
      mask: 1 at real steps, 0 at padded ones, float32 [B, T].
    """
    advantage = tf.stop_gradient(rewards - baseline)
    return tf.reduce_sum(advantage * location_log_probs * mask, axis=1)  # sum over T


def shared_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Return a new seed, int32 [2], the same on all replicas."""
    return tf.bitcast(tf.cast(generator.next(), tf.uint32), tf.int32)


def per_replica_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """Return a new seed, int32 [2], different on each replica, which has other captions."""
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    return tf.random.experimental.stateless_fold_in(shared_seed(generator), replica)
