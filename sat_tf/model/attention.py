"""Where the decoder looks: scores, alpha and the context (equations 4 to 6, sections 4.1, 4.2)."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.initializers import InitialWeights


class Chance(NamedTuple):
    """What chance brings to a look; it makes attention hard.

    noise: Gumbel noise float32 [B, L]: the location with the largest log alpha + noise is a draw
      from alpha; noise of zero takes the likeliest one.
    drawn: bool [B, 1], whether that location takes alpha's place.
    """

    noise: tf.Tensor
    drawn: tf.Tensor


class Look(NamedTuple):
    """What a step saw.

    context: z_t, [B, D].
    alpha: float32 [B, L]; in hard attention too, where the context may be of one place drawn.
    beta: float32 [B, 1]; of a gate by channel the mean over D.
    choice: log alpha of the location drawn, float32 [B]; 0 where none was.
    entropy: of alpha, in nats, float32 [B]; 0 in soft attention, which has no use for it.
    """

    context: tf.Tensor
    alpha: tf.Tensor
    beta: tf.Tensor
    choice: tf.Tensor
    entropy: tf.Tensor


class Attention(keras.layers.Layer):
    """Attention over the annotations with the gate beta.

    e_ti = w . tanh(W_a a_i + W_h h_{t-1} + b) + b'        (4)
    alpha_t = softmax(e_t)                                 (5)
    context_t = beta_t sum_i w_ti a_i                      (6)
    beta_t = sigmoid(f_beta(h_{t-1}))                      (section 4.2.1)

    The weights w_t are alpha_t in soft attention (4.2). In hard attention (4.1) they are a
    location, one-hot, drawn from alpha_t or its likeliest one, and have no gradient: what
    alpha_t learns then comes from the REINFORCE term, see `sat_tf.model.hard_attention`. That, and
    a `Chance`, are all that tells them apart.

    The tanh is what makes alpha depend on h: in a linear score h adds the same to every location
    and cancels in the softmax.

    With `attention_layers` n above 1, W_a a_i + b goes through n - 1 layers tanh(W_l . + b_l)
    before h is added. With the gate "channel" beta is [B, D], one for each number of the context.

    Args:
      config: of the decoder.

    Departs from the paper: none in its defaults. The gate acts in both modes, as in the authors'
    code; the paper writes it for soft attention.
    """

    def __init__(self, config: DecoderConfig, **kwargs: Any) -> None:
        # Random numbers among the arguments must stay float32 whatever the policy.
        super().__init__(autocast=False, **kwargs)
        self.attention_size = config.attention_size
        self.gate = config.gate
        self._temperature = config.attention_temperature
        self._initial = InitialWeights(config.initializer)
        self._reads_word = config.attention_query == "hidden_and_word"
        size = config.attention_size
        self.annotation_projection = self._dense(
            size, "annotation_projection", kernel_initializer=self._initial.of_context()
        )
        self.deeper_projections = [
            self._dense(size, f"projection_{layer}", activation="tanh")
            for layer in range(1, config.attention_layers)
        ]
        self.hidden_projection = self._dense(size, "hidden_projection", use_bias=False)
        self.word_projection = (
            self._dense(size, "word_projection", use_bias=False) if self._reads_word else None
        )
        self.score = self._dense(1, "score")
        self.beta: keras.layers.Dense | None = None  # made when D is known

    def _dense(self, size: int, name: str, **options: Any) -> keras.layers.Dense:
        options.setdefault("kernel_initializer", self._initial.kernel())
        return keras.layers.Dense(size, name=name, dtype=self.dtype_policy, **options)

    def build(self, hidden_size: int, annotation_size: int, embedding_size: int) -> None:
        """Makes the weights for H, D and E."""
        projected = (None, None, self.attention_size)
        self.annotation_projection.build((None, None, annotation_size))
        for layer in self.deeper_projections:
            layer.build(projected)
        self.hidden_projection.build((None, hidden_size))
        if self.word_projection is not None:
            self.word_projection.build((None, embedding_size))
        self.score.build(projected)
        if self.gate != "none":
            size = annotation_size if self.gate == "channel" else 1
            self.beta = self._dense(size, "beta", activation="sigmoid")
            self.beta.build((None, hidden_size))
        self.built = True

    def project(self, annotations: tf.Tensor) -> tf.Tensor:
        """W_a a_i + b of all locations, the same at every step: [B, L, D] -> [B, L, A]."""
        projected = self.annotation_projection(annotations)
        for layer in self.deeper_projections:
            projected = layer(projected)
        return projected

    def read_word(self, embedded: tf.Tensor) -> tf.Tensor:
        """W_y E y_{t-1}, added to W_h h_{t-1} in (4): [..., E] -> [..., A].

        The paper's model has none, and [..., 0] is returned.
        """
        return embedded[..., :0] if self.word_projection is None else self.word_projection(embedded)

    def call(
        self,
        hidden: tf.Tensor,
        annotations: tf.Tensor,
        projected: tf.Tensor,
        word_query: tf.Tensor,
        chance: Chance | None = None,
    ) -> Look:
        """One look.

        A search keeps several hypotheses of an image; its annotations are then read by all of
        them: rows b K to b K + K - 1 of `hidden` belong to row b of `annotations`.

        Args:
          hidden: h_{t-1}, [B, H].
          annotations: a, [B / K, L, D].
          projected: `project(annotations)`, [B / K, L, A].
          word_query: from `read_word`, [B, A] or [B, 0].
          chance: None for soft attention.
        """
        query = self.hidden_projection(hidden)  # [B, A]
        if self.word_projection is not None:
            query += word_query
        rows = tf.shape(hidden)[0]
        images = tf.shape(annotations)[0]
        locations = annotations.shape[1] or tf.shape(annotations)[1]
        beams = rows // tf.maximum(images, 1)  # K
        query = tf.reshape(query, [images, beams, 1, self.attention_size])
        scores = self.score(tf.tanh(projected[:, tf.newaxis] + query))[..., 0]  # [B / K, K, L]
        scores = self._temperature * tf.cast(scores, tf.float32)
        alpha = tf.nn.softmax(scores)
        weights, choice, entropy = alpha, tf.zeros([rows]), tf.zeros([rows])
        if chance is not None:
            log_alpha = tf.reshape(tf.nn.log_softmax(scores), [rows, locations])
            weights, choice, entropy = _choose(log_alpha, chance)
            weights = tf.reshape(weights, [images, beams, locations])
        context = tf.matmul(tf.cast(weights, annotations.dtype), annotations)  # [B / K, K, D]
        alpha = tf.reshape(alpha, [rows, locations])
        context = tf.reshape(context, [rows, annotations.shape[-1]])
        if self.beta is None:
            return Look(context, alpha, tf.ones_like(alpha[:, :1]), choice, entropy)
        beta = self.beta(hidden)  # [B, 1] or [B, D]
        shown = tf.reduce_mean(tf.cast(beta, tf.float32), axis=1, keepdims=True)  # mean over D
        return Look(beta * context, alpha, shown, choice, entropy)


def _choose(log_alpha: tf.Tensor, chance: Chance) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Log alpha [B, L] -> what weighs the annotations [B, L], its log alpha [B], entropy [B]."""
    alpha = tf.exp(log_alpha)
    place = tf.argmax(log_alpha + chance.noise, axis=1)  # [B]
    location = tf.one_hot(place, tf.shape(log_alpha)[1])  # [B, L]
    choice = tf.gather(log_alpha, place, batch_dims=1)
    return (
        tf.where(chance.drawn, location, alpha),
        tf.where(chance.drawn[:, 0], choice, 0.0),
        -tf.reduce_sum(alpha * log_alpha, axis=1),  # sum over L
    )
