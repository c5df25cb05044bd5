"""From the LSTM's state to words (equation 7)."""

from typing import Any

import keras
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.initializers import InitialWeights


class DeepOutput(keras.layers.Layer):
    """Words from the LSTM's state, what was seen and the word before.

    p(y_t) ~ exp(L_o tanh(E y_{t-1} + L_h h_t + L_z z_t))     (7)

    E y_{t-1} and L_z z_t are there if `output_uses_embedding` and `output_uses_context` say so, and
    the tanh is what `output_activation` says. With `output_layers` n above 1, n - 1 layers
    ReLU(W . + b) follow the tanh. Dropout acts on h_t, after the tanh and after each such layer.

    Args:
      vocabulary_size: V.
      config: of the decoder.
      seed: of the dropout.

    Departs from the paper: the tanh, which is the authors' code's; "linear" is the paper's.
    """

    def __init__(
        self, vocabulary_size: int, config: DecoderConfig, seed: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._config = config
        policy = self.dtype_policy
        initial = InitialWeights(config.initializer)

        def dense(size: int, name: str, **options: Any) -> keras.layers.Dense:
            kernel = initial.kernel()
            return keras.layers.Dense(
                size, name=name, kernel_initializer=kernel, dtype=policy, **options
            )

        size = config.embedding_size
        self.of_hidden = dense(size, "of_hidden")
        self.of_context = (
            dense(size, "of_context", use_bias=False) if config.output_uses_context else None
        )
        self.activation = keras.activations.get(config.output_activation)
        self.deeper = [
            dense(size, f"deeper_{i}", activation="relu") for i in range(1, config.output_layers)
        ]
        self.words = dense(vocabulary_size, "words")
        # Of their own, so that what one draws does not depend on what the other is asked for.
        self.hidden_dropout = keras.layers.Dropout(config.dropout, seed=seed, dtype=policy)
        self.dropout = keras.layers.Dropout(config.dropout, seed=seed + 1, dtype=policy)

    def build(self, annotation_size: int) -> None:
        """Makes the weights for D = `annotation_size`."""
        inner = (None, self._config.embedding_size)
        self.of_hidden.build((None, self._config.hidden_size))
        if self.of_context is not None:
            self.of_context.build((None, annotation_size))
        for layer in (*self.deeper, self.words):
            layer.build(inner)
        self.built = True

    def call(
        self,
        embedded: tf.Tensor,
        hidden: tf.Tensor,
        context: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """E y_{t-1} [..., E], h_t [..., H], z_t [..., D] -> logits [..., V]."""
        joined = self.of_hidden(self.hidden_dropout(hidden, training=training))
        if self._config.output_uses_embedding:
            joined += embedded
        if self.of_context is not None:
            joined += self.of_context(context)
        inner = self.dropout(self.activation(joined), training=training)
        for layer in self.deeper:
            inner = self.dropout(layer(inner), training=training)
        return self.words(inner)
