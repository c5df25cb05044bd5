"""A run, made out of a model of arctic-captions."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np

from sat_tf.config import Config, DecoderConfig
from sat_tf.errors import UserError
from sat_tf.importers.arctic_decoder import decoder_weights
from sat_tf.importers.arctic_files import FIRST_WORD, ArcticModel
from sat_tf.importers.arctic_settings import decoder_settings, longest_caption, training_settings
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import AttentionDecoderCell
from sat_tf.model.encoder import build_encoder, resolve_encoder, save_encoder
from sat_tf.model.weights import save_weights
from sat_tf.storage import atomic_path
from sat_tf.vocabulary import SPECIAL, Vocabulary
from sat_tf.workdir import BEST, ENCODER_FILE, VOCABULARY_FILE


def write_run(model: ArcticModel, given: Config, workdir: str | os.PathLike[str]) -> Config:
    """Writes a run as a finished training leaves it, but for its last state and its scores.

    The annotations are not scaled: the model has learned from them as they are.

    Args:
      model: as it was read.
      given: what the model does not know of itself: the data, the images, the encoder, and
        whether there is an annotation of zeros. The other settings are made from its options.
      workdir: must not exist; appears whole or not at all.

    Returns:
      The settings of the run.

    Raises:
      UserError: the encoder can't be had, or is not the model's; a word or an option has no
        place here.
    """
    vocabulary = make_vocabulary(model.words)
    decoder = decoder_settings(model.options, given.decoder.null_location)
    encoder = build_encoder(given.encoder, given.images.image_size)
    _check_annotations(model, given, encoder.output_shape)
    network = CaptionModel(encoder, decoder, len(vocabulary))
    _assign(network.cell, decoder_weights(model))
    config = _settings(model, given, decoder, network.location_count)
    with atomic_path(workdir) as folder:
        save_encoder(encoder, folder / ENCODER_FILE)
        vocabulary.save(folder / VOCABULARY_FILE)
        save_weights(network, folder / BEST, vocabulary.fingerprint)
        config.save(folder)
    return config


def _settings(model: ArcticModel, given: Config, decoder: DecoderConfig, locations: int) -> Config:
    longest = longest_caption(model.options)
    data = dataclasses.replace(
        given.data, vocabulary_size=len(model.words), max_caption_words=longest
    )
    return dataclasses.replace(
        given,
        data=data,
        encoder=resolve_encoder(given.encoder),
        decoder=decoder,
        training=training_settings(model.options, locations),
    )


def make_vocabulary(words: Sequence[str]) -> Vocabulary:
    """The vocabulary of the words of the tokens 2, 3, …; how often they occurred is not known.

    Raises:
      UserError: a word has the name of an entry that every vocabulary here has.
    """
    for token, word in enumerate(words, start=FIRST_WORD):
        if word in SPECIAL:
            raise UserError(
                f"the dictionary has {word!r} as the word of token {token}, but here that is the "
                f"name of an entry of its own (as are {', '.join(SPECIAL)}): rename the word in "
                "the dictionary"
            )
    entries = (*SPECIAL, *words)
    return Vocabulary(entries, [0] * len(entries))


def _check_annotations(
    model: ArcticModel, given: Config, encoder_shape: tuple[int | None, ...]
) -> None:
    size = model.options.ctx_dim
    if encoder_shape[-1] != size:
        encoder = resolve_encoder(given.encoder)
        raise UserError(
            f"the model was trained on annotations of {size} numbers (its ctx_dim), but those of "
            f"--encoder={encoder.encoder} --encoder_layer={encoder.encoder_layer} have "
            f"{encoder_shape[-1]}: name the encoder that it was trained with"
        )


def _assign(cell: AttentionDecoderCell, values: Mapping[str, np.ndarray]) -> None:
    """Gives each weight of the decoder its value."""
    weights = {weight.path.removeprefix(f"{cell.name}/"): weight for weight in cell.weights}
    assert weights.keys() == values.keys(), weights.keys() ^ values.keys()
    for path, weight in weights.items():
        weight.assign(values[path])
