"""Optimizers by name, and Adam in one pass over the weights."""

import functools

import keras
import tensorflow as tf

from sat_tf.config import TrainingConfig


@keras.saving.register_keras_serializable(package="sat_tf")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, computed by TensorFlow's kernel instead of a dozen operations.

    Each of those reads and writes all weights. The update is the same but for rounding; `amsgrad`
    is not supported.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update a variable; see Keras."""
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


def make_optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run, with Keras's constants but for RMSProp."""
    make = {
        "adadelta": keras.optimizers.Adadelta,
        "adam": FusedAdam,
        "rmsprop": functools.partial(  # as in the authors' code
            keras.optimizers.RMSprop, rho=0.95, momentum=0.9, epsilon=1e-4, centered=True
        ),
        "sgd": keras.optimizers.SGD,
    }
    return make[training.optimizer](training.learning_rate)
