"""How much attention depends on the decoder's state."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START


def swap_states(
    model: CaptionModel, batch: Mapping[str, tf.Tensor], tokens: tf.Tensor
) -> tf.Tensor:
    """Return how far attention moves when each caption's LSTM state is that of another caption.

    Image and previous token stay; h_{t-1} and c_{t-1} become those of the batch's next caption.
    The result is the share of alpha's mass that then lies at other locations,
    1/2 sum_i |alpha_ti - alpha'_ti|. It is 0 if attention does not depend on h: without the tanh
    in its score, h cancels in the softmax (equation 4). It is 0 for a batch of one image, too.

    Args:
      model: any.
      batch: holds `images` or `features` of I images.
      tokens: a caption of each image, int32 [I, T].

    Returns:
      float32 [I, T]; values at padded steps are undefined.
    """
    decoder = model.decoder
    memory = decoder.prepare(model.flatten_grid(model.encode_images(batch)))
    previous = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], axis=1)
    inputs = decoder.project_inputs(decoder.embed(tf.transpose(previous)))  # [T, I, ...]

    def step(carried: Any, inputs: Any) -> Any:
        state, _ = carried
        new_state, own = decoder.step(inputs, state, memory)
        swapped = tf.nest.map_structure(lambda x: tf.roll(x, shift=1, axis=0), state)
        _, other = decoder.step(inputs, swapped, memory)
        return new_state, tf.reduce_sum(tf.abs(own.alpha - other.alpha), axis=1) / 2  # sum over L

    zeros = tf.zeros([tf.shape(tokens)[0]])
    _, moved = tf.scan(step, inputs, initializer=(decoder.initial_state(memory), zeros))
    return tf.transpose(moved)  # [I, T]
