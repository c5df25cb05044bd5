"""Caption and score with the best weights of finished runs."""

import concurrent.futures
import os
import types
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from sat_tf.config import Config, DataConfig, override
from sat_tf.data.images import Thumbnail, load_image, resize_and_crop, thumbnail
from sat_tf.data.pipeline import ImageReader
from sat_tf.data.unreadable import LeftOut, check_images, leave_out, read_left_out
from sat_tf.errors import UserError, printable
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import feature_source, load_encoder
from sat_tf.model.generation import Caption, Generator, make_caption, make_captions
from sat_tf.model.initializers import zero_weights
from sat_tf.model.networks import assign_rounded, with_policy
from sat_tf.model.weights import load_weights, provenance
from sat_tf.storage import BEST, ENCODER_FILE, VOCABULARY_FILE
from sat_tf.vocabulary import Vocabulary, tokenize

if TYPE_CHECKING:
    from sat_tf.evaluator import EvaluationResult

_BATCH = 64  # images held in memory at a time


class Image(NamedTuple):
    """An image that was read.

    thumbnail: for display, with the part that the (first) run's encoder sees.
    inputs: of the encoder of each run, float32 [S, S, 3], 0..255.
    """

    thumbnail: Thumbnail
    inputs: tuple[np.ndarray, ...]


class Run(NamedTuple):
    """A finished run: settings, vocabulary and the model with the best weights.

    left_out: names of the images that it was trained without, by split.
    """

    config: Config
    vocabulary: Vocabulary
    model: CaptionModel
    left_out: LeftOut = types.MappingProxyType({})

    @classmethod
    def load(cls, workdir: str | os.PathLike[str], config: Config) -> "Run":
        """Load a run; what was trained computes in float32, whatever `--precision` it had.

        A frozen encoder computes at `--encoder_precision`, as in training.

        Raises:
          UserError: a file of the run is missing, damaged, or inconsistent with the others.
        """
        workdir = Path(workdir)
        vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
        encoder = load_encoder(workdir / ENCODER_FILE, config.encoder, config.images.image_size)
        with zero_weights():
            model = CaptionModel(encoder, config.decoder, len(vocabulary))
        load_weights(model, workdir / BEST, provenance(workdir, config, vocabulary))
        return cls(config, vocabulary, model, read_left_out(workdir))

    def in_bfloat16(self) -> "Run":
        """Return the run with its weights rounded to bfloat16."""
        encoder = with_policy(self.model.encoder, "bfloat16")
        size = len(self.vocabulary)
        with zero_weights():
            model = CaptionModel(encoder, self.config.decoder, size, dtype="bfloat16")
        assign_rounded(model.flatten_grid, self.model.flatten_grid)
        assign_rounded(model.decoder, self.model.decoder)
        return self._replace(model=model)


