"""Self-critical training: captions that are drawn, against the greedy one (Rennie et al., 2017).

A caption y drawn from the model gains r(y), its score against the image's references; the caption
g that greedy search finds, which is what the model would say, is the baseline:

    dL/dW = 1/N sum_n (r(y_n) - r(g)) dlog q(y_n|a)/dW

with N = `self_critical_samples` draws. The words of q are those of p with their log probabilities
divided by `self_critical_temperature`. At 1, where q is p (Rennie et al.), a model that has read
few captions draws many a poor one, and most of the gradient is noise about captions that the
model would not say; below 1 the draws come closer to g. Greedy search is the same at any. A draw
is read as it was drawn, without dropout. The doubly stochastic penalty acts on it as ever.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sat_tf.captioning import sample_captions, search_captions
from sat_tf.config import Config, DecodingConfig
from sat_tf.data.pipeline import TokenizedCaptions
from sat_tf.data.records import Record
from sat_tf.metrics.registry import Reward, make_reward
from sat_tf.metrics.text import tokenized_references
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.losses import doubly_stochastic_penalty, negative_log_likelihood, real_steps
from sat_tf.model.seeds import per_replica_seed
from sat_tf.search.hypotheses import Decoded
from sat_tf.training.objective import Batch, Controls, Objective, Sums
from sat_tf.vocabulary import PAD, UNK, Vocabulary

_NEVER = -1e9  # a logit of what can't be drawn


def one_per_image(captions: TokenizedCaptions) -> TokenizedCaptions:
    """The first caption of each image, so that a plan takes each image once."""
    _, first = np.unique(captions.image, return_index=True)
    return TokenizedCaptions([captions.tokens[i] for i in first], captions.image[first])


def make_self_critical(
    model: CaptionModel, vocabulary: Vocabulary, records: Sequence[Record], config: Config
) -> Objective:
    """The objective of a model.

    Its sums: `score` and `greedy_score` of the drawn and the greedy captions, `reinforce`,
    `penalty`, and `words`, ends included, each the mean over an image's draws; `captions` counts
    the images.

    Args:
      model: that draws.
      vocabulary: of the model.
      records: of the training split: their captions are the references.
      config: of the run.

    Raises:
      UserError: the score needs a package that is not there.
    """
    reward = make_reward(config.training.self_critical, tokenized_references(records))
    temperature = config.training.self_critical_temperature
    # No rules but what may be said at all: a draw must be one from the model.
    drawing = DecodingConfig(
        search="sample",
        beam_size=1,
        temperature=temperature,
        min_length=0,
        max_length=config.decoding.max_length,
        allow_unk=config.decoding.allow_unk,
    )
    greedy = dataclasses.replace(
        config.decoding, search="beam", beam_size=1, temperature=1.0, top_k=0, top_p=1.0
    )
    barred = [PAD] if drawing.allow_unk else [PAD, UNK]
    generator, draws = model.cell.seed_generator, config.training.self_critical_samples

    def objective(batch: Batch, controls: Controls) -> Sums:
        del controls
        annotations = model.annotate(batch, training=True)
        images = tf.shape(annotations)[0]
        index = tf.repeat(tf.range(images), draws)  # [I N]
        drawn = sample_captions(
            model, tf.gather(annotations, index), drawing, per_replica_seed(generator)
        )
        found = search_captions([model], [annotations], greedy)
        score = _scores(reward, vocabulary, tf.gather(batch["rows"], index), drawn)
        greedy_score = _scores(reward, vocabulary, batch["rows"], found)
        tokens = tf.stop_gradient(drawn.tokens[:, 0])  # [I N, T]
        read = model(annotations, tokens, index)
        logits = read.logits + _NEVER * tf.reduce_sum(tf.one_hot(barred, len(vocabulary)), axis=0)
        log_q = -negative_log_likelihood(logits / temperature, tokens)
        advantage = score - tf.gather(greedy_score, index)
        of_draws = {
            "score": score,
            "reinforce": advantage * log_q,
            "penalty": doubly_stochastic_penalty(read.alphas, tokens),
            "words": tf.reduce_sum(real_steps(tokens), axis=1),
        }
        return {
            **{name: tf.reduce_sum(value) / draws for name, value in of_draws.items()},
            "greedy_score": tf.reduce_sum(greedy_score),
            "captions": tf.cast(images, tf.float32),
        }

    return objective


def _scores(reward: Reward, vocabulary: Vocabulary, rows: tf.Tensor, decoded: Decoded) -> tf.Tensor:
    """The reward of each image's first caption: float32 [I]."""

    def score(rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return reward(rows, [vocabulary.decode(caption.tolist()) for caption in tokens])

    scores = tf.numpy_function(score, [rows, decoded.tokens[:, 0]], tf.float32)
    return tf.ensure_shape(scores, [None])
