"""Self-critical sequence training: sampled captions against the greedy one (Rennie et al., 2017).

The reward of a caption y sampled from the model is r(y), its score against the references of the
image; the baseline is that of the greedy caption g, which the model would generate:

    dL/dW = 1/N sum_n (r(y_n) - r(g)) dlog q(y_n|a)/dW

with N = `self_critical_samples` samples. The token probabilities of q are those of p with their
log probabilities divided by `self_critical_temperature`. At 1, where q is p (Rennie et al.), a
model trained on few captions samples many poor ones, and most of the gradient is noise about
captions that it would not generate; below 1 the samples come closer to g. Greedy search is the
same at any temperature. Dropout is off. The doubly stochastic penalty of the samples is added.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sat_tf.config import Config
from sat_tf.data.pipeline import TokenizedCaptions
from sat_tf.data.records import Record
from sat_tf.metrics.registry import make_reward
from sat_tf.metrics.text import tokenized_references
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.decoder import START, AttentionDecoder, AttentionMemory, LSTMState
from sat_tf.model.generation import decoding_constraints
from sat_tf.model.hard_attention import shared_seed
from sat_tf.model.losses import (
    CaptionLoss,
    Sums,
    doubly_stochastic_penalty,
    negative_log_likelihood,
    step_mask,
)
from sat_tf.search.hypotheses import Decoded, SearchProblem
from sat_tf.search.sampling import categorical, decode_loop
from sat_tf.vocabulary import Vocabulary

_SUPPRESSED = -1e9  # a logit whose probability is zero


def one_per_image(captions: TokenizedCaptions) -> TokenizedCaptions:
    """Keep the first caption of each image, so that an epoch takes each image once."""
    _, first = np.unique(captions.image, return_index=True)
    return TokenizedCaptions([captions.tokens[i] for i in first], captions.image[first])


class SelfCriticalLoss(CaptionLoss):
    """The loss of self-critical training, with the captions of the training split as references.

    It holds the references and is not saved with a model: load such a model with `compile=False`.

    Raises:
      UserError: the score needs a package that is not installed.
    """

    def __init__(self, vocabulary: Vocabulary, records: Sequence[Record], config: Config) -> None:
        training = config.training
        super().__init__(doubly_stochastic_weight=training.doubly_stochastic_weight)
        self._reward = make_reward(training.self_critical, tokenized_references(records))
        self._vocabulary, self._num_samples = vocabulary, training.self_critical_samples
        self._temperature = training.self_critical_temperature
        self._greedy = decoding_constraints(config.decoding)
        # No constraints beyond the suppressed tokens: the samples must come from the model.
        self._sampling = dataclasses.replace(self._greedy, min_steps=0, no_repeat_ngram=0)

    def __call__(self, model: CaptionModel, batch: Batch, training: bool = True) -> Sums:
        """Sample captions and score them.

        Returns:
          Sums over the images, each the mean over an image's samples: `score`, `greedy_score`,
          `reinforce`, `penalty` and `words`, ends included; `captions` counts the images.
        """
        count, decoder = self._num_samples, model.decoder
        memory = decoder.prepare(model.flatten_grid(model.encode_images(batch, training)))
        state = decoder.initial_state(memory)
        uniform = self._random_numbers(model, batch)
        decoded = self._decode(decoder, state, memory, uniform)
        scores = self._score(batch["rows"], decoded.tokens)  # [I, 1 + N]
        score, greedy_score = tf.reshape(scores[:, 1:], [-1]), scores[:, 0]  # [I N], [I]

        def samples_of(values: tf.Tensor) -> tf.Tensor:  # [I, 1 + N, T, ...] -> [I N, T, ...]
            shape = tf.shape(values)
            return tf.reshape(values[:, 1:], tf.concat([[shape[0] * count], shape[2:]], axis=0))

        def by_step(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:  # -> [T, I N, ...]
            values = tf.transpose(samples_of(values), [1, 0, *range(2, len(like.shape) + 1)])
            return tf.ensure_shape(values, [None, None, *like.shape[1:]])

        tokens = samples_of(decoded.tokens)
        taken = None  # a decoder of several layers takes the steps again
        if decoder.has_written_gradient:
            like = decoder.before_first_step(state, memory)
            taken = tf.nest.map_structure(by_step, decoded.step_outputs, like)
        state, memory = tf.nest.map_structure(
            lambda x: tf.repeat(x, count, axis=0), (state, memory)
        )  # of each sample
        output = decoder.teacher_force(tokens, state, memory, taken=taken)
        one_hot = tf.one_hot(self._sampling.suppressed_ids, len(self._vocabulary))
        logits = output.logits + _SUPPRESSED * tf.reduce_sum(one_hot, axis=0)
        log_q = -negative_log_likelihood(logits / self._temperature, tokens)
        advantage = score - tf.repeat(greedy_score, count)
        terms = {
            "score": score,
            "reinforce": advantage * log_q,
            "penalty": doubly_stochastic_penalty(output.alphas, tokens),
            "words": tf.reduce_sum(step_mask(tokens), axis=1),
        }
        return {
            **{name: tf.reduce_sum(value) / count for name, value in terms.items()},
            "greedy_score": tf.reduce_sum(greedy_score),
            "captions": tf.cast(tf.shape(greedy_score)[0], tf.float32),
        }

    def _decode(
        self,
        decoder: AttentionDecoder,
        state: tuple[LSTMState, ...],
        memory: AttentionMemory,
        uniform: tf.Tensor,
    ) -> Decoded:
        """Find the greedy caption of each of I images and then N samples, all extended together.

        Hard attention decodes by its expectation. `uniform` has the random numbers of each step
        and sample, float32 [T, I, N]. The step outputs are a `DecoderStep`, [I, 1 + N, T, ...].
        """
        images, each = tf.shape(memory.features)[0], 1 + self._num_samples
        is_greedy = tf.tile(tf.range(each) == 0, [images])  # [I (1 + N)]

        def select(log_probs: tf.Tensor, tokens: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
            best = self._greedy.mask_log_probs(log_probs, tokens, t)
            logits = self._sampling.mask_log_probs(log_probs, tokens, t) / self._temperature
            numbers = tf.reshape(tf.pad(uniform[t], [[0, 0], [1, 0]]), [-1])  # [I (1 + N)]
            sampled = categorical(logits, numbers)
            return tf.where(is_greedy, tf.argmax(best, axis=1, output_type=tf.int32), sampled)

        def step(tokens: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any, Any]:
            logits, taken = decoder.next_token(tokens, state, memory)
            return tf.nn.log_softmax(logits), taken.states, taken

        dtypes = tf.nest.map_structure(lambda x: x.dtype, decoder.before_first_step(state, memory))
        problem = SearchProblem(step, state, tf.fill([images], START), self._sampling, dtypes)
        return decode_loop(select, problem.repeat(each), each)

    def _random_numbers(self, model: CaptionModel, batch: Batch) -> tf.Tensor:
        """Return the random numbers of each sampled token, [T, I, N].

        Replicas draw those of the whole minibatch: an image has the same ones on whichever it is.
        """
        images = tf.range(tf.size(batch["rows"]))
        size = tf.cast(batch.get("captions", tf.size(images)), tf.int32)
        shape = [self._sampling.max_steps, size, self._num_samples]
        uniform = tf.random.stateless_uniform(shape, shared_seed(model.decoder.seed_generator))
        # One caption an image; the images come in another order than their captions.
        order = tf.argsort(batch.get("image_index", images))
        return tf.gather(uniform, batch.get("first", 0) + order, axis=1)

    def _score(self, rows: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """Return the rewards of K captions of each image, int32 [I, K, T] -> float32 [I, K]."""

        def rewards(rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
            images, each, length = tokens.shape
            captions = [self._vocabulary.decode(ids) for ids in tokens.reshape(-1, length).tolist()]
            return self._reward(np.repeat(rows, each), captions).reshape(images, each)

        scores = tf.numpy_function(rewards, [rows, tokens], tf.float32)
        return tf.ensure_shape(scores, [None, 1 + self._num_samples])

    def total(self, sums: dict[str, Any]) -> Any:
        """Return the loss, summed over the images."""
        return self.doubly_stochastic_weight * sums["penalty"] - sums["score"]

    def reported(self, attention: str) -> tuple[str, ...]:
        """Return the names of the sums worth reporting."""
        del attention
        return ("score", "greedy_score", "penalty")
