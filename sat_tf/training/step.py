"""The compiled training step, the same on one device and on several."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.caption_model import Batch, CaptionModel
from sat_tf.model.losses import Sums

TrainStep = Callable[[Batch], Sums]


def make_strategy() -> tf.distribute.Strategy:
    """Return a strategy over all GPUs of this machine if there are several, else the default."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """Return the optimizer of a run.

    RMSProp has the constants of the authors' code (centred, rho 0.95, momentum 0.9, epsilon
    1e-4), the others those of Keras.
    """
    rate = config.learning_rate
    if config.optimizer == "rmsprop":
        return keras.optimizers.RMSprop(rate, rho=0.95, momentum=0.9, epsilon=1e-4, centered=True)
    if config.optimizer == "adadelta":
        return keras.optimizers.Adadelta(rate)
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate)
    return keras.optimizers.Adam(rate)


def make_train_step(
    model: CaptionModel,
    strategy: tf.distribute.Strategy,
    batch_spec: Mapping[str, tf.TensorSpec],
) -> TrainStep:
    """Compile `CaptionModel.update` for the batches of a strategy.

    Args:
      model: compiled, in the strategy's scope.
      strategy: distributes the step.
      batch_spec: element specification of the batches.

    Returns:
      Function from a batch to the sums of the loss over all replicas, before the update.
    """

    @tf.function(input_signature=[batch_spec], autograph=False)
    def train_step(batch: Batch) -> Sums:
        sums = strategy.run(model.update, args=(batch,))
        # All replicas return the same: the sums over all of them.
        return {name: strategy.experimental_local_results(v)[0] for name, v in sums.items()}

    return train_step
