"""Captions from models: search over their steps, teacher-forced scores, token ids to words.

Several models that share a vocabulary form an ensemble: at each step their probabilities are
averaged. A single model is an ensemble of one.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.config import DecodingConfig
from sat_tf.errors import UserError
from sat_tf.model.decoder import START
from sat_tf.model.hard_attention import LocationSample, Samples, inference_samples
from sat_tf.model.losses import step_mask
from sat_tf.search.beam import beam_search
from sat_tf.search.hypotheses import Decoded, DecodingConstraints, SearchProblem
from sat_tf.search.sampling import greedy_search, sample
from sat_tf.vocabulary import END, PAD, UNK, Vocabulary

if TYPE_CHECKING:
    from sat_tf.model.caption_model import CaptionModel

# The same images as inputs of each of the models, see `CaptionModel`.
Batches = Sequence[Mapping[str, tf.Tensor]]


class AttentionMaps(NamedTuple):
    """The attention of one model at the n words of a caption.

    alphas: float32 [n, rows, columns]; each sums to 1, or less if there is a null location.
    betas: float32 [n].
    """

    alphas: np.ndarray
    betas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Caption:
    """A caption with its score and its attention.

    words: the n words, without the end.
    log_probs: of each word and, if it was generated, the end, in nats: float32 [n or n + 1].
    score: ranks the captions of an image, see `--length_normalization`; higher is better.
    attention: of each model of the ensemble.
    """

    words: tuple[str, ...]
    log_probs: np.ndarray
    score: float
    attention: tuple[AttentionMaps, ...]

    @property
    def text(self) -> str:
        """The words joined by spaces."""
        return " ".join(self.words)

    @property
    def log_prob(self) -> float:
        """Log probability of the caption, its end included, in nats."""
        return float(self.log_probs.sum())

    @property
    def alphas(self) -> np.ndarray:
        """Alphas of the (first) model: float32 [n, rows, columns]."""
        return self.attention[0].alphas

    @property
    def betas(self) -> np.ndarray:
        """Betas of the (first) model: float32 [n]."""
        return self.attention[0].betas

    def __str__(self) -> str:
        return self.text


class TeacherForcedScores(NamedTuple):
    """Scores of given captions.

    log_probs: of each token, float32 [B, T], zero at padded steps.
    attention: of each model (alphas float32 [B, T, L], betas float32 [B, T]).
    """

    log_probs: tf.Tensor
    attention: tuple[tuple[tf.Tensor, tf.Tensor], ...]


class Generator:
    """Compiled `generate` and `score` of an ensemble, traced once for each way of decoding.

    Args:
      models: the ensemble; their weights may change between calls.
    """

    def __init__(self, models: Sequence["CaptionModel"]) -> None:
        self._compiled = functools.cache(
            lambda function, decoding: compile_for_any_size(
                lambda batches: function(models, batches, decoding)
            )
        )

    def generate(self, batches: Batches, decoding: DecodingConfig) -> Decoded:
        """Generate captions of images; see the function `generate`."""
        return self._compiled(generate, decoding)(batches)

    def score(self, batches: Batches, decoding: DecodingConfig) -> TeacherForcedScores:
        """Score given captions; see the function `score`."""
        return self._compiled(score, decoding)(batches)


def compile_for_any_size(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of batches, traced once for all numbers of images, captions and tokens.

    The last three dimensions of images and their features, and all but the first two of other
    tensors, are fixed.
    """
    compiled = tf.function(function, autograph=False)

    def of_any_size(tensor: tf.Tensor) -> tf.TensorSpec:
        variable = 1 if len(tensor.shape) == 4 else min(2, len(tensor.shape))
        return tf.TensorSpec([None] * variable + tensor.shape[variable:], tensor.dtype)

    def call(*arguments: Any) -> Any:
        arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)
        # Traced at the first call only; without this, `compiled` would trace other sizes anew.
        compiled.get_concrete_function(*tf.nest.map_structure(of_any_size, arguments))
        return compiled(*arguments)

    return call


def generate(
    models: Sequence["CaptionModel"], batches: Batches, decoding: DecodingConfig
) -> Decoded:
    """Generate captions of images: by beam search, greedy search or sampling.

    Args:
      models: the ensemble.
      batches: of each model `images` or `features`.
      decoding: how to search.

    Returns:
      K captions of each image. The step outputs are, for each model, (alphas float32
      [I, K, T, L], betas float32 [I, K, T]).
    """
    problem = _search_problem(models, batches, decoding)
    count = decoding.num_captions
    if decoding.search == "sample":
        decoded = sample(
            problem,
            num_samples=count,
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            seed=decoding.sampling_seed,
        )
    elif count == 1:
        decoded = greedy_search(problem)
    else:
        decoded = beam_search(problem, count)
    for (alphas, betas), model in zip(decoded.step_outputs, models, strict=True):
        alphas.set_shape([None, count, None, model.num_locations])
        betas.set_shape([None, count, None])
    return decoded


