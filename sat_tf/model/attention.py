"""Where the decoder looks: scores, alpha and the context (equations 4 to 6, section 4.2)."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="sat_tf")
class SoftAttention(keras.layers.Layer):
    """Deterministic soft attention with the gate beta.

    e_ti = w . tanh(W_a a_i + W_h h_{t-1} + b) + b'        (4)
    alpha_t = softmax(e_t)                                 (5)
    context_t = beta_t sum_i alpha_ti a_i                  (6, section 4.2)
    beta_t = sigmoid(f_beta(h_{t-1}))                      (section 4.2.1)

    The tanh is what makes alpha depend on h: in a linear score h adds the same to every location
    and cancels in the softmax.

    Args:
      attention_size: A, size of the hidden layer of the scores.
      gate: "scalar" for beta as above, "none" for beta = 1.

    Departs from the paper: none.
    """

    def __init__(self, attention_size: int, gate: str = "scalar", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.attention_size = attention_size
        self.gate = gate
        policy = self.dtype_policy
        self.annotation_projection = keras.layers.Dense(
            attention_size, name="annotation_projection", dtype=policy
        )
        self.hidden_projection = keras.layers.Dense(
            attention_size, use_bias=False, name="hidden_projection", dtype=policy
        )
        self.score = keras.layers.Dense(1, name="score", dtype=policy)
        self.beta = (
            keras.layers.Dense(1, activation="sigmoid", name="beta", dtype=policy)
            if gate == "scalar"
            else None
        )

    def build(self, hidden_size: int, annotation_size: int) -> None:
        """Makes the weights for H = `hidden_size` and D = `annotation_size`."""
        self.annotation_projection.build((None, None, annotation_size))
        self.hidden_projection.build((None, hidden_size))
        self.score.build((None, None, self.attention_size))
        if self.beta is not None:
            self.beta.build((None, hidden_size))
        self.built = True

    def project(self, annotations: tf.Tensor) -> tf.Tensor:
        """W_a a_i + b of all locations, the same at every step: [B, L, D] -> [B, L, A]."""
        return self.annotation_projection(annotations)

    def call(
        self,
        hidden: tf.Tensor,
        annotations: tf.Tensor,
        projected: tf.Tensor,
        word_query: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One look.

        A search keeps several hypotheses of an image; its annotations are then read by all of
        them: rows b K to b K + K - 1 of `hidden` belong to row b of `annotations`.

        Args:
          hidden: h_{t-1}, [B, H].
          annotations: a, [B / K, L, D].
          projected: `project(annotations)`, [B / K, L, A].
          word_query: added to W_h h_{t-1} in (4), [B, A]; the paper's model has none.

        Returns:
          context [B, D]; alpha [B, L], float32, sums to 1; beta [B, 1], float32.
        """
        query = self.hidden_projection(hidden)  # [B, A]
        if word_query is not None:
            query += word_query
        rows = tf.shape(hidden)[0]
        images = tf.shape(annotations)[0]
        locations = annotations.shape[1] or tf.shape(annotations)[1]
        beams = rows // tf.maximum(images, 1)  # K
        query = tf.reshape(query, [images, beams, 1, self.attention_size])
        scores = self.score(tf.tanh(projected[:, tf.newaxis] + query))[..., 0]  # [B / K, K, L]
        alpha = tf.nn.softmax(tf.cast(scores, tf.float32))
        context = tf.matmul(tf.cast(alpha, annotations.dtype), annotations)  # [B / K, K, D]
        alpha = tf.reshape(alpha, [rows, locations])
        context = tf.reshape(context, [rows, annotations.shape[-1]])
        if self.beta is None:
            return context, alpha, tf.ones_like(alpha[:, :1])
        beta = self.beta(hidden)  # [B, 1]
        return beta * context, alpha, tf.cast(beta, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "attention_size": self.attention_size,
            "gate": self.gate,
        }
