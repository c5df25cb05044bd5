"""Convert a model of arctic-captions into a run: its options become settings, its weights ours.

A run computes what the authors' code computes at test time. `WeightSource` describes how weights
correspond. Two conventions differ besides:

LSTM encoder. The backward LSTM reverses the order of the minibatch in their training graph, and
the order of the locations in the graph that captions. Here it reverses the locations.

Vocabulary. Their tokens 0 and 1, end and unknown, are 1 and 2 here; words follow. Padding, which
they do not have, gets a logit that makes it impossible. Tokens without a word in the dictionary
never occurred in training: they are left out, and their probability, next to none, goes to the
others in proportion.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from sat_tf.config import Config, DecoderConfig, TrainingConfig
from sat_tf.errors import UserError
from sat_tf.importers.arctic_files import DROPOUT, ArcticModel, ArcticOptions, weight_sources
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import build_encoder, resolve_encoder, save_encoder
from sat_tf.model.weights import provenance, save_weights
from sat_tf.storage import BEST, ENCODER_FILE, VOCABULARY_FILE, atomic_path
from sat_tf.vocabulary import SPECIAL

# Their optimizers have constant step sizes; `lrate` is that of sgd alone.
_STEP_SIZES = {"adam": 2e-4, "rmsprop": 1e-4, "adadelta": 1.0}
_REWARD_WEIGHT = 0.1  # of the reward in their gradient of alpha
# The logit of padding: its exponential is 0 in float32. Not lower, since weight decay in further
# training adds its square.
_PADDING_LOGIT = -1000.0


def write_run(model: ArcticModel, given: Config, workdir: str | os.PathLike[str]) -> Config:
    """Write a run as a finished training leaves it, without its last state and its scores.

    Features are not scaled: the model was trained on them as they are. Returns the run's settings.

    Args:
      model: as it was read.
      given: what the model's files do not say: the data, the images, the encoder, and whether
        there is a null location. The other settings are made from the model's options.
      workdir: must not exist; appears whole or not at all.

    Raises:
      UserError: the encoder is not available or not the model's; an option has no counterpart here.
    """
    options = model.options
    decoder = decoder_settings(options, given.decoder.null_location)
    encoder = build_encoder(given.encoder, given.images.image_size)
    if encoder.output_shape[-1] != options.ctx_dim:
        layer = resolve_encoder(given.encoder).encoder_layer
        named = f"--encoder={given.encoder.encoder}" + f" --encoder_layer={layer}" * bool(layer)
        raise UserError(
            f"the model was trained on features of size {options.ctx_dim} (its ctx_dim), but those "
            f"of {named} have size {encoder.output_shape[-1]}: name the encoder that it was "
            "trained with"
        )
    network = build_caption_model(model, encoder, decoder)
    config = dataclasses.replace(
        given,
        data=dataclasses.replace(
            given.data,
            vocabulary_size=len(model.vocabulary) - len(SPECIAL),
            max_caption_words=longest_caption(options),
        ),
        encoder=resolve_encoder(given.encoder),
        decoder=decoder,
        training=training_settings(options, network.num_locations),
    )
    with atomic_path(workdir) as folder:
        save_encoder(encoder, folder / ENCODER_FILE)
        model.vocabulary.save(folder / VOCABULARY_FILE)
        save_weights(network, folder / BEST, provenance(folder, config, model.vocabulary))
        config.save(folder)
    return config


def decoder_weights(model: ArcticModel) -> dict[str, np.ndarray]:
    """Return the decoder's weights by their paths below it, float32."""
    made = {
        source.path: np.atleast_1d(source.factor * model.weights[name])
        for name, source in weight_sources(model.options).items()
    }
    known = len(model.vocabulary) - 1  # theirs have no padding
    embeddings, output = "embedding/embeddings", "deep_output/output_projection"
    made[embeddings] = np.pad(made[embeddings][:known], [(1, 0), (0, 0)])
    made[f"{output}/kernel"] = np.pad(made[f"{output}/kernel"][:, :known], [(0, 0), (1, 0)])
    bias = made[f"{output}/bias"][:known]
    made[f"{output}/bias"] = np.pad(bias, (1, 0), constant_values=_PADDING_LOGIT)
    if model.options.ctx2out:
        made["deep_output/hidden_projection/bias"] += made.pop(
            "deep_output/context_projection/bias"
        )
    for path in made:
        if "/lstm_cell/" in path:
            i, f, o, g = np.split(made[path], 4, axis=-1)
            made[path] = np.concatenate([i, f, g, o], axis=-1)  # the order of Keras
    return made


