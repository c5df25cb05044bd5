"""The recurrent cell and the deep output layer (equations 1 to 3 and 7).

Teacher forcing and every search run this one cell.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sat_tf.model.attention import SoftAttention

# The word before the first one: its embedding is zero, as in both earlier systems.
START = -1


class Memory(NamedTuple):
    """What every step reads of an image, computed once: a [B, L, D] and W_a a + b [B, L, A]."""

    annotations: tf.Tensor
    projected: tf.Tensor


class Word(NamedTuple):
    """What a step reads of y_{t-1}: its share of the gates and, if it has one, of the query.

    gates: W_y E y_{t-1} + b, [B, 4H], in the order i, f, o, g.
    query: [B, A]; empty in its last axis, [B, 0], where the query is h_{t-1} alone.
    """

    gates: tf.Tensor
    query: tf.Tensor


class State(NamedTuple):
    """What a step hands to the next one: h and c, [B, H] each."""

    hidden: tf.Tensor
    memory: tf.Tensor


class Look(NamedTuple):
    """What a step saw: context [B, D], alpha [B, L] float32, beta [B, 1] float32."""

    context: tf.Tensor
    alpha: tf.Tensor
    beta: tf.Tensor


@keras.saving.register_keras_serializable(package="sat_tf")
class AttentionDecoderCell(keras.layers.Layer):
    """LSTM with attention, and the words it gives.

    z_t = phi(a, alpha_t), see `SoftAttention`, from h_{t-1}
    i, f, o = sigmoid(.), g = tanh(.) of W [E y_{t-1}; h_{t-1}; z_t] + b      (1)
    c_t = f * c_{t-1} + i * g                                                 (2)
    h_t = o * tanh(c_t)                                                       (3)
    h_0 = tanh(W_1 mean_i a_i + b_1), c_0 = tanh(W_2 mean_i a_i + b_2)
    p(y_t) ~ exp(L_o tanh(E y_{t-1} + L_h h_t + L_z z_t))                     (7)

    Args:
      vocabulary_size: V.
      embedding_size: E.
      hidden_size: H.
      attention_size: A.
      gate: see `SoftAttention`.
      query: "hidden" for (4) as it stands; "hidden_and_word" adds W_y E y_{t-1} within its tanh,
        so that the word before, which h_{t-1} has not read yet, can direct the look.
      dropout: rate on h_t and after the tanh of (7), in training.
      seed: of the dropout.

    Departs from the paper: the tanh in (7), which is the authors' code's. Weights start as Keras
    starts them (Glorot uniform, orthogonal for h), the forget gate's bias at 1.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        attention_size: int,
        gate: str = "scalar",
        query: str = "hidden",
        dropout: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._config = {
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
            "attention_size": attention_size,
            "gate": gate,
            "query": query,
            "dropout": dropout,
            "seed": seed,
        }
        self.vocabulary_size = vocabulary_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        policy = self.dtype_policy
        in_float32 = keras.initializers.Orthogonal()

        def orthogonal(shape: tuple[int, ...], dtype: str) -> tf.Tensor:
            # TensorFlow makes no orthogonal matrices of bfloat16.
            return keras.ops.cast(in_float32(shape, "float32"), dtype)

        def dense(size: int, name: str, **options: Any) -> keras.layers.Dense:
            return keras.layers.Dense(size, name=name, dtype=policy, **options)

        self.embedding = keras.layers.Embedding(
            vocabulary_size, embedding_size, name="embedding", dtype=policy
        )
        self.attention = SoftAttention(attention_size, gate, name="attention", dtype=policy)
        self.initial_hidden = dense(hidden_size, "initial_hidden", activation="tanh")
        self.initial_memory = dense(hidden_size, "initial_memory", activation="tanh")
        self.query_of_word = (
            dense(attention_size, "query_of_word", use_bias=False)
            if query == "hidden_and_word"
            else None
        )
        self.gates_of_word = dense(4 * hidden_size, "gates_of_word")
        self.gates_of_hidden = dense(
            4 * hidden_size,
            "gates_of_hidden",
            use_bias=False,
            kernel_initializer=orthogonal,
        )
        self.gates_of_context = dense(4 * hidden_size, "gates_of_context", use_bias=False)
        self.output_of_hidden = dense(embedding_size, "output_of_hidden")
        self.output_of_context = dense(embedding_size, "output_of_context", use_bias=False)
        self.output_words = dense(vocabulary_size, "output_words")
        self.hidden_dropout = keras.layers.Dropout(dropout, seed=seed, dtype=policy)
        self.output_dropout = keras.layers.Dropout(
            dropout, seed=None if seed is None else seed + 1, dtype=policy
        )

    def build(self, annotations_shape: tuple[int | None, ...]) -> None:
        """Makes all weights for annotations [B, L, D]."""
        annotation_size = annotations_shape[-1]
        assert annotation_size is not None, "D must be known"
        hidden, word = (None, self.hidden_size), (None, self.embedding_size)
        context = (None, annotation_size)
        self.embedding.build((None,))
        self.attention.build(self.hidden_size, annotation_size)
        for layer in (self.initial_hidden, self.initial_memory, self.gates_of_context):
            layer.build(context)
        if self.query_of_word is not None:
            self.query_of_word.build(word)
        self.gates_of_word.build(word)
        bias = np.zeros(4 * self.hidden_size, np.float32)
        bias[self.hidden_size : 2 * self.hidden_size] = 1.0  # f, so that the memory lasts
        self.gates_of_word.bias.assign(bias)
        self.gates_of_hidden.build(hidden)
        self.output_of_hidden.build(hidden)
        self.output_of_context.build(context)
        self.output_words.build(word)
        self.built = True

    def prepare(self, annotations: tf.Tensor) -> Memory:
        """What all steps share: [B, L, D] -> `Memory`."""
        annotations = tf.cast(annotations, self.compute_dtype)
        return Memory(annotations, self.attention.project(annotations))

    def initial_state(self, annotations: tf.Tensor) -> State:
        """h_0 and c_0 from the mean annotation: [B, L, D] -> `State`."""
        mean = tf.reduce_mean(annotations, axis=1)  # mean over L -> [B, D]
        return State(self.initial_hidden(mean), self.initial_memory(mean))

    def embed(self, tokens: tf.Tensor) -> tf.Tensor:
        """E y: int32 [...] -> [..., E]; `START` becomes zero."""
        embedded = self.embedding(tf.maximum(tokens, 0))
        known = tf.cast(tokens >= 0, embedded.dtype)
        return embedded * known[..., tf.newaxis]

    def read_word(self, embedded: tf.Tensor) -> Word:
        """What steps read of words: E y [..., E] -> `Word`, for one step or for all at once."""
        if self.query_of_word is None:
            return Word(self.gates_of_word(embedded), embedded[..., :0])
        return Word(self.gates_of_word(embedded), self.query_of_word(embedded))

    def step(self, word: Word, state: State, memory: Memory) -> tuple[State, Look]:
        """Equations (1) to (6).

        Args:
          word: `read_word(embed(y_{t-1}))`.
          state: h_{t-1} and c_{t-1}.
          memory: of the images; several rows of `state` may share one, see `SoftAttention.call`.
        """
        word_query = None if self.query_of_word is None else word.query
        context, alpha, beta = self.attention(state.hidden, *memory, word_query)
        gates = (
            word.gates + self.gates_of_hidden(state.hidden) + self.gates_of_context(context)
        )  # [B, 4H]
        i, f, o, g = tf.split(gates, 4, axis=-1)
        cell = tf.sigmoid(f) * state.memory + tf.sigmoid(i) * tf.tanh(g)
        hidden = tf.sigmoid(o) * tf.tanh(cell)
        return State(hidden, cell), Look(context, alpha, beta)

    def words(
        self,
        embedded: tf.Tensor,
        hidden: tf.Tensor,
        context: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Deep output (7): E y_{t-1} [..., E], h_t [..., H], z_t [..., D] -> logits [..., V]."""
        hidden = self.hidden_dropout(hidden, training=training)
        joined = embedded + self.output_of_hidden(hidden) + self.output_of_context(context)
        return self.output_words(self.output_dropout(tf.tanh(joined), training=training))

    def next_word(
        self, tokens: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, Look]:
        """One step of a search: y_{t-1} int32 [B] -> logits float32 [B, V], state, look."""
        embedded = self.embed(tokens)
        state, look = self.step(self.read_word(embedded), state, memory)
        logits = self.words(embedded, state.hidden, look.context)
        return tf.cast(logits, tf.float32), state, look

    def call(
        self, annotations: tf.Tensor, tokens: tf.Tensor, training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Teacher forcing: reads the true caption, predicts each of its words.

        Args:
          annotations: [B, L, D].
          tokens: y_1 … y_T, int32 [B, T], padded at the end.
          training: whether dropout is on.

        Returns:
          logits float32 [B, T, V], alphas float32 [B, T, L], betas float32 [B, T]. At padded
          steps they hold values that mean nothing; the losses leave them out.
        """
        memory = self.prepare(annotations)
        previous = tf.concat([tf.fill([tf.shape(tokens)[0], 1], START), tokens[:, :-1]], axis=1)
        embedded = self.embed(previous)  # [B, T, E]
        state = self.initial_state(memory.annotations)
        nothing = Look(
            tf.zeros_like(memory.annotations[:, 0]),
            tf.zeros_like(memory.annotations[..., 0], tf.float32),
            tf.zeros_like(state.hidden[:, :1], tf.float32),
        )
        states, looks = tf.scan(
            lambda carried, word: self.step(word, carried[0], memory),
            self.read_word(tf.transpose(embedded, [1, 0, 2])),  # all steps in one product
            initializer=(state, nothing),
        )  # every field [T, B, ...]
        hidden, context, alphas = (
            tf.transpose(field, [1, 0, 2]) for field in (states.hidden, looks.context, looks.alpha)
        )
        logits = self.words(embedded, hidden, context, training)
        betas = tf.transpose(looks.beta[..., 0])
        return tf.cast(logits, tf.float32), alphas, betas

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {**super().get_config(), **self._config}
