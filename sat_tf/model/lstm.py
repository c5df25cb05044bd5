"""One recurrent layer: an LSTM that looks before it moves (equations 1 to 3)."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.attention import Attention, Chance, Look
from sat_tf.model.initializers import InitialWeights


class State(NamedTuple):
    """What a layer hands to its next step: h and c, [B, H] each."""

    hidden: tf.Tensor
    memory: tf.Tensor


class AttentionLSTM(keras.layers.Layer):
    """LSTM whose input is joined by what its attention sees.

    z_t from h_{t-1} and the annotations, see `Attention`
    i, f, o = sigmoid(.), g = tanh(.) of W [x_t; h_{t-1}; z_t] + b      (1)
    c_t = f * c_{t-1} + i * g                                           (2)
    h_t = o * tanh(c_t)                                                 (3)

    x_t is E y_{t-1}; in a further layer it is h_t of the layer below.

    Args:
      config: of the decoder.

    Departs from the paper: none in its defaults. `lstm_dropout` acts on the sums under i, f, o, as
    in the authors' code.
    """

    def __init__(self, config: DecoderConfig, **kwargs: Any) -> None:
        # Random numbers among the arguments must stay float32 whatever the policy.
        super().__init__(autocast=False, **kwargs)
        self.hidden_size = config.hidden_size
        self._embedding_size = config.embedding_size
        initial, policy = InitialWeights(config.initializer), self.dtype_policy
        self._forget_bias = initial.forget_bias

        def gates(name: str, initializer: Any, use_bias: bool) -> keras.layers.Dense:
            return keras.layers.Dense(
                4 * config.hidden_size,
                name=name,
                use_bias=use_bias,
                kernel_initializer=initializer,
                dtype=policy,
            )

        self.attention = Attention(config, name="attention", dtype=policy)
        self.gates_of_input = gates("gates_of_input", initial.kernel(blocks=4), use_bias=True)
        self.gates_of_hidden = gates("gates_of_hidden", initial.recurrent(), use_bias=False)
        self.gates_of_context = gates("gates_of_context", initial.of_context(), use_bias=False)

    def build(self, input_size: int, annotation_size: int) -> None:
        """Makes the weights for x_t of `input_size` and D = `annotation_size`."""
        self.attention.build(self.hidden_size, annotation_size, self._embedding_size)
        self.gates_of_input.build((None, input_size))
        bias = np.zeros([4, self.hidden_size], np.float32)
        bias[1] = self._forget_bias
        self.gates_of_input.bias.assign(bias.ravel())
        self.gates_of_hidden.build((None, self.hidden_size))
        self.gates_of_context.build((None, annotation_size))
        self.built = True

    def call(
        self,
        gates_of_input: tf.Tensor,
        word_query: tf.Tensor,
        state: State,
        annotations: tf.Tensor,
        projected: tf.Tensor,
        chance: Chance | None = None,
        gate_mask: tf.Tensor | None = None,
    ) -> tuple[State, Look]:
        """One step.

        Args:
          gates_of_input: `self.gates_of_input(x_t)`, [B, 4H], in the order i, f, o, g.
          word_query: see `Attention.call`.
          state: h_{t-1} and c_{t-1}.
          annotations: see `Attention.call`.
          projected: see `Attention.call`.
          chance: see `Attention.call`.
          gate_mask: of `lstm_dropout`, [B, 3H], 0 or 1 / (1 - rate).
        """
        look = self.attention(state.hidden, annotations, projected, word_query, chance)
        gates = (
            gates_of_input
            + self.gates_of_hidden(state.hidden)
            + self.gates_of_context(look.context)
        )  # [B, 4H]
        ifo, g = gates[:, : 3 * self.hidden_size], gates[:, 3 * self.hidden_size :]
        if gate_mask is not None:
            ifo *= gate_mask
        i, f, o = tf.split(tf.sigmoid(ifo), 3, axis=-1)
        memory = f * state.memory + i * tf.tanh(g)
        return State(o * tf.tanh(memory), memory), look
