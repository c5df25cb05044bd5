"""What a run starts from: a new vocabulary and model, another run's, or its own last state."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sat_tf.config import Config, DataConfig, to_flat
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import build_encoder, load_encoder, set_finetuning
from sat_tf.model.weights import load_weights, provenance
from sat_tf.storage import BEST, ENCODER_FILE, VOCABULARY_FILE
from sat_tf.text_files import NOT_TEXT, open_text
from sat_tf.training.checkpoints import has_state
from sat_tf.vocabulary import SPECIAL, Vocabulary, tokenize


def build_vocabulary(records: Iterable[Record], data: DataConfig) -> Vocabulary:
    """Build the vocabulary of training captions within the limits of the settings."""
    return Vocabulary.build(
        (tokenize(caption) for record in records for caption in record.captions),
        size=data.vocabulary_size,
        min_count=data.min_word_count,
    )


def open_vocabulary(config: Config, workdir: Path, records: Sequence[Record]) -> Vocabulary:
    """Return the vocabulary of a run: built from the training captions, or another run's.

    Raises:
      UserError: no word is left, a vocabulary cannot be read, or the captions have changed since
        the run was started.
    """
    path, start_from = workdir / VOCABULARY_FILE, config.training.start_from
    is_resumed = has_state(workdir)
    if is_resumed and Config.load(workdir).training.start_from:
        return Vocabulary.load(path)
    if start_from:
        return Vocabulary.load(Path(start_from) / VOCABULARY_FILE)
    vocabulary = build_vocabulary(records, config.data)
    if len(vocabulary) == len(SPECIAL):
        raise UserError(
            f"--min_word_count={config.data.min_word_count} leaves no word: none occurs so often "
            "in the training captions"
        )
    if is_resumed and Vocabulary.load(path).fingerprint != vocabulary.fingerprint:
        raise UserError(
            f"{path}: the training captions now give another vocabulary than when the run was "
            "started; restore them, or give another --workdir"
        )
    return vocabulary


def open_model(config: Config, workdir: Path, vocabulary: Vocabulary) -> CaptionModel:
    """Build the model of a run.

    A run that is resumed has its own encoder, and its other weights are restored later; a run that
    starts from another one (`--start_from`) has the best weights of that; any other has initial
    weights.

    Raises:
      UserError: the encoder, the pretrained embeddings or the other run cannot be read, or the
        other run's model has another shape.
    """
    if has_state(workdir):
        encoder = load_encoder(workdir / ENCODER_FILE, config.encoder, config.images.image_size)
        return CaptionModel(encoder, config.decoder, len(vocabulary), config.training.seed)
    if config.training.start_from:
        return _start_from(Path(config.training.start_from), config, vocabulary)
    return new_model(config, vocabulary)


def new_model(config: Config, vocabulary: Vocabulary) -> CaptionModel:
    """Build a model with initial weights.

    Raises:
      UserError: the encoder or the pretrained embeddings cannot be read.
    """
    encoder = build_encoder(config.encoder, config.images.image_size)
    model = CaptionModel(encoder, config.decoder, len(vocabulary), config.training.seed)
    if config.decoder.output_bias == "frequencies":
        model.set_output_bias(vocabulary.log_frequencies())
    if config.decoder.pretrained_embeddings:
        path = Path(config.decoder.pretrained_embeddings)
        vectors = read_embeddings(path, vocabulary, config.decoder.embedding_size)
        model.set_embeddings(vectors)
        print(f"embeddings: {len(vectors):,} of {len(vocabulary):,} tokens are in {path}")
    return model


def _start_from(other: Path, config: Config, vocabulary: Vocabulary) -> CaptionModel:
    """Build a model with the best weights of another run."""
    theirs = Config.load(other)
    ours, values = to_flat(config), to_flat(theirs)
    differing = [
        f"--{name}={ours[name]} ({values[name]} there)" for name in config.model_differences(theirs)
    ]
    if differing:
        raise UserError(
            f"--start_from={other} has other settings than {', '.join(differing)}: give those of "
            "that run"
        )
    encoder = load_encoder(other / ENCODER_FILE, config.encoder, config.images.image_size)
    model = CaptionModel(encoder, config.decoder, len(vocabulary), config.training.seed)
    load_weights(model, other / BEST, provenance(other, theirs, vocabulary))
    set_finetuning(encoder, config.encoder.finetune_from)
    return model


def read_embeddings(path: Path, vocabulary: Vocabulary, size: int) -> dict[int, np.ndarray]:
    """Read the vectors of the vocabulary's words that are in the file.

    The file is read line by line, as it may be larger than memory. The first vector of a repeated
    word is used. A first line of two numbers, as word2vec writes it, is skipped.

    Returns:
      Vectors float32 [E], E = `size`, by the word's id.

    Raises:
      UserError: the file can't be read, a line is not a word with `size` numbers, or no word of
        the vocabulary is in it.
    """
    vectors: dict[int, np.ndarray] = {}
    ids = {word: number for number, word in enumerate(vocabulary.words)}
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            # From the right: some files have words with spaces in them.
            word, *values = line.rstrip().rsplit(" ", size)
            if number == 1 and len(values) == 1 and (word + values[0]).isdigit():
                continue
            if NOT_TEXT.search(word):
                raise UserError(f"--pretrained_embeddings={path}:{number}: is not UTF-8 text")
            if len(values) != size or (" " in word and _is_number(word.rsplit(" ", 1)[1])):
                raise UserError(
                    f"--pretrained_embeddings={path}:{number}: is not a word and {size} "
                    "numbers, which --embedding_size asks for"
                )
            if word in ids:
                vectors.setdefault(ids[word], _vector(path, number, values))
    if not vectors:
        raise UserError(f"--pretrained_embeddings={path}: has no word of the vocabulary")
    return vectors


def _vector(path: Path, line: int, values: list[str]) -> np.ndarray:
    try:
        vector = np.asarray(values, np.float32)
    except ValueError:
        vector = np.array([np.nan])
    if not np.isfinite(vector).all():
        raise UserError(
            f"--pretrained_embeddings={path}:{line}: contains a value that is not a finite number"
        )
    return vector


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
