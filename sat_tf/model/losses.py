"""Loss terms of equation (14), and the loss that training minimises.

Terms take logits float32 [B, T, V], tokens int32 [B, T], attention `alphas` float32 [B, T, L], and
return float32 [B]. Padded steps contribute nothing.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.decoder import DecoderOutput
from sat_tf.model.hard_attention import Samples, reinforce, step_rewards, training_samples
from sat_tf.vocabulary import PAD

if TYPE_CHECKING:
    from sat_tf.model.caption_model import Batch, CaptionModel

# Sums over the captions of a batch, float32 [] each.
Sums = dict[str, tf.Tensor]

_MIN_MASS = 1e-6  # keeps the logarithm finite where no attention lies inside the regions
_DEFAULTS = TrainingConfig()


def step_mask(tokens: tf.Tensor) -> tf.Tensor:
    """Return 1 at the steps of a caption, its end included, 0 at padding: float32 [B, T]."""
    return tf.cast(tf.not_equal(tokens, PAD), tf.float32)


def token_log_probs(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Return log p(y_t) in nats, float32 [B, T]; values at padded steps are undefined."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(tokens, logits)


def negative_log_likelihood(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Return -log p(y|a) of each caption in nats, summed over its steps."""
    losses = -token_log_probs(logits, tokens)  # [B, T]
    return tf.reduce_sum(losses * step_mask(tokens), axis=1)  # sum over T


