"""What a run starts with: its vocabulary, and a model that is new or the best of another run."""

from collections.abc import Iterable
from pathlib import Path

from sat_tf.config import Config, DataConfig, field_names
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import build_encoder, load_encoder, set_finetuning
from sat_tf.model.pretrained_embeddings import read_word_vectors
from sat_tf.model.weights import load_weights
from sat_tf.vocabulary import Vocabulary, tokenize
from sat_tf.workdir import BEST, ENCODER_FILE

# Config of encoder and decoder in which a run may differ from the one that it starts from; the
# others say which weights there are and what they mean.
_FREE = {
    "attention",
    "attention_temperature",
    "cache_dir",
    "cache_features",
    "dropout",
    "finetune_from",
    "freeze_embeddings",
    "lstm_dropout",
    "pretrained_embeddings",
}


def new_vocabulary(records: Iterable[Record], config: DataConfig) -> Vocabulary:
    """The vocabulary of training captions, as the settings limit it."""
    return Vocabulary.build(
        (tokenize(caption) for record in records for caption in record.captions),
        size=config.vocabulary_size,
        min_count=config.min_word_count,
    )


def new_model(config: Config, vocabulary: Vocabulary) -> CaptionModel:
    """A model with its first weights.

    Raises:
      UserError: the encoder or the word vectors can't be had.
    """
    encoder = build_encoder(config.encoder, config.images.image_size)
    decoder = config.decoder
    model = CaptionModel(encoder, decoder, len(vocabulary), config.training.seed)
    if decoder.output_bias == "frequencies":
        model.start_output_bias(vocabulary.log_frequencies())
    if decoder.pretrained_embeddings:
        path, size = Path(decoder.pretrained_embeddings), decoder.embedding_size
        vectors = read_word_vectors(path, vocabulary, size)
        model.start_word_vectors(vectors)
        print(f"word vectors: {len(vectors):,} of {len(vocabulary):,} entries of the vocabulary")
    return model


def model_of(run: Path, config: Config, vocabulary: Vocabulary) -> CaptionModel:
    """A model with the best weights of another run, as `settings` would have it trained.

    Args:
      run: folder of the run to start from.
      config: of the run that starts.
      vocabulary: of both.

    Raises:
      UserError: the run is not there, damaged, or has a model of another shape.
    """
    theirs = Config.load(run)
    _check_same(run, config, theirs)
    encoder = load_encoder(run / ENCODER_FILE)
    model = CaptionModel(encoder, config.decoder, len(vocabulary), config.training.seed)
    load_weights(model, run / BEST, vocabulary.fingerprint)
    set_finetuning(encoder, config.encoder.finetune_from)
    return model


def _check_same(run: Path, config: Config, theirs: Config) -> None:
    parts = (
        (config.decoder, theirs.decoder, set(field_names("decoder")) - _FREE),
        (config.encoder, theirs.encoder, set(field_names("encoder")) - _FREE),
        (config.images, theirs.images, set(field_names("images"))),
        (config.data, theirs.data, {"vocabulary_size", "min_word_count"}),
    )
    differing = [
        f"--{name}={getattr(own, name)} ({getattr(other, name)} there)"
        for own, other, compared in parts
        for name in sorted(compared)
        if getattr(own, name) != getattr(other, name)
    ]
    if differing:
        raise UserError(f"--start_from={run} has other config than {', '.join(differing)}")
