"""The fused Adam against Keras's."""

import functools

import keras
import numpy as np
import tensorflow as tf

from sat_tf.training.optimizers import FusedAdam


def apply_gradient(optimizer, variable, gradient):
    optimizer.apply([gradient], [variable])


def test_takes_the_steps_of_adam():
    random = np.random.default_rng(0)
    start = random.normal(size=(5, 7)).astype(np.float32)
    gradients = [random.normal(size=(5, 7)).astype(np.float32) for _ in range(4)]
    results = []
    for optimizer in (FusedAdam(0.01), keras.optimizers.Adam(0.01)):
        variable = keras.Variable(start)
        optimizer.build([variable])
        apply = tf.function(functools.partial(apply_gradient, optimizer, variable))
        for number, gradient in enumerate(gradients):
            optimizer.learning_rate.assign(0.01 / (number + 1))
            apply(tf.constant(gradient))
        results.append([variable.numpy(), *(v.numpy() for v in optimizer.variables)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert np.abs(results[0][0] - start).max() > 0.01
