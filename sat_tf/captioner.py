"""A finished run, ready to caption."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from sat_tf.config import Settings
from sat_tf.data.datasets import load_splits
from sat_tf.data.images import decode_image, fit_image, read_image
from sat_tf.decoding.captions import Caption, make_captioner, read_captions
from sat_tf.errors import UserError
from sat_tf.evaluation.scoring import ScoredSplit, Scorer
from sat_tf.model.annotations import annotation_source
from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.encoder import load_encoder
from sat_tf.model.precision import precision
from sat_tf.model.weights import load_weights
from sat_tf.run_folder import BEST, ENCODER_FILE, VOCABULARY_FILE
from sat_tf.vocabulary import Vocabulary

_BATCH = 64  # images held in memory at a time


class Captioner:
    """Captions images with the best weights of a run.

        captioner = sat_tf.Captioner.load("runs/flickr8k_soft")
        for caption in captioner.caption(["a.jpg", "b.png"]):
            print(caption)

    Args:
      settings: of the run.
      vocabulary: of the run.
      model: with its weights.
    """

    def __init__(self, settings: Settings, vocabulary: Vocabulary, model: CaptionModel) -> None:
        self.settings = settings
        self.vocabulary = vocabulary
        self.model = model
        self._search = make_captioner(model, settings.training.max_decode_words)

    @classmethod
    def load(cls, workdir: str | os.PathLike[str], settings: Settings | None = None) -> "Captioner":
        """Reads a run.

        Args:
          workdir: the run's folder.
          settings: the run's own, unless some of them are to be others here.

        Raises:
          UserError: a file of the run is missing, damaged, or does not belong to the others.
        """
        workdir = Path(workdir)
        settings = settings or Settings.load(workdir)
        vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
        encoder = load_encoder(workdir / ENCODER_FILE)
        with precision(settings.training.precision):
            model = CaptionModel(encoder, settings.decoder, len(vocabulary))
        load_weights(model, workdir / BEST, vocabulary.fingerprint)
        return cls(settings, vocabulary, model)

    def read_image(self, image: str | os.PathLike[str] | bytes) -> np.ndarray:
        """An image as the encoder sees it: float32 [S, S, 3], 0..255.

        Args:
          image: a file's path, or the bytes of one.

        Raises:
          UserError: it can't be read as an image; names it.
        """
        source = image if isinstance(image, bytes) else os.fspath(image)
        try:
            return fit_image(decode_image(read_image(source)), self.settings.images).numpy()
        except tf.errors.InvalidArgumentError:
            name = "the bytes" if isinstance(source, bytes) else source
            raise UserError(f"{name}: can't be read as an image") from None

    def caption(self, paths: Sequence[str | os.PathLike[str]]) -> list[Caption]:
        """Captions of image files, in their order.

        Raises:
          UserError: a file can't be read as an image.
        """
        captions: list[Caption] = []
        for start in range(0, len(paths), _BATCH):
            images = [self.read_image(path) for path in paths[start : start + _BATCH]]
            captions += self.caption_images(np.stack(images))
        return captions

    def caption_images(self, images: np.ndarray) -> list[Caption]:
        """Captions of images from `read_image`: float32 [I, S, S, 3], 0..255."""
        decoded = self._search({"images": tf.constant(images, tf.float32)})
        return list(read_captions(decoded, self.vocabulary, self.model.grid))

    def score(self, split: str, batch_size: int = _BATCH) -> ScoredSplit:
        """Captions each image of a split of the run's data set once and scores the captions.

        Args:
          split: "train", "dev" or "test".
          batch_size: images captioned, or captions scored, at a time.

        Raises:
          UserError: the split, or something of it, is missing.
        """
        records = load_splits(self.settings.data, (split,))[split]
        source = annotation_source(self.model.encoder, records, self.settings, split)
        words = self.settings.training.max_decode_words
        return Scorer(self.model, self.vocabulary, words).score(records, source, batch_size)