class Captioner:
    """Captions images with the best weights of a run, or of an ensemble of runs.

        captioner = sat_tf.Captioner.load("runs/flickr8k_soft")
        for caption in captioner.caption(["a.jpg", "b.png"]):
            print(caption)

    Args:
      runs: one, or an ensemble with one vocabulary; the first one's settings configure the search.
    """

    def __init__(self, *runs: Run) -> None:
        self.runs = runs
        self.config, self.vocabulary = runs[0].config, runs[0].vocabulary
        self.models = [run.model for run in runs]
        self._grids = [model.grid for model in self.models]
        self._generator = Generator(self.models)

    @classmethod
    def load(cls, *workdirs: str | os.PathLike[str], **changes: Any) -> "Captioner":
        """Load runs.

        Args:
          *workdirs: the folder of a run; of several for an ensemble.
          **changes: settings that replace those of the runs, such as `beam_size=10`.

        Raises:
          UserError: see `Run.load`; a setting cannot be changed; runs differ in their vocabulary.
        """
        config = [override(Config.load(workdir), **changes) for workdir in workdirs]
        runs = [Run.load(*both) for both in zip(workdirs, config, strict=True)]
        for workdir, run in zip(workdirs, runs, strict=True):
            if run.vocabulary.fingerprint != runs[0].vocabulary.fingerprint:
                raise UserError(
                    f"{workdir} has another vocabulary than {workdirs[0]}: runs of an ensemble "
                    "must have been trained on the same captions with the same --vocabulary_size "
                    "and --min_word_count"
                )
        return cls(*runs)

    def read_image(self, image: str | os.PathLike[str] | bytes, compiled: bool = False) -> Image:
        """Read an image.

        Args:
          image: a file's path, or the bytes of one.
          compiled: whether to decode in a graph, which is faster from some fifty images on.

        Raises:
          UserError: it cannot be read as an image.
        """
        pixels = load_image(image if isinstance(image, bytes) else os.fspath(image), compiled)
        inputs = (resize_and_crop(pixels, run.config.images).numpy() for run in self.runs)
        return Image(thumbnail(pixels, self.config.images), tuple(inputs))

    def caption(self, paths: Sequence[str | os.PathLike[str]]) -> list[Caption]:
        """Return the best caption of each image file.

        Raises:
          UserError: a file cannot be read as an image.
        """
        captions = []
        for image, found in self.caption_files(paths):
            if isinstance(image, UserError):
                raise image
            captions.append(found[0])
        return captions

    def caption_files(
        self, paths: Sequence[str | os.PathLike[str]], text: str = "", batch_size: int = _BATCH
    ) -> Iterator[tuple[Image | UserError, Sequence[Caption]]]:
        """Yield the image of each file and its captions, see `caption_images`.

        Args:
          paths: of the files, which several threads read.
          text: a sentence to score as the caption of each image, in place of a search.
          batch_size: images captioned at a time.

        Yields:
          In place of an image that can't be read, and which has no captions, the error.
        """

        def read(path: str | os.PathLike[str]) -> Image | UserError:
            try:
                return self.read_image(path, compiled=len(paths) > batch_size)
            except UserError as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(paths), batch_size):
                images = [*pool.map(read, paths[start : start + batch_size])]
                batch = [image for image in images if isinstance(image, Image)]
                captions: Sequence[Sequence[Caption]] = ()
                if batch and text:
                    captions = [(caption,) for caption in self.score_text(batch, text)]
                elif batch:
                    captions = self.caption_images(batch)
                following = iter(captions)
                for image in images:
                    yield image, next(following) if isinstance(image, Image) else ()

    def caption_images(self, images: Sequence[Image]) -> list[tuple[Caption, ...]]:
        """Return up to `beam_size` captions of each image, or `num_samples` sampled ones.

        Captions of a beam search are ordered: finished ones before those that were cut at the
        maximum length, then by score.
        """
        decoded = self._generator.generate(self._batches(images), self.config.decoding)
        return make_captions(decoded, self.vocabulary, self._grids)

    def score_text(self, images: Sequence[Image], text: str) -> list[Caption]:
        """Score a given sentence as the caption of each image, with its attention.

        Words that are not in the vocabulary are read as `<unk>`.

        Raises:
          UserError: the text has no word.
        """
        words = tokenize(text)
        if not words:
            raise UserError(f"{text!r}: has no word")
        ids = tf.constant([self.vocabulary.encode(words)] * len(images), tf.int32)
        shared = {"tokens": ids, "image_index": tf.range(len(images))}
        batches = [{**batch, **shared} for batch in self._batches(images)]
        scores = self._generator.score(batches, self.config.decoding)
        log_probs, attention = tf.nest.map_structure(lambda x: x.numpy(), tuple(scores))
        captions = []
        for i, of_tokens in enumerate(log_probs):
            maps = [(alphas[i], betas[i]) for alphas, betas in attention]
            score = float(of_tokens.sum())
            captions.append(make_caption(words, of_tokens, score, maps, self._grids))
        return captions

    def evaluate(
        self,
        split: str,
        batch_size: int = _BATCH,
        data: DataConfig | None = None,
        covered_images: int = 0,
    ) -> "EvaluationResult":
        """Caption each image of a split once, and score the captions.

        Args:
          split: "train", "dev" or "test".
          batch_size: images captioned, or captions scored, at a time.
          data: another data set than that of the (first) run. Its features are not cached, and
            novelty is not scored.
          covered_images: see `sat_tf.evaluator.Evaluator.evaluate`.

        Raises:
          UserError: the split is missing or has problems, or images can't be read and
            `skip_unreadable` is not set.
        """
        # Data sets and scores take a while to import: not for a caption.
        from sat_tf.datasets import available_splits, check_splits, load_splits
        from sat_tf.evaluator import Evaluator
        from sat_tf.metrics.text import training_captions

        own, scored = self.config.data, data or self.config.data
        left_out = {} if data else self.runs[0].left_out
        loaded = load_splits(scored, (split,), may_lack_objects=True)
        skip = scored.skip_unreadable
        records = check_images(loaded, skip, left_out=left_out, decode=skip)[split]
        if scored.boxes and not any(record.objects for record in records):
            print(printable(f"--boxes={scored.boxes} has no boxes of the split {split}"))
        known: Collection[str] = ()
        if not data and split != "train" and "train" in available_splits(own):
            # A machine may have the images of this split only; then novelty is not scored.
            training = check_splits(own, ("train",), objects_for=())
            if not training.problems:
                known = training_captions(leave_out(training.records, left_out)["train"])
        sources = [
            ImageReader(records, run.config.images)
            if data
            else feature_source(run.model.encoder, records, run.config)
            for run in self.runs
        ]
        evaluator = Evaluator(
            self.models, self.vocabulary, self.config.decoding, self.config.images, known
        )
        return evaluator.evaluate(records, sources, batch_size, covered_images)

    def _batches(self, images: Sequence[Image]) -> list[dict[str, tf.Tensor]]:
        """Return the batch of each run."""
        return [
            {"images": tf.constant(np.stack(inputs), tf.float32)}
            for inputs in zip(*(image.inputs for image in images), strict=True)
        ]