def uniform_cross_entropy(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy against the uniform distribution in nats, -1/V sum_tv log p(v)."""
    mean = tf.reduce_mean(tf.nn.log_softmax(logits), axis=2)  # mean over V: [B, T]
    return -tf.reduce_sum(mean * step_mask(tokens), axis=1)  # sum over T


def doubly_stochastic_penalty(alphas: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Return sum_i (1 - sum_t alpha_ti)^2 of each caption (section 4.2.1).

    Encourages attention to cover the whole image. The attention of a caption sums to T over all
    locations, usually less than L: the penalty is L - 2T + sum_i (sum_t alpha_ti)^2 then, least
    where attention is uniform, whatever is asked for in place of 1. (arctic-captions averages over
    L and sums over the batch, so that the meaning of its weight depends on the batch size.)
    """
    coverage = tf.reduce_sum(alphas * step_mask(tokens)[..., tf.newaxis], axis=1)  # [B, L]
    return tf.reduce_sum(tf.square(1.0 - coverage), axis=1)  # sum over L


def attention_supervision(alphas: tf.Tensor, regions: tf.Tensor) -> tf.Tensor:
    """Return -log of the attention inside an object's box, at the words that name the object.

    Strongly supervised attention after Liu et al., 2017 (Attention Correctness in Neural Image
    Captioning); the paper has no such term.

    `regions` are the cells of each word's object, bool [B, T, L]; words without any contribute
    nothing. In nats, summed over T.
    """
    is_named = tf.cast(tf.reduce_any(regions, axis=2), tf.float32)  # [B, T]
    mass = tf.reduce_sum(alphas * tf.cast(regions, tf.float32), axis=2)  # sum over L: [B, T]
    return -tf.reduce_sum(is_named * tf.math.log(mass + _MIN_MASS), axis=1)  # sum over T


@keras.saving.register_keras_serializable(package="sat_tf")
@dataclasses.dataclass
class CaptionLoss:
    """The loss of captions: equation (14), or (12) for hard attention, and optional terms.

        nll + doubly_stochastic_weight * penalty
        + label_smoothing * smoothing + attention_supervision * supervision
        - entropy_weight * entropy - reinforce_weight * REINFORCE

    Args: the fields of `TrainingConfig` of the same names, where they are described.
    """

    doubly_stochastic_weight: float = _DEFAULTS.doubly_stochastic_weight
    label_smoothing: float = _DEFAULTS.label_smoothing
    attention_supervision: float = _DEFAULTS.attention_supervision
    scheduled_sampling: float = _DEFAULTS.scheduled_sampling
    sampling_probability: float = _DEFAULTS.sampling_probability
    sampling_by: str = _DEFAULTS.sampling_by
    reward: str = _DEFAULTS.reward
    reinforce_weight: float = _DEFAULTS.reinforce_weight
    entropy_weight: float = _DEFAULTS.entropy_weight
    baseline_decay: float = _DEFAULTS.baseline_decay

    @classmethod
    def from_training(cls, config: TrainingConfig) -> "CaptionLoss":
        """Return the loss that a run's configuration describes."""
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})

    def __call__(self, model: "CaptionModel", batch: "Batch", training: bool = True) -> Sums:
        """Run teacher forcing over a batch and return the sums of `sums`.

        In training, hard attention samples locations, and inputs follow scheduled sampling at the
        probability `model.scheduled_sampling`. Otherwise hard attention uses the expectation.
        """
        samples: Samples = ()
        if training and model.config.attention == "hard":
            rows, steps = tf.unstack(tf.shape(batch["tokens"]))
            samples = training_samples(
                self.sampling_probability,
                self.sampling_by,
                (steps, rows, model.num_locations),
                model.config.lstm_layers,
                model.decoder.seed_generator,
                (batch["first"], tf.cast(batch["captions"], tf.int32))
                if "first" in batch
                else None,
            )
        probability = model.scheduled_sampling if training and self.scheduled_sampling else None
        output = model(batch, training=training, samples=samples, scheduled_sampling=probability)
        return self.sums(output, batch, model.reward_baseline if samples else None)

    def sums(
        self, output: DecoderOutput, batch: "Batch", baseline: tf.Tensor | None = None
    ) -> Sums:
        """Return the terms of the loss, each summed over the captions of the batch.

        Args:
          output: of teacher forcing.
          batch: holds `tokens` int32 [B, T] and, for supervision, `regions` bool [B, T, cells].
          baseline: b of (12), float32 []; None if no locations were sampled.

        Returns:
          `nll` and `penalty`; `smoothing` and `supervision` if they are configured; `reinforce`
          (weighted), `entropy` and `reward` (mean over a caption's steps) if locations were
          sampled; `captions` and `words`, ends included, are counts.
        """
        tokens = batch["tokens"]
        mask = step_mask(tokens)
        log_probs = token_log_probs(output.logits, tokens)
        terms = {
            "nll": -tf.reduce_sum(log_probs * mask, axis=1),
            "penalty": doubly_stochastic_penalty(output.alphas, tokens),
            "captions": tf.ones_like(mask[:, 0]),
            "words": tf.reduce_sum(mask, axis=1),
        }  # [B] each
        if self.label_smoothing:
            terms["smoothing"] = uniform_cross_entropy(output.logits, tokens) - terms["nll"]
        if self.attention_supervision and "regions" in batch:
            cells = tf.shape(batch["regions"])[2]  # without the null location
            terms["supervision"] = attention_supervision(
                output.alphas[..., :cells], batch["regions"]
            )
        if baseline is not None:
            rewards = step_rewards(log_probs, mask, self.reward)
            baseline = 0.0 if self.reward == "step" else baseline
            gradient = reinforce(output.log_probs, rewards, baseline, mask)
            terms["reinforce"] = self.reinforce_weight * gradient
            terms["entropy"] = tf.reduce_sum(output.entropies * mask, axis=1)
            terms["reward"] = tf.reduce_sum(rewards * mask, axis=1) / terms["words"]
        return {name: tf.reduce_sum(value) for name, value in terms.items()}

    def total(self, sums: dict[str, Any]) -> Any:
        """Return the loss, summed over the captions."""
        weights = {
            "nll": 1.0,
            "penalty": self.doubly_stochastic_weight,
            "supervision": self.attention_supervision,
            "smoothing": self.label_smoothing,
            "entropy": -self.entropy_weight,
        }
        return sum(weight * sums[name] for name, weight in weights.items() if name in sums)

    def surrogate(self, sums: Sums) -> tf.Tensor:
        """Return what is differentiated: the loss, and the term whose gradient is REINFORCE's.

        The value of that term is meaningless; `total` leaves it out.
        """
        return self.total(sums) - sums.get("reinforce", 0.0)

    def reported(self, attention: str) -> tuple[str, ...]:
        """Return the names of the sums worth reporting, with soft or hard `attention`."""
        optional = {
            "smoothing": self.label_smoothing,
            "supervision": self.attention_supervision,
            "entropy": attention == "hard",
            "reward": attention == "hard",
        }
        return ("nll", "penalty", *(name for name, is_used in optional.items() if is_used))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CaptionLoss":
        """Rebuild the loss from `get_config`."""
        return cls(**config)
