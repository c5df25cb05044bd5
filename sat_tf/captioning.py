"""Captions of images: caption models behind the searches, and words made of ids.

Several models that share a vocabulary make an ensemble: at each step their probabilities are
averaged. A single model is an ensemble of one.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.config import DecodingConfig
from sat_tf.errors import UserError
from sat_tf.model.attention import Chance
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START, Memory, StepChances
from sat_tf.model.hard_attention import Places, given_places
from sat_tf.model.losses import real_steps
from sat_tf.search.beam import beam_search
from sat_tf.search.constraints import DecodingConstraints
from sat_tf.search.hypotheses import Decoded, StepFunction
from sat_tf.search.sampling import follow, greedy_search, sample
from sat_tf.vocabulary import END, PAD, UNK, Vocabulary

# The same images as each of the models takes them, see `CaptionModel.annotate`.
Batches = Sequence[Mapping[str, tf.Tensor]]


class Attention(NamedTuple):
    """Where a model looked for n words.

    alphas: float32 [n, rows, columns], each summing to 1, or less where there is an annotation of
      zeros to look at.
    betas: float32 [n].
    """

    alphas: np.ndarray
    betas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption and where each of its words looked.

    words: its n words, without the end.
    log_probabilities: of each word and, if it came, of the end, in nats: float32 [n or n + 1].
    score: by which captions of an image are ranked, see `--length_normalization`.
    attention: of each model of the ensemble.
    """

    words: tuple[str, ...]
    log_probabilities: np.ndarray
    score: float
    attention: tuple[Attention, ...]

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(self.words)

    @property
    def log_probability(self) -> float:
        """Of the caption, its end included, in nats."""
        return float(self.log_probabilities.sum())

    @property
    def alphas(self) -> np.ndarray:
        """Of the (first) model: float32 [n, rows, columns]."""
        return self.attention[0].alphas

    @property
    def betas(self) -> np.ndarray:
        """Of the (first) model: float32 [n]."""
        return self.attention[0].betas

    def __str__(self) -> str:
        return self.text


class Reading(NamedTuple):
    """Given captions as the models read them.

    log_probabilities: of each token, float32 [B, T], zero at padded steps.
    looks: of each model (alphas float32 [B, T, L], betas float32 [B, T]).
    """

    log_probabilities: tf.Tensor
    looks: tuple[tuple[tf.Tensor, tf.Tensor], ...]


def search_captions(
    models: Sequence[CaptionModel], annotations: Sequence[tf.Tensor], config: DecodingConfig
) -> Decoded:
    """Captions of images.

    Args:
      models: the ensemble.
      annotations: of the same images for each model, [I, rows, columns, D].
      config: how to search.

    Returns:
      Its `looks` are, for each model, (alphas float32 [I, K, T, L], betas float32 [I, K, T]).
    """
    walk = _walk(models, annotations, config)
    if config.search == "sample":
        decoded = sample(
            *walk,
            draws=config.num_samples,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            seed=config.sampling_seed,
        )
    elif config.beam_size == 1:
        decoded = greedy_search(*walk)
    else:
        decoded = beam_search(*walk, beam_size=config.beam_size)
    for (alphas, betas), model in zip(decoded.looks, models, strict=True):
        alphas.set_shape([None, config.num_captions, None, model.location_count])
        betas.set_shape([None, config.num_captions, None])
    return decoded


