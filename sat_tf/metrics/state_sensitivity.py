"""How much attention depends on h, which is what makes it look for something."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from sat_tf.model.caption_model import CaptionModel
from sat_tf.model.decoder import START

# (a batch of I images, their captions int32 [I, T]) -> float32 [I, T]
Exchange = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def make_state_sensitivity(model: CaptionModel) -> Exchange:
    """A compiled function that reads captions twice at each step: with their own h, and another's.

    The image and the word before stay; h_{t-1} and c_{t-1} are those of the batch's next caption.
    What share of alpha's mass then lies elsewhere, 1/2 sum_i |alpha_ti - alpha'_ti|, is 0 if
    attention does not depend on h: in a score without its tanh, h cancels in the softmax (4). It
    is 0 for a batch of one image, too. Padded steps hold values that mean nothing.
    """
    cell = model.cell

    @tf.function(reduce_retracing=True, autograph=False)
    def exchange(batch: Mapping[str, tf.Tensor], tokens: tf.Tensor) -> tf.Tensor:
        memory = cell.prepare(model.locations(model.annotate(batch)))
        previous = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], axis=1)
        words = cell.read_word(cell.embed(tf.transpose(previous)))  # [T, I, ...]

        def read(carried: Any, word: Any) -> Any:
            states, _ = carried
            moved, own = cell.step(word, states, memory)
            others = tf.nest.map_structure(lambda x: tf.roll(x, shift=1, axis=0), states)
            _, other = cell.step(word, others, memory)
            return moved, tf.reduce_sum(tf.abs(own.alpha - other.alpha), axis=1) / 2  # over L

        nothing = tf.zeros([tf.shape(tokens)[0]])
        _, moves = tf.scan(read, words, initializer=(cell.initial_state(memory), nothing))
        return tf.transpose(moves)

    return exchange
