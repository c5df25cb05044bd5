"""Where the LSTM starts: its first states, from the mean annotation."""

from typing import Any

import keras
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.initializers import InitialWeights
from sat_tf.model.lstm import State


class InitialStates(keras.layers.Layer):
    """h_0 and c_0 of each LSTM layer from the mean annotation.

    h_0 = tanh(W_1 m + b_1), c_0 = tanh(W_2 m + b_2), m = mean_i a_i

    With `initial_layers` n above 1, m goes through n - 1 layers ReLU(W . + b) of its own size
    first, with dropout after each.

    Args:
      config: of the decoder.
      seed: of the dropout.
    """

    def __init__(self, config: DecoderConfig, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._config, self._seed = config, seed
        self.deeper: list[keras.layers.Dense] = []  # made when D is known
        heads = range(config.lstm_layers)
        self.hidden = [self._dense(config.hidden_size, f"hidden_{i}", "tanh") for i in heads]
        self.memory = [self._dense(config.hidden_size, f"memory_{i}", "tanh") for i in heads]
        self.dropout = keras.layers.Dropout(config.dropout, seed=seed, dtype=self.dtype_policy)

    def _dense(self, size: int, name: str, activation: str) -> keras.layers.Dense:
        kernel = InitialWeights(self._config.initializer).kernel()
        return keras.layers.Dense(
            size, activation, name=name, kernel_initializer=kernel, dtype=self.dtype_policy
        )

    def build(self, annotation_size: int) -> None:
        """Makes the weights for D = `annotation_size`."""
        count = self._config.initial_layers - 1
        self.deeper = [self._dense(annotation_size, f"deeper_{i}", "relu") for i in range(count)]
        for layer in (*self.deeper, *self.hidden, *self.memory):
            layer.build((None, annotation_size))
        self.built = True

    def call(self, annotations: tf.Tensor, training: bool = False) -> tuple[State, ...]:
        """[B, L, D] -> the state of each LSTM layer."""
        mean = tf.reduce_mean(annotations, axis=1)  # mean over L -> [B, D]
        for layer in self.deeper:
            mean = self.dropout(layer(mean), training=training)
        return tuple(
            State(hidden(mean), memory(mean))
            for hidden, memory in zip(self.hidden, self.memory, strict=True)
        )
