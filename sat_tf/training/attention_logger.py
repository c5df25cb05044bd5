"""Captions the same few images at every validation, so that one can watch attention form."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sat_tf.captioning import make_search, read_captions
from sat_tf.config import Config
from sat_tf.data.images import decode_image, read_image, thumbnail
from sat_tf.data.objects import ObjectBoxes
from sat_tf.data.pipeline import ImageSource, iterate
from sat_tf.data.records import Record
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.model.caption_model import CaptionModel
from sat_tf.vocabulary import Vocabulary


class AttentionLogger:
    """Inspects images of the validation split: the same ones in every run on the same data.

    Args:
      model: whose weights change in between.
      vocabulary: of the model.
      config: of the run.
      records: of the split.
      objects: of each image, see `sat_tf.datasets.known_objects.find_objects`.
      source: of their images.
    """

    def __init__(
        self,
        model: CaptionModel,
        vocabulary: Vocabulary,
        config: Config,
        records: Sequence[Record],
        objects: Sequence[ObjectBoxes | None],
        source: ImageSource,
    ) -> None:
        self._model, self._vocabulary, self._source = model, vocabulary, source
        self._search = make_search([model], config.decoding)
        by_name = sorted(range(len(records)), key=lambda row: records[row].image_id)
        count = min(config.training.log_attention, len(records))
        places = np.linspace(0, len(records) - 1, count).astype(int)
        self._rows = [by_name[place] for place in places]
        # What does not change; the captions come later.
        self._blank = [
            AttentionRecord(
                records[row].image_id,
                thumbnail(decode_image(read_image(records[row].image)), config.images),
                (),
                records[row].captions,
                objects[row],
            )
            for row in self._rows
        ]

    def inspect(self) -> list[AttentionRecord]:
        """The images with the captions that the model gives them now."""
        if not self._rows:
            return []
        rows = tf.data.Dataset.from_tensors({"rows": tf.constant(self._rows, tf.int64)})
        (batch,) = iterate(self._source.read(rows), self._source)
        found = read_captions(self._search([batch]), self._vocabulary, [self._model.grid])
        return [
            dataclasses.replace(blank, captions=captions)
            for blank, captions in zip(self._blank, found, strict=True)
        ]
