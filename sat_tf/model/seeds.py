"""Seeds of what is drawn in training."""

import keras
import tensorflow as tf


def shared_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """A new seed, int32 [2], the same on all replicas."""
    return tf.bitcast(tf.cast(generator.next(), tf.uint32), tf.int32)


def per_replica_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """A new seed, int32 [2], another one on each replica: they read other captions."""
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    return tf.random.experimental.stateless_fold_in(shared_seed(generator), replica)
