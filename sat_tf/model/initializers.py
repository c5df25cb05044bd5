"""How the decoder's weights start: as Keras, the authors' code or the TensorFlow port has it."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

Initializer = Callable[..., tf.Tensor]

_AUTHORS_DEVIATION = 0.01


class InitialWeights:
    """Makes the initializers of the decoder's weights; biases that it does not name are 0.

    Args:
      name: "keras": Glorot uniform, orthogonal for what reads h, and a bias of 1 that opens the
        LSTM's forget gate. "authors": normal with deviation 0.01, orthogonal where square
        (but for what reads annotations).
        "port": truncated normal with deviation 1 / sqrt(fan-in), embeddings uniform in (-1, 1).
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def forget_bias(self) -> float:
        """Of the LSTM's forget gate."""
        return 1.0 if self._name == "keras" else 0.0

    def embedding(self) -> Initializer:
        """Of E, [V, E]."""
        if self._name == "port":
            return keras.initializers.RandomUniform(-1.0, 1.0)
        if self._name == "authors":
            return self.kernel()
        return keras.initializers.RandomUniform(-0.05, 0.05)

    def kernel(self, blocks: int = 1) -> Initializer:
        """Of a layer.

        Args:
          blocks: matrices that stand side by side in it, 4 for the LSTM's gates.
        """
        if self._name == "port":
            return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
        if self._name == "authors":
            return _orthogonal_where_square(blocks)
        return keras.initializers.GlorotUniform()

    def of_context(self) -> Initializer:
        """Of what reads annotations within the LSTM: the authors' is normal where square, too."""
        if self._name == "authors":
            return keras.initializers.RandomNormal(stddev=_AUTHORS_DEVIATION)
        return self.kernel()

    def recurrent(self) -> Initializer:
        """Of the LSTM's gates of h, [H, 4H]."""
        return _orthogonal if self._name == "keras" else self.kernel(blocks=4)


def _orthogonal(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
    # TensorFlow makes no orthogonal matrices of bfloat16.
    return keras.ops.cast(keras.initializers.Orthogonal()(shape, "float32"), dtype or "float32")


def _orthogonal_where_square(blocks: int) -> Initializer:
    def initialize(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
        rows, columns = shape[0], shape[1] // blocks

        def block() -> tf.Tensor:
            if rows == columns:
                return _orthogonal((rows, columns), dtype)
            return keras.initializers.RandomNormal(stddev=_AUTHORS_DEVIATION)(
                (rows, columns), dtype
            )

        return tf.concat([block() for _ in range(blocks)], axis=1)

    return initialize
