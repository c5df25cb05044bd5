"""Initializers of the decoder's weights: those of Keras, of the authors' code, of the port."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

Initializer = Callable[..., tf.Tensor]

_AUTHORS_STDDEV = 0.01
_zero_weights = False


@contextlib.contextmanager
def zero_weights() -> Iterator[None]:
    """Make all initial weights of the body's models zero, which takes a third of the time.

    For models whose weights are then read from a checkpoint.
    """
    global _zero_weights
    _zero_weights = True
    try:
        yield
    finally:
        _zero_weights = False


class Initializers:
    """Makes the initializers of the decoder's weights. Biases not named here start at zero.

    Args:
      name: "keras": Glorot uniform, orthogonal for recurrent kernels, forget bias 1. "authors":
        normal with standard deviation 0.01, orthogonal for square matrices (except those applied
        to the features). "port": truncated normal with standard deviation 1 / sqrt(fan-in),
        embeddings uniform in (-1, 1).
    """

    def __init__(self, name: str) -> None:
        self._name = "zeros" if _zero_weights else name

    @property
    def forget_bias(self) -> float:
        """Initial bias of the LSTM's forget gate."""
        return 1.0 if self._name == "keras" else 0.0

    def embeddings(self) -> Initializer:
        """Return the initializer of the embedding matrix [V, E]."""
        if self._name == "port":
            return keras.initializers.RandomUniform(-1.0, 1.0)
        if self._name == "keras":
            return keras.initializers.RandomUniform(-0.05, 0.05)
        return self.kernel()

    def kernel(self, blocks: int = 1) -> Initializer:
        """Return the initializer of a kernel.

        Args:
          blocks: number of matrices concatenated in the kernel, 4 for the gates of an LSTM.
        """
        if self._name == "zeros":
            return keras.initializers.Zeros()
        if self._name == "port":
            return keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
        if self._name == "authors":
            return _orthogonal_if_square(blocks)
        return keras.initializers.GlorotUniform()

    def context_kernel(self) -> Initializer:
        """Return the initializer of a kernel applied to features or to the context.

        The authors draw it from the normal distribution even if it is square.
        """
        if self._name == "authors":
            return keras.initializers.RandomNormal(stddev=_AUTHORS_STDDEV)
        return self.kernel()

    def recurrent(self) -> Initializer:
        """Return the initializer of an LSTM's recurrent kernel [H, 4H]."""
        return _orthogonal if self._name == "keras" else self.kernel(blocks=4)


def _orthogonal(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
    # TensorFlow has no QR decomposition in bfloat16.
    return keras.ops.cast(keras.initializers.Orthogonal()(shape, "float32"), dtype or "float32")


def _orthogonal_if_square(blocks: int) -> Initializer:
    def initialize(shape: Sequence[int], dtype: str | None = None) -> tf.Tensor:
        rows, columns = shape[0], shape[1] // blocks

        def block() -> tf.Tensor:
            if rows == columns:
                return _orthogonal((rows, columns), dtype)
            return keras.initializers.RandomNormal(stddev=_AUTHORS_STDDEV)((rows, columns), dtype)

        return tf.concat([block() for _ in range(blocks)], axis=1)

    return initialize
