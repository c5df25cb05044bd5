"""One step of training, the same on one device and on several."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from sat_tf.config import TrainingConfig
from sat_tf.model.caption_model import CaptionModel
from sat_tf.training.objective import (
    CONTROLS,
    Batch,
    Controls,
    Objective,
    Sums,
    surrogate_loss,
)

TrainStep = Callable[[Batch, Controls], Sums]


def make_strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine if it has several, else its one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def make_optimizer(config: TrainingConfig) -> keras.optimizers.Optimizer:
    """The optimizer by name.

    RMSProp as the authors' code has it (centred, rho 0.95, momentum 0.9, epsilon 1e-4), the
    others as Keras has them.
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
    optimizer: keras.optimizers.Optimizer,
    objective: Objective,
    config: TrainingConfig,
    strategy: tf.distribute.Strategy,
    batch_spec: Mapping[str, tf.TensorSpec],
) -> TrainStep:
    """A compiled step: minimises the objective, averaged over the whole minibatch.

    loss = 1/B sum_b (-log p(y_b|a_b) + lambda sum_i (1 - sum_t alpha_bti)^2), what else the
    settings ask for, and `weight_decay` times the sum of the squares of all weights.

    Args:
      model: built in the strategy's scope.
      optimizer: built in the strategy's scope.
      objective: what is minimised.
      config: of the training.
      strategy: distributes the step.
      batch_spec: the element specification of the batches.

    Returns:
      Function from a batch and the objective's controls to its sums over all replicas, before the
      update.
    """

    def replica_step(batch: Batch, controls: Controls) -> Sums:
        context = tf.distribute.get_replica_context()
        # The gradients of all replicas are added up; each brings its share of what is common.
        share = 1.0 / context.num_replicas_in_sync
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            sums = objective(batch, controls)
            loss = surrogate_loss(sums, config) / batch["captions"]
            if config.weight_decay:
                image_batch = [tf.reduce_sum(tf.square(variable)) for variable in variables]
                loss += share * config.weight_decay * tf.add_n(image_batch)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm)
        # Keras adds the replicas' gradients up; these are the whole already.
        optimizer.apply([share * g for g in gradients], variables)
        return sums

    control_spec = {name: tf.TensorSpec([], tf.float32) for name in CONTROLS}

    @tf.function(input_signature=[batch_spec, control_spec], autograph=False)
    def train_step(batch: Batch, controls: Controls) -> Sums:
        sums = strategy.run(replica_step, args=(batch, controls))
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in sums.items()
        }

    return train_step