def sample_captions(
    model: CaptionModel, annotations: tf.Tensor, config: DecodingConfig, seed: tf.Tensor
) -> Decoded:
    """One caption of each image, each drawn with random numbers of its own.

    Args:
      model: the words are drawn from.
      annotations: of the images, [I, rows, columns, D].
      config: what may be drawn, and at which temperature.
      seed: int32 [2].
    """

    def choose(allowed: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
        now = tf.random.experimental.stateless_fold_in(seed, t)
        logits = allowed / config.temperature
        return tf.random.stateless_categorical(logits, 1, now, tf.int32)[:, 0]

    return follow(choose, *_walk([model], [annotations], config), paths=1)


def _walk(
    models: Sequence[CaptionModel], annotations: Sequence[tf.Tensor], config: DecodingConfig
) -> tuple[StepFunction, Any, tf.Tensor, DecodingConstraints, Any]:
    """What a search needs of the models: step, first states, first tokens, rules, looks' dtypes."""
    memories = [
        model.cell.prepare(model.locations(grid))
        for model, grid in zip(models, annotations, strict=True)
    ]
    images = tf.shape(annotations[0])[0]
    states = tuple(
        model.cell.initial_state(memory) for model, memory in zip(models, memories, strict=True)
    )

    def step(tokens: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any, Any]:
        t, states = state
        steps = [
            model.cell.next_word(tokens, own, memory, StepChances(_places(number, memory, t)))
            for number, (model, own, memory) in enumerate(
                zip(models, states, memories, strict=True)
            )
        ]
        logits, states, looks = zip(*steps, strict=True)
        seen = tuple((look.alpha, look.beta[:, 0]) for look in looks)
        return _average(logits), (t + 1, states), seen

    def _places(number: int, memory: Memory, t: tf.Tensor) -> Places:
        """Of each row; the k-th hypotheses of all images share their random numbers."""
        beams = tf.shape(t)[0] // tf.maximum(images, 1)
        shape = tf.stack([beams, tf.shape(memory.annotations)[1]])
        places = _places_at(models[number], number, config, shape, tf.reduce_max(t))
        return tf.nest.map_structure(lambda x: tf.tile(x, [images, 1]), places)

    first = tf.fill([images], START)
    dtypes = ((tf.float32, tf.float32),) * len(models)
    return step, (tf.zeros_like(first), states), first, _rules(config), dtypes


def _places_at(
    model: CaptionModel, number: int, config: DecodingConfig, shape: tf.Tensor, t: tf.Tensor
) -> Places:
    """Where a finished model looks at step `t`: noise of `shape`, its own.

    Args:
      model: of the ensemble.
      number: its place in it.
      config: how to search.
      shape: [K, L].
      t: counted from 0.
    """
    if model.config.attention == "soft":
        return ()
    # Words are drawn by the seed (sampling_seed, t): places must not share their numbers.
    seed = tf.stack([config.sampling_seed, t])
    seed = tf.random.experimental.stateless_fold_in(seed, number + 1)
    return given_places(config.attention_inference, shape, model.config.lstm_layers, seed)


def _rules(config: DecodingConfig) -> DecodingConstraints:
    return DecodingConstraints(
        end=END,
        max_steps=config.max_length,
        min_steps=config.min_length,
        barred=(PAD,) if config.allow_unk else (PAD, UNK),
        no_repeat_ngram=config.no_repeat_ngram,
        length_normalization=config.length_normalization,
        exponent=config.gnmt_exponent,
    )


def _average(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Log of the mean probability: several [..., V] -> [..., V]."""
    each = [tf.nn.log_softmax(one) for one in logits]
    if len(each) == 1:
        return each[0]
    return tf.reduce_logsumexp(tf.stack(each), axis=0) - math.log(len(each))


def make_search(
    models: Sequence[CaptionModel], config: DecodingConfig
) -> Callable[[Batches], Decoded]:
    """`search_captions` compiled, from batches of images or of their annotations."""

    @tf.function(reduce_retracing=True, autograph=False)
    def search(batches: Batches) -> Decoded:
        annotations = [model.annotate(batch) for model, batch in zip(models, batches, strict=True)]
        return search_captions(models, annotations, config)

    return search


def make_reader(
    models: Sequence[CaptionModel], config: DecodingConfig
) -> Callable[[Batches], Reading]:
    """A compiled function that reads given captions, see `sat_tf.data.pipeline.caption_batches`."""

    def read_one(number: int, batch: Mapping[str, tf.Tensor]) -> Any:
        model = models[number]
        steps = tf.shape(batch["tokens"])[1]
        shape = tf.constant([1, model.location_count])  # the same for all captions
        places: Places = ()
        if _places_at(model, number, config, shape, tf.constant(0)):
            spec = Chance(tf.TensorSpec([1, model.location_count]), tf.TensorSpec([1, 1], tf.bool))
            places = tf.map_fn(
                lambda t: _places_at(model, number, config, shape, t),
                tf.range(steps),
                fn_output_signature=(spec,) * model.config.lstm_layers,
            )
        annotations = model.annotate(batch)
        return model(annotations, batch["tokens"], batch["image_index"], places=places)

    @tf.function(reduce_retracing=True, autograph=False)
    def read(batches: Batches) -> Reading:
        tokens = batches[0]["tokens"]  # [B, T]
        each = [read_one(*both) for both in enumerate(batches)]
        average = _average([reading.logits for reading in each])
        log_probabilities = tf.gather(average, tokens, batch_dims=2)
        looks = tuple((reading.alphas, reading.betas) for reading in each)
        return Reading(log_probabilities * real_steps(tokens), looks)

    return read


def read_captions(
    decoded: Decoded, vocabulary: Vocabulary, grids: Sequence[tuple[int, int]]
) -> list[tuple[Caption, ...]]:
    """The captions of a batch: for each image those that were found, in their order.

    Args:
      decoded: see `search_captions`.
      vocabulary: of the models.
      grids: rows and columns of each model's annotations.

    Raises:
      UserError: an image has no caption at all.
    """
    batch = tf.nest.map_structure(lambda x: x.numpy(), decoded)

    def caption(i: int, k: int) -> Caption:
        length = batch.lengths[i, k]
        words = vocabulary.words_of(batch.tokens[i, k, :length].tolist())
        looks = [(alphas[i, k], betas[i, k]) for alphas, betas in batch.looks]
        return make_caption(
            words,
            batch.log_probabilities[i, k, :length],
            float(batch.scores[i, k]),
            zip(looks, grids, strict=True),
        )

    images, beams = batch.lengths.shape
    if not batch.lengths.any(axis=1).all():
        raise UserError("the run's weights are damaged: they give no word a probability")
    return [
        tuple(caption(i, k) for k in range(beams) if batch.lengths[i, k]) for i in range(images)
    ]


def make_caption(
    words: Sequence[str],
    log_probabilities: np.ndarray,
    score: float,
    looks: Iterable[tuple[tuple[np.ndarray, np.ndarray], tuple[int, int]]],
) -> Caption:
    """A caption of n words.

    Args:
      words: without the end.
      log_probabilities: see `Caption`.
      score: see `Caption`.
      looks: of each model ((alphas [T, L], betas [T]), (rows, columns)), T at least n.
    """
    n = len(words)
    # What rests on an annotation of zeros, the last one, is nowhere in the image.
    attention = tuple(
        Attention(alphas[:n, : rows * columns].reshape(n, rows, columns), betas[:n])
        for (alphas, betas), (rows, columns) in looks
    )
    return Caption(tuple(words), log_probabilities, score, attention)