def score(
    models: Sequence["CaptionModel"], batches: Batches, decoding: DecodingConfig
) -> TeacherForcedScores:
    """Score given captions by teacher forcing.

    Args:
      models: the ensemble.
      batches: of each model `images` or `features`; all with the same `tokens`.
      decoding: says which context hard attention uses.
    """
    tokens = batches[0]["tokens"]  # [B, T]
    outputs = []
    for number, (model, batch) in enumerate(zip(models, batches, strict=True)):
        shape = [1, model.num_locations]  # the same for all captions
        samples: Samples = ()
        if model.config.attention == "hard" and decoding.attention_inference != "expectation":
            one = LocationSample(tf.TensorSpec(shape), tf.TensorSpec([1, 1], tf.bool))
            samples = tf.map_fn(
                functools.partial(_location_samples, model, number, decoding, shape),
                tf.range(tf.shape(tokens)[1]),
                fn_output_signature=(one,) * model.config.lstm_layers,
            )  # [T, 1, ...]
        outputs.append(model(batch, samples=samples))
    average = _average([output.logits for output in outputs])  # [B, T, V]
    log_probs = tf.gather(average, tokens, batch_dims=2) * step_mask(tokens)  # [B, T]
    attention = tuple((output.alphas, output.betas) for output in outputs)
    return TeacherForcedScores(log_probs, attention)


def _search_problem(
    models: Sequence["CaptionModel"], batches: Batches, decoding: DecodingConfig
) -> SearchProblem:
    memories = [
        model.decoder.prepare(model.flatten_grid(model.encode_images(batch)))
        for model, batch in zip(models, batches, strict=True)
    ]
    images = tf.shape(memories[0].features)[0]

    def step(tokens: tf.Tensor, state: Any) -> tuple[tf.Tensor, Any, Any]:
        t, states = state
        # The k-th hypotheses of all images share their random numbers.
        beams = tf.shape(t)[0] // tf.maximum(images, 1)
        outputs = []
        for number, (model, memory) in enumerate(zip(models, memories, strict=True)):
            shape = tf.stack([beams, tf.shape(memory.features)[1]])
            samples = _location_samples(model, number, decoding, shape, tf.reduce_max(t))
            samples = tf.nest.map_structure(lambda x: tf.tile(x, [images, 1]), samples)
            outputs.append(model.decoder.next_token(tokens, states[number], memory, samples))
        logits, steps = zip(*outputs, strict=True)
        attention = tuple((one.attended.alpha, one.attended.beta[:, 0]) for one in steps)
        return _average(logits), (t + 1, tuple(one.states for one in steps)), attention

    states = tuple(
        model.decoder.initial_state(memory) for model, memory in zip(models, memories, strict=True)
    )
    start = tf.fill([images], START)
    dtypes = ((tf.float32, tf.float32),) * len(models)
    state = (tf.zeros_like(start), states)
    return SearchProblem(step, state, start, decoding_constraints(decoding), dtypes)


def _location_samples(
    model: "CaptionModel", number: int, decoding: DecodingConfig, shape: tf.Tensor, t: tf.Tensor
) -> Samples:
    """Return the location samples, [K, L], of the `number`-th model at step t."""
    if model.config.attention == "soft":
        return ()
    # Tokens are sampled with the seed (sampling_seed, t): locations must not share its numbers.
    seed = tf.stack([decoding.sampling_seed, t])
    seed = tf.random.experimental.stateless_fold_in(seed, number + 1)
    return inference_samples(decoding.attention_inference, shape, model.config.lstm_layers, seed)


def decoding_constraints(decoding: DecodingConfig) -> DecodingConstraints:
    """Return the constraints that a configuration describes."""
    return DecodingConstraints(
        end_id=END,
        max_steps=decoding.max_length,
        min_steps=decoding.min_length,
        suppressed_ids=(PAD,) if decoding.allow_unk else (PAD, UNK),
        no_repeat_ngram=decoding.no_repeat_ngram,
        length_normalization=decoding.length_normalization,
        exponent=decoding.gnmt_exponent,
    )


def _average(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the log of the mean probability of several logits [..., V]."""
    log_probs = [tf.nn.log_softmax(one) for one in logits]
    if len(log_probs) == 1:
        return log_probs[0]
    return tf.reduce_logsumexp(tf.stack(log_probs), axis=0) - math.log(len(log_probs))


def make_captions(
    decoded: Decoded, vocabulary: Vocabulary, grids: Sequence[tuple[int, int]]
) -> list[tuple[Caption, ...]]:
    """Return the captions of each image of a batch, in the order of the search.

    `decoded` is what `generate` returns, `grids` rows and columns of each model's features.

    Raises:
      UserError: an image has no caption at all.
    """
    batch = tf.nest.map_structure(lambda x: x.numpy(), decoded)

    def caption(i: int, k: int) -> Caption:
        length = batch.lengths[i, k]
        words = vocabulary.words_of(batch.tokens[i, k, :length].tolist())
        attention = [(alphas[i, k], betas[i, k]) for alphas, betas in batch.step_outputs]
        score = float(batch.scores[i, k])
        return make_caption(words, batch.log_probs[i, k, :length], score, attention, grids)

    images, beams = batch.lengths.shape
    if not batch.lengths.any(axis=1).all():
        raise UserError("the run's weights are damaged: they give no word a probability")
    return [
        tuple(caption(i, k) for k in range(beams) if batch.lengths[i, k]) for i in range(images)
    ]


def make_caption(
    words: Sequence[str],
    log_probs: np.ndarray,
    score: float,
    attention: Sequence[tuple[np.ndarray, np.ndarray]],
    grids: Sequence[tuple[int, int]],
) -> Caption:
    """Return a `Caption`; `attention` is (alphas [T, L], betas [T]) of each model, T at least n."""
    n = len(words)
    # The null location, the last one, is not in the image.
    maps = tuple(
        AttentionMaps(alphas[:n, : rows * columns].reshape(n, rows, columns), betas[:n])
        for (alphas, betas), (rows, columns) in zip(attention, grids, strict=True)
    )
    return Caption(tuple(words), log_probs, score, maps)