def build_caption_model(
    model: ArcticModel, encoder: keras.Model, decoder: DecoderConfig
) -> CaptionModel:
    """Return a captioning model with these weights, whose encoder has `ctx_dim` channels."""
    made = CaptionModel(encoder, decoder, len(model.vocabulary))
    values = decoder_weights(model)
    weights = {
        weight.path.removeprefix(f"{made.decoder.name}/"): weight for weight in made.decoder.weights
    }
    assert weights.keys() == values.keys(), weights.keys() ^ values.keys()
    for path, weight in weights.items():
        weight.assign(values[path])
    return made


# --- Options as settings


@contextlib.contextmanager
def _naming_options() -> Iterator[None]:
    """Say of a rejected value that it comes from the model's options."""
    try:
        yield
    except UserError as error:
        what = f"the options of arctic-captions can't be settings of a run: {error}"
        raise UserError(what) from None


@_naming_options()
def decoder_settings(options: ArcticOptions, null_location: bool) -> DecoderConfig:
    """Return the settings of the decoder; raise `UserError` for an option outside their limits.

    Args:
      options: of the model.
      null_location: whether the model was trained with features of zeros as a further location,
        which depends on how its data were read, not on its options.
    """
    is_hard = options.attn_type == "stochastic"
    return DecoderConfig(
        embedding_size=options.dim_word,
        hidden_size=options.dim,
        attention_size=options.feature_size,
        attention="hard" if is_hard else "soft",
        attention_temperature=options.temperature if is_hard else 1.0,
        attention_layers=options.n_layers_att,
        lstm_layers=options.n_layers_lstm,
        initial_layers=options.n_layers_init,
        output_layers=options.n_layers_out,
        output_activation="tanh",
        output_uses_embedding=options.prev2out,
        output_uses_context=options.ctx2out,
        output_bias="zero",
        gate="scalar" if options.selector else "none",
        attention_query="hidden",
        lstm_encoder=options.lstm_encoder,
        position="none",
        null_location=null_location,
        dropout=DROPOUT if options.use_dropout else 0.0,
        lstm_dropout=DROPOUT if options.use_dropout_lstm else 0.0,
        initializer="authors",
    )


@_naming_options()
def training_settings(options: ArcticOptions, locations: int) -> TrainingConfig:
    """Return the settings of the training; raise `UserError` for an option outside their limits.

    Unknown options keep this package's defaults. Validations, which `patience` counts, are one an
    epoch here.

    Args:
      options: of the model.
      locations: L, the null location included; lambda depends on it.
    """
    batch_size = options.batch_size or TrainingConfig.batch_size
    known: dict[str, Any] = {
        "batch_size": options.batch_size,
        "weight_decay": options.decay_c,
        "optimizer": options.optimizer,
        "learning_rate": _STEP_SIZES.get(options.optimizer or "", options.lrate),
        "patience": options.patience,
    }
    if options.attn_type == "deterministic":
        # Theirs is summed over the minibatch and averaged over L, ours the other way round.
        penalty = _scaled(options.alpha_c, batch_size / locations)
        known["doubly_stochastic_weight"] = penalty
    else:
        # Their gradient of alpha has no part of the penalty, and lacks the 1 / B of the cost.
        known["doubly_stochastic_weight"] = 0.0
        known["entropy_weight"] = _scaled(options.alpha_entropy_c, batch_size)
        known["sampling_probability"] = options.semi_sampling_p
        if 0 < options.semi_sampling_p < 1:  # otherwise there is no choice between two modes
            known["sampling_by"] = "batch"
        if options.semi_sampling_p:  # otherwise no location is sampled, and there is no reward
            known["reward"] = "step" if options.RL_sumCost is False else "mean"
            known["reinforce_weight"] = _REWARD_WEIGHT * batch_size
    return TrainingConfig(
        batch_by="length",
        learning_rate_schedule="constant",
        clip_norm=0.0,
        monitor="perplexity",
        **{name: value for name, value in known.items() if value is not None},
    )


def _scaled(weight: float | None, factor: float) -> float | None:
    return None if weight is None else weight * factor


def longest_caption(options: ArcticOptions) -> int:
    """Return the most words of a training caption; 0 is no limit. Theirs are below `maxlen`."""
    return max(options.maxlen - 1, 1) if options.maxlen else 0
