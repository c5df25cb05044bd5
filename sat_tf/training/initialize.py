"""The start of a run: new, with another run's weights, or from its own last state.

In this order: its folder is held, its settings, images, vocabulary and model are opened, its files
are written.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sat_tf import storage
from sat_tf.config import CONFIG_FILE, Config, DataConfig, to_flat
from sat_tf.data import unreadable
from sat_tf.data.records import Record
from sat_tf.errors import UserError
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import (
    build_encoder,
    load_encoder,
    resolve_encoder,
    save_encoder,
    set_finetuning,
)
from sat_tf.model.weights import has_state, load_weights, newest_checkpoint, provenance
from sat_tf.storage import BEST, ENCODER_FILE, LAST, VOCABULARY_FILE
from sat_tf.text_files import NOT_TEXT, open_text
from sat_tf.vocabulary import SPECIAL, Vocabulary, tokenize
from sat_tf.workers import Workers


@contextlib.contextmanager
def lock_run(workdir: Path) -> Iterator[None]:
    """Hold the folder of a run for one training; a killed process leaves no lock.

    Raises:
      UserError: another training is at work there, or it can't be a folder.
    """
    if os.path.lexists(workdir) and not workdir.is_dir():
        target = f"a link to {os.readlink(workdir)}, which is " if workdir.is_symlink() else ""
        raise UserError(f"--workdir={workdir}: is {target}no folder")
    workdir.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"--workdir={workdir}: another training is at work there: wait for its end, or give "
        "another --workdir"
    )
    with storage.sole_writer(workdir, refusal):
        try:
            yield
        finally:
            # What was wrong was found before the first file.
            if os.listdir(workdir) == [storage.LOCK_FILE]:
                (workdir / storage.LOCK_FILE).unlink()
                workdir.rmdir()


def name_of_state(workdir: Path) -> str:
    """Return the name of the checkpoint from which a run resumes; "" if there is none."""
    prefix = newest_checkpoint(workdir / LAST)
    return prefix.name if prefix else ""


def await_shared(workdir: Path, workers: Workers, seen: Callable[[Path], Any]) -> None:
    """Wait until a function of the folder returns what it returns the chief.

    Raises:
      UserError: it does not.
    """
    theirs = workers.from_chief(seen(workdir))
    if not workers.wait_until(lambda: seen(workdir) == theirs):
        raise UserError(
            f"--workdir={workdir}: is not the chief's folder: all workers need one shared folder"
        )


def resolve_config(config: Config, workdir: Path) -> Config:
    """Return the config with the defaults of its encoder filled in.

    Raises:
      UserError: `workdir` holds a run that was not trained there, has lost its state or has other
        settings; `--start_from` holds no run.
    """
    config = dataclasses.replace(config, encoder=resolve_encoder(config.encoder))
    is_resumed = has_state(workdir)
    if config.training.start_from and not is_resumed:
        Config.load(config.training.start_from, "start_from")
    if (workdir / CONFIG_FILE).exists():
        if not is_resumed and (workdir / BEST).exists():
            what = (
                f"has lost the state of its training (nothing complete is in {LAST}/): put it back,"
                " or"
                if (workdir / storage.METRICS_FILE).exists()
                else "holds a model that was not trained there:"
            )
            raise UserError(
                f"--workdir={workdir} {what} train it further with --start_from={workdir} and "
                "another --workdir"
            )
        differing = config.differences(Config.load(workdir))
        if differing:
            raise UserError(
                f"--workdir={workdir} holds a run with other settings "
                f"({', '.join('--' + name for name in differing)}): "
                "give those of the run to resume it, or another --workdir"
            )
    return config


def readable_images(
    config: Config, workdir: Path, records: Mapping[str, Sequence[Record]]
) -> tuple[dict[str, tuple[Record, ...]], unreadable.LeftOut]:
    """Return the records whose images can be read, and the names of those that are left out.

    A resumed run does without the images that it was started without, and no others.

    Raises:
      UserError: images can't be read, and are not to be left out; lists them.
    """
    listing = workdir / unreadable.LIST_FILE
    if has_state(workdir):
        left_out = unreadable.read_left_out(workdir)
        advice = "repair them: the run was started with them"
        kept = unreadable.check_images(records, left_out=left_out, listing=listing, advice=advice)
        return kept, left_out
    skip = config.data.skip_unreadable
    kept = unreadable.check_images(records, skip, decode=skip, listing=listing)
    return kept, unreadable.names_left_out(records, kept)


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
      UserError: the encoder, the pretrained embeddings or the other run can't be read or used.
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


def write_run(
    config: Config,
    workdir: Path,
    vocabulary: Vocabulary,
    model: CaptionModel,
    left_out: unreadable.LeftOut,
) -> None:
    """Write the files that make a folder a run; `config.json`, which marks it as one, last."""
    workdir.mkdir(parents=True, exist_ok=True)
    if not has_state(workdir):
        save_encoder(model.encoder, workdir / ENCODER_FILE)
    vocabulary.save(workdir / VOCABULARY_FILE)
    unreadable.write_left_out(workdir, left_out)
    config.save(workdir)


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
            wrong = ""
            if NOT_TEXT.search(word):
                wrong = "is not UTF-8 text"
            elif len(values) != size or (
                " " in word and _numbers(word.split(" ")[-1:]) is not None
            ):
                wrong = f"is not a word and {size} numbers, which --embedding_size asks for"
            elif word in ids:
                vector = _numbers(values)
                if vector is None or not np.isfinite(vector).all():
                    wrong = "contains a value that is not a finite number"
                else:
                    vectors.setdefault(ids[word], vector)
            if wrong:
                raise UserError(f"--pretrained_embeddings={path}:{number}: {wrong}")
    if not vectors:
        raise UserError(f"--pretrained_embeddings={path}: has no word of the vocabulary")
    return vectors


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    with contextlib.suppress(ValueError):
        return np.asarray(texts, np.float32)
    return None
