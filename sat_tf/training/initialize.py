"""What a run starts with: its vocabulary, and a model that is new or the best of another run."""

from collections.abc import Iterable
from pathlib import Path

from sat_tf.config import Config, DataConfig, to_flat
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import build_encoder, load_encoder, set_finetuning
from sat_tf.model.pretrained_embeddings import read_word_vectors
from sat_tf.model.weights import load_weights
from sat_tf.vocabulary import Vocabulary, tokenize
from sat_tf.workdir import BEST, ENCODER_FILE


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
        model.set_output_bias(vocabulary.log_frequencies())
    if decoder.pretrained_embeddings:
        path, size = Path(decoder.pretrained_embeddings), decoder.embedding_size
        vectors = read_word_vectors(path, vocabulary, size)
        model.set_embeddings(vectors)
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
    own, other = to_flat(config), to_flat(theirs)
    differing = [
        f"--{name}={own[name]} ({other[name]} there)" for name in config.model_differences(theirs)
    ]
    if differing:
        raise UserError(f"--start_from={run}: has other values of {', '.join(differing)}")
