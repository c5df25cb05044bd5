"""The network as a whole: encoder and decoder joined."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.attention import Chance
from sat_tf.model.decoder import AttentionDecoderCell, Reading


@keras.saving.register_keras_serializable(package="sat_tf")
class Locations(keras.layers.Layer):
    """From the encoder's grid to a list of locations, row by row, in a handy range.

    The annotations are divided by `scale`, 1 unless `CaptionModel.scale_annotations` measured it.

    Args:
      position: "none" gives the annotations as they are (the paper's model); "coordinates" adds
        two numbers to each, its column and its row from -1 to 1, so that the context, an average
        over places, tells where it was taken.
      nowhere: adds one annotation of zeros, the last one, where attention may rest (an option of
        the authors' code).
    """

    def __init__(self, position: str = "none", nowhere: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.position, self.nowhere = position, nowhere
        self.scale = self.add_weight(
            name="scale", shape=(), initializer="ones", trainable=False, dtype="float32"
        )
        self.built = True

    def call(self, grid: tf.Tensor) -> tf.Tensor:
        """[I, rows, columns, D] -> [I, L, D]; coordinates make D greater by 2, nowhere L by 1."""
        shape = tf.shape(grid)
        grid = tf.cast(tf.cast(grid, tf.float32) / self.scale, self.compute_dtype)
        if self.position == "coordinates":
            column, row = tf.meshgrid(
                tf.linspace(-1.0, 1.0, shape[2]), tf.linspace(-1.0, 1.0, shape[1])
            )
            places = tf.cast(tf.stack([column, row], axis=-1), grid.dtype)  # [rows, columns, 2]
            places = tf.broadcast_to(places, tf.concat([shape[:3], [2]], axis=0))
            grid = tf.concat([grid, places], axis=-1)
        locations = tf.reshape(grid, [shape[0], shape[1] * shape[2], grid.shape[-1]])
        return tf.pad(locations, [[0, 0], [0, 1], [0, 0]]) if self.nowhere else locations

    def compute_output_shape(self, grid_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shape of the locations, L unknown."""
        size = grid_shape[-1]
        assert size is not None, "D must be known"
        return (grid_shape[0], None, size + 2 if self.position == "coordinates" else size)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {**super().get_config(), "position": self.position, "nowhere": self.nowhere}


class CaptionModel(keras.Model):
    """Images -> annotations -> words.

    Args:
      encoder: [I, S, S, 3] float32 0..255 -> [I, rows, columns, D].
      config: of the decoder.
      vocabulary_size: V.
      seed: of the dropout.
    """

    def __init__(
        self,
        encoder: keras.Model,
        config: DecoderConfig,
        vocabulary_size: int,
        seed: int = 0,
    ) -> None:
        super().__init__(autocast=False)
        self.encoder = encoder
        self.config = config
        self.locations = Locations(config.position, config.null_location, name="locations")
        self.cell = AttentionDecoderCell(vocabulary_size, config, seed, name="decoder")
        self.cell.build(self.locations.compute_output_shape(encoder.output_shape))
        self.built = True

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the annotations."""
        return tuple(self.encoder.output_shape[1:3])

    @property
    def location_count(self) -> int:
        """L: the cells of the grid and, if there is one, the annotation of zeros."""
        rows, columns = self.grid
        return rows * columns + self.config.null_location

    @property
    def trains_encoder(self) -> bool:
        """Whether the encoder changes in training, weights or running means."""
        return bool(self.encoder.trainable_variables)

    def start_output_bias(self, log_frequencies: list[float]) -> None:
        """Starts the output layer at the words' frequencies: natural logarithms, [V]."""
        self.cell.deep_output.words.bias.assign(np.asarray(log_frequencies, np.float32))

    def start_word_vectors(self, vectors: Mapping[int, np.ndarray]) -> None:
        """Starts the embeddings of some words, by their ids, at vectors [E]."""
        embeddings = self.cell.embedding.embeddings
        started = embeddings.numpy()
        for number, vector in vectors.items():
            started[number] = vector
        embeddings.assign(started)

    def scale_annotations(self, annotations: tf.Tensor) -> None:
        """Has annotations divided by the root mean square of those given, [I, rows, columns, D].

        A frozen network's may have a magnitude of hundreds, where the first tanh that reads them
        saturates and learns nothing. It amounts to smaller initial weights: the equations stay.
        """
        mean_square = tf.reduce_mean(tf.square(tf.cast(annotations, tf.float32)))
        # Of a network that sees nothing they are zeros, and may stay so.
        self.locations.scale.assign(tf.sqrt(mean_square) if mean_square > 0 else 1.0)

    def annotate(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Annotations [I, rows, columns, D] of a batch.

        Args:
          batch: holds `annotations` [I, rows, columns, D], or `images` [I, S, S, 3], float32
            0..255, which the encoder then reads.
          training: whether an encoder that is trained is to behave so.
        """
        if "features" in batch:
            return tf.ensure_shape(batch["features"], [None, *self.encoder.output_shape[1:]])
        return self.encoder(batch["images"], training=training and self.trains_encoder)

    def call(
        self,
        annotations: tf.Tensor,
        tokens: tf.Tensor,
        image_index: tf.Tensor,
        training: bool = False,
        places: tuple[Chance, ...] = (),
        sampled_inputs: tf.Tensor | None = None,
    ) -> Reading:
        """Teacher forcing over captions of images that were encoded once each.

        Args:
          annotations: [I, rows, columns, D].
          tokens: int32 [B, T].
          image_index: which of the I images each caption describes, int32 [B].
          training: whether dropout is on.
          places: see `AttentionDecoderCell.call`.
          sampled_inputs: see `AttentionDecoderCell.call`.
        """
        locations = tf.gather(self.locations(annotations), image_index)  # [B, L, D]
        return self.cell(
            locations, tokens, training=training, places=places, sampled_inputs=sampled_inputs
        )
