"""The decoder: an LSTM with attention over image features (section 3.1, equations 1 to 7).

Read from top to bottom: attention, the LSTM step, the initial state, the output layer, and the
decoder that joins them. Teacher forcing and every search run the same step of it.
"""

import dataclasses
import inspect
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.backpropagation import with_written_gradient
from sat_tf.model.hard_attention import LocationSample, Samples, per_replica_seed, sample_locations
from sat_tf.model.initializers import Initializers

Shape = tuple[Any, ...]  # None where a size is unknown

# The token before the first one. Its embedding is zero, as in both earlier systems.
START = -1


class LSTMState(NamedTuple):
    """State of one LSTM layer: h and c, [B, H] each."""

    hidden: tf.Tensor
    cell: tf.Tensor


class AttentionMemory(NamedTuple):
    """What every step reads of an image, computed once.

    features: the annotation vectors a_i, [B, L, D].
    keys: W_a a_i + b of each LSTM layer's attention, [B, L, A] each.
    """

    features: tf.Tensor
    keys: tuple[tf.Tensor, ...]


class InputProjections(NamedTuple):
    """What the steps read of y_{t-1}, computed for all steps in one product.

    gates: contribution to the gates of the first LSTM layer, [..., 4H], in the order i, f, o, g.
    queries: contribution to the query of each layer's attention, [..., A] each; empty if the
      query is the hidden state alone.
    """

    gates: tf.Tensor
    queries: tuple[tf.Tensor, ...]


class AttentionOutput(NamedTuple):
    """Output of the attention at one step.

    context: z_t, [B, D].
    alpha: float32 [B, L], in hard attention too.
    beta: float32 [B, 1]; the mean over D of a gate by channel; 1 without a gate.
    log_prob: log alpha of the sampled location, float32 [B]; 0 where none is sampled.
    entropy: of alpha, in nats, float32 [B]; 0 in soft attention, which does not use it.
    """

    context: tf.Tensor
    alpha: tf.Tensor
    beta: tf.Tensor
    log_prob: tf.Tensor
    entropy: tf.Tensor


class DecoderStep(NamedTuple):
    """A step of all LSTM layers, or all steps, [T, B, ...].

    states: h_t and c_t of each layer.
    attended: of the last layer, with the log probabilities and the entropies summed over layers.
    gates: i, f, o, g of each layer, [B, 4H] each.
    """

    states: tuple[LSTMState, ...]
    attended: AttentionOutput
    gates: tuple[tf.Tensor, ...]


class DecoderOutput(NamedTuple):
    """Output of teacher forcing. Values at padded steps are undefined.

    logits: float32 [B, T, V].
    alphas: of the last LSTM layer, float32 [B, T, L].
    betas: of the last LSTM layer, float32 [B, T].
    log_probs: of the sampled locations, summed over the LSTM layers, float32 [B, T].
    entropies: of alpha, summed over the LSTM layers, in nats, float32 [B, T].
    """

    logits: tf.Tensor
    alphas: tf.Tensor
    betas: tf.Tensor
    log_probs: tf.Tensor
    entropies: tf.Tensor


class _Layer(keras.layers.Layer):
    """A layer that keeps its constructor's arguments as attributes of the same names."""

    def dense(self, units: int, name: str, **options: Any) -> keras.layers.Dense:
        """Return a dense layer with the initializer and the dtype policy of this layer."""
        options.setdefault("kernel_initializer", Initializers(self.initializer).kernel())
        return keras.layers.Dense(units, name=name, dtype=self.dtype_policy, **options)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "kwargs"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="sat_tf")
class AdditiveAttention(_Layer):
    """Additive attention with a gating scalar (equations 4 to 6, sections 4.1 and 4.2).

    e_ti = w . tanh(W_a a_i + W_h h_{t-1} + b) + b'        (4)
    alpha_t = softmax(e_t)                                 (5)
    z_t = beta_t sum_i w_ti a_i                            (6)
    beta_t = sigmoid(f_beta(h_{t-1}))                      (section 4.2.1)

    The weights w_t are alpha_t in soft attention (4.2). In hard attention (4.1) they are one-hot,
    a location sampled from alpha_t or the most probable one, and have no gradient: alpha_t then
    learns from the REINFORCE term, see `sat_tf.model.hard_attention`.

    Without the tanh, h would add the same to the score of every location and cancel in the
    softmax.

    Args:
      units: A.
      num_layers: layers that project a_i before h is added; tanh after all but the first.
      gate: "none", "scalar", or "channel" for a beta_t of size D.
      temperature: multiplies the scores.
      initializer: see `Initializers`.

    Departs from the paper: not with the defaults. The gate acts in hard attention too, as in the
    authors' code.
    """

    def __init__(
        self,
        units: int,
        num_layers: int = 1,
        gate: str = "scalar",
        temperature: float = 1.0,
        initializer: str = "keras",
        **kwargs: Any,
    ) -> None:
        # Gumbel noise among the arguments must stay float32 under every policy.
        super().__init__(autocast=False, **kwargs)
        self.units, self.num_layers, self.gate = units, num_layers, gate
        self.temperature, self.initializer = temperature, initializer
        context_kernel = Initializers(initializer).context_kernel()
        self.key_projection = self.dense(units, "key_projection", kernel_initializer=context_kernel)
        self.key_layers = [
            self.dense(units, f"key_layer_{n}", activation="tanh") for n in range(1, num_layers)
        ]
        self.query_projection = self.dense(units, "query_projection", use_bias=False)
        self.score = self.dense(1, "score")
        self.gate_projection: keras.layers.Dense | None = None  # created when D is known

    def build(self, hidden_shape: Shape, features_shape: Shape) -> None:
        """Create the weights for h [B, H] and features [B, L, D]."""
        self.key_projection.build(features_shape)
        for layer in (*self.key_layers, self.score):
            layer.build((None, None, self.units))
        self.query_projection.build(hidden_shape)
        if self.gate != "none":
            size = features_shape[-1] if self.gate == "channel" else 1
            self.gate_projection = self.dense(size, "gate", activation="sigmoid")
            self.gate_projection.build(hidden_shape)

    def project_keys(self, features: tf.Tensor) -> tf.Tensor:
        """Return W_a a_i + b of all locations, the same at every step: [B, L, D] -> [B, L, A]."""
        keys = self.key_projection(features)
        for layer in self.key_layers:
            keys = layer(keys)
        return keys

    def call(
        self,
        hidden: tf.Tensor,
        features: tf.Tensor,
        keys: tf.Tensor | None = None,
        query_bias: tf.Tensor | None = None,
        sample: LocationSample | None = None,
    ) -> AttentionOutput:
        """Attend once.

        The K hypotheses that a search keeps of an image share its features: rows b K to
        b K + K - 1 of `hidden` belong to row b of `features`.

        Args:
          hidden: h_{t-1}, [B, H].
          features: [B / K, L, D].
          keys: `project_keys(features)`, [B / K, L, A]; computed if not given.
          query_bias: added to W_h h_{t-1} in (4), [B, A].
          sample: None for soft attention.
        """
        keys = self.project_keys(features) if keys is None else keys
        query = self.query_projection(hidden)  # [B, A]
        if query_bias is not None:
            query += query_bias
        rows, images = tf.shape(hidden)[0], tf.shape(features)[0]
        locations = features.shape[1] or tf.shape(features)[1]
        beams = rows // tf.maximum(images, 1)  # K
        query = tf.reshape(query, [images, beams, 1, self.units])  # [B / K, K, 1, A]
        scores = self.score(tf.tanh(tf.expand_dims(keys, 1) + query))[..., 0]  # [B / K, K, L]
        scores = self.temperature * tf.cast(scores, tf.float32)
        alpha = tf.nn.softmax(scores)  # over L
        weights, log_prob, entropy = alpha, tf.zeros([rows]), tf.zeros([rows])
        if sample is not None:
            log_alpha = tf.reshape(tf.nn.log_softmax(scores), [rows, locations])
            weights, log_prob, entropy = sample_locations(log_alpha, sample)
            weights = tf.reshape(weights, [images, beams, locations])
        context = tf.matmul(tf.cast(weights, features.dtype), features)  # [B / K, K, D]
        context = tf.reshape(context, [rows, features.shape[-1]])  # [B, D]
        alpha = tf.reshape(alpha, [rows, locations])  # [B, L]
        if self.gate_projection is None:
            return AttentionOutput(context, alpha, tf.ones_like(alpha[:, :1]), log_prob, entropy)
        beta = self.gate_projection(hidden)  # [B, 1] or [B, D]
        mean = tf.reduce_mean(tf.cast(beta, tf.float32), axis=1, keepdims=True)  # [B, 1]
        return AttentionOutput(beta * context, alpha, mean, log_prob, entropy)


@keras.saving.register_keras_serializable(package="sat_tf")
class AttentionLSTMCell(_Layer):
    """One step of an LSTM that also reads the context of its attention (equations 1 to 3).

    z_t from h_{t-1} and the features, see `AdditiveAttention`
    i, f, o = sigmoid(.), g = tanh(.) of W [x_t; h_{t-1}; z_t] + b      (1)
    c_t = f * c_{t-1} + i * g                                           (2)
    h_t = o * tanh(c_t)                                                 (3)

    x_t is E y_{t-1}, or h_t of the layer below.

    Args:
      units: H.
      attention: of this layer.
      initializer: see `Initializers`.

    Departs from the paper: not with the defaults. `gate_mask` multiplies the inputs of the
    sigmoids of i, f and o, as the dropout in the authors' LSTM does.
    """

    def __init__(
        self, units: int, attention: AdditiveAttention, initializer: str = "keras", **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # see `AdditiveAttention`
        self.units, self.attention, self.initializer = units, attention, initializer
        kernels = Initializers(initializer)
        self.input_projection, self.recurrent_projection, self.context_projection = (
            self.dense(4 * units, name, kernel_initializer=kernel, use_bias=use_bias)
            for name, kernel, use_bias in (
                ("input_projection", kernels.kernel(blocks=4), True),
                ("recurrent_projection", kernels.recurrent(), False),
                ("context_projection", kernels.context_kernel(), False),
            )
        )

    def build(self, inputs_shape: Shape, features_shape: Shape) -> None:
        """Create the weights for inputs x_t [B, X] and features [B, L, D]."""
        hidden_shape = (None, self.units)
        self.attention.build(hidden_shape, features_shape)
        self.input_projection.build((None, inputs_shape[-1]))
        bias = np.zeros([4, self.units], np.float32)
        bias[1] = Initializers(self.initializer).forget_bias
        self.input_projection.bias.assign(bias.ravel())
        self.recurrent_projection.build(hidden_shape)
        self.context_projection.build((None, features_shape[-1]))

    def call(
        self, inputs: tf.Tensor, state: LSTMState, features: tf.Tensor
    ) -> tuple[LSTMState, AttentionOutput]:
        """Take one step from x_t [B, X], h_{t-1} and c_{t-1}, with soft attention."""
        state, attended, _ = self.step(self.input_projection(inputs), state, features)
        return state, attended

    def step(
        self,
        input_gates: tf.Tensor,
        state: LSTMState,
        features: tf.Tensor,
        keys: tf.Tensor | None = None,
        query_bias: tf.Tensor | None = None,
        sample: LocationSample | None = None,
        gate_mask: tf.Tensor | None = None,
    ) -> tuple[LSTMState, AttentionOutput, tf.Tensor]:
        """Take one step from inputs that are already projected, see also `AdditiveAttention.call`.

        `input_gates` is `input_projection(x_t)`, [B, 4H], in the order i, f, o, g; `gate_mask` is
        the dropout of i, f and o, [B, 3H], 0 or 1 / (1 - rate).

        Returns:
          h_t and c_t, the attention, and the gates i, f, o, g, [B, 4H].
        """
        attended = self.attention(state.hidden, features, keys, query_bias, sample)
        gates = (
            input_gates
            + self.recurrent_projection(state.hidden)
            + self.context_projection(attended.context)
        )  # [B, 4H]
        ifo, g = gates[:, : 3 * self.units], gates[:, 3 * self.units :]
        if gate_mask is not None:
            ifo *= gate_mask
        ifo, g = tf.sigmoid(ifo), tf.tanh(g)
        i, f, o = tf.split(ifo, 3, axis=-1)
        cell = f * state.cell + i * g
        return LSTMState(o * tf.tanh(cell), cell), attended, tf.concat([ifo, g], axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, the attention serialised."""
        attention = keras.saving.serialize_keras_object(self.attention)
        return {**super().get_config(), "attention": attention}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AttentionLSTMCell":
        """Rebuild a layer from `get_config`."""
        attention = keras.saving.deserialize_keras_object(config["attention"])
        return cls(**{**config, "attention": attention})


@keras.saving.register_keras_serializable(package="sat_tf")
class InitialState(_Layer):
    """Initial states of the LSTM layers from the mean of the features (section 3.1.2).

    h_0 = tanh(W_1 m + b_1), c_0 = tanh(W_2 m + b_2), m = mean_i a_i

    Args:
      units: H.
      num_states: number of LSTM layers.
      num_layers: above 1, m passes through num_layers - 1 layers ReLU(W . + b) of size D first.
      dropout: rate after each of these layers.
      initializer: see `Initializers`.
    """

    def __init__(
        self,
        units: int,
        num_states: int = 1,
        num_layers: int = 1,
        dropout: float = 0.0,
        seed: int = 0,
        initializer: str = "keras",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.num_states, self.num_layers = units, num_states, num_layers
        self.dropout, self.seed, self.initializer = dropout, seed, initializer
        self.hidden_layers: list[keras.layers.Dense] = []  # created when D is known
        self.hidden, self.cell = (
            [self.dense(units, f"{state}_{n}", activation="tanh") for n in range(num_states)]
            for state in ("hidden", "cell")
        )
        self.drop = keras.layers.Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, features_shape: Shape) -> None:
        """Create the weights for features [B, L, D]."""
        size = features_shape[-1]
        self.hidden_layers = [
            self.dense(size, f"hidden_layer_{n}", activation="relu")
            for n in range(1, self.num_layers)
        ]
        for layer in (*self.hidden_layers, *self.hidden, *self.cell):
            layer.build((None, size))

    def call(self, features: tf.Tensor, training: bool = False) -> tuple[LSTMState, ...]:
        """Return the initial state of each LSTM layer from features [B, L, D]."""
        mean = tf.reduce_mean(features, axis=1)  # mean over L: [B, D]
        for layer in self.hidden_layers:
            mean = self.drop(layer(mean), training=training)
        return tuple(
            LSTMState(hidden(mean), cell(mean))
            for hidden, cell in zip(self.hidden, self.cell, strict=True)
        )


@keras.saving.register_keras_serializable(package="sat_tf")
class DeepOutput(_Layer):
    """Deep output layer: logits from h_t, z_t and the previous token (equation 7).

    p(y_t) ~ exp(L_o tanh(E y_{t-1} + L_h h_t + L_z z_t))     (7)

    Dropout is applied to h_t, after the tanh and after each hidden layer.

    Args:
      vocabulary_size: V.
      units: E.
      num_layers: above 1, num_layers - 1 hidden layers ReLU(W . + b) follow the tanh.
      activation: the tanh in (7).
      use_embedding: whether E y_{t-1} is part of the sum.
      use_context: whether L_z z_t is part of the sum.
      initializer: see `Initializers`.

    Departs from the paper: the tanh, which is in the authors' code; "linear" is the paper's.
    """

    def __init__(
        self,
        vocabulary_size: int,
        units: int,
        num_layers: int = 1,
        activation: str = "tanh",
        use_embedding: bool = True,
        use_context: bool = True,
        dropout: float = 0.0,
        seed: int = 0,
        initializer: str = "keras",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary_size, self.units, self.num_layers = vocabulary_size, units, num_layers
        self.use_embedding, self.use_context = use_embedding, use_context
        self.activation, self.activate = activation, keras.activations.get(activation)
        self.dropout, self.seed, self.initializer = dropout, seed, initializer
        self.hidden_projection = self.dense(units, "hidden_projection")
        self.context_projection = (
            self.dense(units, "context_projection", use_bias=False) if use_context else None
        )
        self.hidden_layers = [
            self.dense(units, f"hidden_layer_{n}", activation="relu") for n in range(1, num_layers)
        ]
        self.output_projection = self.dense(vocabulary_size, "output_projection")
        # Separate generators: the mask of one does not depend on the shape of the other.
        self.drop_hidden, self.drop = (
            keras.layers.Dropout(dropout, seed=seed + n, dtype=self.dtype_policy) for n in (0, 1)
        )

    def build(self, hidden_shape: Shape, context_shape: Shape) -> None:
        """Create the weights for h_t [..., H] and z_t [..., D]."""
        self.hidden_projection.build((None, hidden_shape[-1]))
        if self.context_projection is not None:
            self.context_projection.build((None, context_shape[-1]))
        for layer in (*self.hidden_layers, self.output_projection):
            layer.build((None, self.units))

    def call(
        self, hidden: tf.Tensor, context: tf.Tensor, embedded: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Return the logits [..., V] of h_t [..., H], z_t [..., D] and E y_{t-1} [..., E]."""
        joined = self.hidden_projection(self.drop_hidden(hidden, training=training))
        if self.use_embedding:
            joined += embedded
        if self.context_projection is not None:
            joined += self.context_projection(context)
        joined = self.drop(self.activate(joined), training=training)  # [..., E]
        for layer in self.hidden_layers:
            joined = self.drop(layer(joined), training=training)
        return self.output_projection(joined)


@keras.saving.register_keras_serializable(package="sat_tf")
class AttentionDecoder(_Layer):
    """LSTM decoder with attention over image features.

    A step is `AttentionLSTMCell`, equations (1) to (6), and `DeepOutput`, equation (7);
    `InitialState` gives h_0 and c_0.

    With `lstm_layers` above 1 further LSTM layers follow. Each reads h_t of the layer below and
    has its own attention and initial state; alpha, beta and z_t are those of the last layer. With
    `lstm_encoder` a bidirectional LSTM reads the features first, in their order: D = 2H.

    Args:
      vocabulary_size: V.
      config: of the decoder, or its fields as a dictionary.
      seed: of dropout and of all sampling.

    Departs from the paper: the tanh in (7), which is in the authors' code, and the initial
    weights (`initializer`).
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: DecoderConfig | dict[str, Any],
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # see `AdditiveAttention`
        if isinstance(config, dict):
            config = DecoderConfig(**config)
        self.vocabulary_size, self.config, self.seed = vocabulary_size, config, seed
        self.initializer = config.initializer
        initializers, policy = Initializers(config.initializer), self.dtype_policy
        shared: dict[str, Any] = {"initializer": config.initializer, "dtype": policy}
        # Every layer has a name: checkpoints identify weights by their paths.
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            config.embedding_size,
            embeddings_initializer=initializers.embeddings(),
            trainable=not config.freeze_embeddings,
            name="embedding",
            dtype=policy,
        )
        self.lstm_encoder = [
            keras.layers.LSTM(
                config.hidden_size,
                return_sequences=True,
                kernel_initializer=initializers.kernel(blocks=4),
                recurrent_initializer=initializers.recurrent(),
                unit_forget_bias=bool(initializers.forget_bias),
                name=name,
                dtype=policy,
            )
            for name in (("forward", "backward") if config.lstm_encoder else ())
        ]
        self.initial_states = InitialState(
            config.hidden_size,
            num_states=config.lstm_layers,
            num_layers=config.initial_layers,
            dropout=config.dropout,
            seed=seed + 2,
            name="initial_state",
            **shared,
        )
        self.cells = []
        for n in range(config.lstm_layers):
            attention = AdditiveAttention(
                config.attention_size,
                num_layers=config.attention_layers,
                gate=config.gate,
                temperature=config.attention_temperature,
                name="attention",
                **shared,
            )
            cell = AttentionLSTMCell(config.hidden_size, attention, name=f"lstm_{n}", **shared)
            self.cells.append(cell)
        self.query_projections = [
            self.dense(config.attention_size, f"query_projection_{n}", use_bias=False)
            for n in range(config.lstm_layers if config.attention_query != "hidden" else 0)
        ]
        self.deep_output = DeepOutput(
            vocabulary_size,
            config.embedding_size,
            num_layers=config.output_layers,
            activation=config.output_activation,
            use_embedding=config.output_uses_embedding,
            use_context=config.output_uses_context,
            dropout=config.dropout,
            seed=seed,
            name="deep_output",
            **shared,
        )
        self.seed_generator = keras.random.SeedGenerator(seed + 3)

    def build(self, features_shape: Shape) -> None:
        """Create the weights for features [B, L, D]."""
        hidden_shape = (None, self.config.hidden_size)
        embedded_shape = (None, self.config.embedding_size)
        self.embedding.build((None,))
        for lstm in self.lstm_encoder:
            lstm.build((None, None, features_shape[-1]))
        if self.lstm_encoder:
            features_shape = (*features_shape[:2], 2 * self.config.hidden_size)
        self.initial_states.build(features_shape)
        for n, cell in enumerate(self.cells):
            cell.build(hidden_shape if n else embedded_shape, features_shape)
        for projection in self.query_projections:
            projection.build(embedded_shape)
        self.deep_output.build(hidden_shape, (None, features_shape[-1]))

    def prepare(self, features: tf.Tensor) -> AttentionMemory:
        """Compute what all steps share from features [B, L, D]."""
        features = tf.cast(features, self.compute_dtype)
        if self.lstm_encoder:
            forward, backward = self.lstm_encoder
            reverse = tf.reverse(backward(tf.reverse(features, [1])), [1])
            features = tf.concat([forward(features), reverse], axis=-1)  # [B, L, 2H]
        return AttentionMemory(
            features, tuple(cell.attention.project_keys(features) for cell in self.cells)
        )

    def initial_state(
        self, memory: AttentionMemory, training: bool = False
    ) -> tuple[LSTMState, ...]:
        """Return h_0 and c_0 of each LSTM layer."""
        return self.initial_states(memory.features, training=training)

    def embed(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return E y of tokens int32 [...]: [..., E]; the embedding of `START` is zero."""
        embedded = self.embedding(tf.maximum(tokens, 0))
        return embedded * tf.cast(tokens >= 0, embedded.dtype)[..., tf.newaxis]

    def project_inputs(self, embedded: tf.Tensor) -> InputProjections:
        """Project E y_{t-1} [..., E] of one step or of all."""
        queries = tuple(projection(embedded) for projection in self.query_projections)
        return InputProjections(self.cells[0].input_projection(embedded), queries)

    def step(
        self,
        inputs: InputProjections,
        state: tuple[LSTMState, ...],
        memory: AttentionMemory,
        samples: Samples = (),
        gate_masks: tuple[tf.Tensor, ...] = (),
    ) -> DecoderStep:
        """Take one step of all LSTM layers, equations (1) to (6).

        Args:
          inputs: `project_inputs(embed(y_{t-1}))`.
          state: h_{t-1} and c_{t-1} of each layer.
          memory: of the images, see `AdditiveAttention.call` for those with several rows.
          samples: of each layer in hard attention, of this step.
          gate_masks: of each layer, see `AttentionLSTMCell.step`.
        """
        layers: list[tuple[LSTMState, AttentionOutput, tf.Tensor]] = []
        for n, cell in enumerate(self.cells):
            layers.append(
                cell.step(
                    cell.input_projection(layers[-1][0].hidden) if n else inputs.gates,
                    state[n],
                    memory.features,
                    memory.keys[n],
                    inputs.queries[n] if inputs.queries else None,
                    samples[n] if samples else None,
                    gate_masks[n] if gate_masks else None,
                )
            )
        states, attended, gates = zip(*layers, strict=True)
        log_prob = tf.add_n([output.log_prob for output in attended])
        entropy = tf.add_n([output.entropy for output in attended])
        output = attended[-1]._replace(log_prob=log_prob, entropy=entropy)
        return DecoderStep(states, output, gates)

    def next_token(
        self,
        tokens: tf.Tensor,
        state: tuple[LSTMState, ...],
        memory: AttentionMemory,
        samples: Samples = (),
    ) -> tuple[tf.Tensor, DecoderStep]:
        """Take one step of a search from y_{t-1} int32 [B].

        Returns:
          The logits of y_t, float32 [B, V], and the step.
        """
        embedded = self.embed(tokens)
        taken = self.step(self.project_inputs(embedded), state, memory, samples)
        logits = self.deep_output(taken.states[-1].hidden, taken.attended.context, embedded)
        return tf.cast(logits, tf.float32), taken

    def call(
        self,
        features: tf.Tensor,
        tokens: tf.Tensor,
        training: bool = False,
        samples: Samples = (),
        scheduled_sampling: tf.Tensor | None = None,
    ) -> DecoderOutput:
        """Teacher forcing: predict each token from the true ones before it.

        Args:
          features: [B, L, D].
          tokens: y_1 ... y_T, int32 [B, T], padded at the end.
          training: whether dropout is applied.
          samples: of all steps for each LSTM layer in hard attention, [T, B, ...].
          scheduled_sampling: probability, float32 [], that a step reads a token sampled from the
            prediction of the step before instead of y_{t-1} (Bengio et al., 2015).
        """
        memory = self.prepare(features)
        state = self.initial_state(memory, training)
        return self.teacher_force(tokens, state, memory, training, samples, scheduled_sampling)

    def teacher_force(
        self,
        tokens: tf.Tensor,
        state: tuple[LSTMState, ...],
        memory: AttentionMemory,
        training: bool = False,
        samples: Samples = (),
        scheduled_sampling: tf.Tensor | None = None,
        taken: DecoderStep | None = None,
    ) -> DecoderOutput:
        """Do what `call` does from h_0 and c_0 of each layer on.

        `taken` are the steps of these tokens if a search has taken them, [T, B, ...]; only for a
        decoder that `has_written_gradient`.
        """
        rows, steps = tf.unstack(tf.shape(tokens))
        previous = tf.concat([tf.fill([rows, 1], START), tokens[:, :-1]], axis=1)  # [B, T]
        if scheduled_sampling is not None:
            previous = self._scheduled_inputs(previous, state, memory, samples, scheduled_sampling)
        embedded = self.embed(previous)  # [B, T, E]
        inputs = self.project_inputs(tf.transpose(embedded, [1, 0, 2]))  # [T, B, ...]
        gate_masks = self._gate_masks(steps, rows) if training and self.config.lstm_dropout else ()
        if taken is None:
            taken = tf.scan(
                lambda last, now: self.step(now[0], last.states, memory, now[1], now[2]),
                (inputs, samples, gate_masks),
                initializer=self.before_first_step(state, memory),
            )  # [T, B, ...]
        hidden, attended = taken.states[-1].hidden, taken.attended
        if self.has_written_gradient and not samples and not gate_masks:
            hidden, attended = with_written_gradient(self.cells[0], inputs, state, memory, taken)
        hidden, context, alphas = (
            tf.transpose(value, [1, 0, 2]) for value in (hidden, attended.context, attended.alpha)
        )  # each [B, T, ...]
        logits = self.deep_output(hidden, context, embedded, training=training)
        each = map(tf.transpose, (attended.beta[..., 0], attended.log_prob, attended.entropy))
        return DecoderOutput(tf.cast(logits, tf.float32), alphas, *each)

    @property
    def has_written_gradient(self) -> bool:
        """Whether soft attention is differentiated by `sat_tf.model.backpropagation`."""
        return len(self.cells) == 1

    def _gate_masks(self, steps: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return the masks of `lstm_dropout`, [T, B, 3H] for each LSTM layer."""
        rate, count = self.config.lstm_dropout, len(self.cells)
        shape = [count, steps, rows, 3 * self.config.hidden_size]
        kept = tf.random.stateless_uniform(shape, per_replica_seed(self.seed_generator)) >= rate
        return tuple(tf.unstack(tf.cast(kept, self.compute_dtype) / (1.0 - rate), count))

    def _scheduled_inputs(
        self,
        previous: tf.Tensor,
        state: tuple[LSTMState, ...],
        memory: AttentionMemory,
        samples: Samples,
        probability: tf.Tensor,
    ) -> tf.Tensor:
        """Return the tokens that scheduled sampling reads: int32 [B, T] -> [B, T].

        Decodes once from `state` without dropout; which tokens are read has no gradient.
        """
        steps = tf.transpose(previous)  # [T, B]
        seed = per_replica_seed(self.seed_generator)
        uniform = tf.random.stateless_uniform(tf.shape(steps), seed)
        # No prediction comes before the first token.
        is_sampled = (uniform < probability) & (steps != START)

        def step(carried: Any, now: Any) -> Any:
            _, state, predicted = carried
            true, is_sampled, t, samples = now
            read = tf.where(is_sampled, predicted, true)
            logits, taken = self.next_token(read, state, memory, samples)
            step_seed = tf.random.experimental.stateless_fold_in(seed, t + 1)
            sampled = tf.random.stateless_categorical(logits, 1, step_seed, tf.int32)
            return read, taken.states, sampled[:, 0]

        times, zeros = tf.range(tf.shape(steps)[0]), tf.zeros_like(steps[0])
        read, _, _ = tf.scan(
            step, (steps, is_sampled, times, samples), initializer=(zeros, state, zeros)
        )
        return tf.stop_gradient(tf.transpose(read))

    def before_first_step(
        self, state: tuple[LSTMState, ...], memory: AttentionMemory
    ) -> DecoderStep:
        """Return the first state, and zeros as the rest."""
        rows, locations = tf.unstack(tf.shape(memory.features)[:2])
        context = tf.zeros([rows, memory.features.shape[-1]], self.compute_dtype)
        alpha = tf.zeros([rows, memory.features.shape[1] or locations])
        zeros = tf.zeros([rows])
        attended = AttentionOutput(context, alpha, zeros[:, tf.newaxis], zeros, zeros)
        gates = tf.zeros([rows, 4 * self.config.hidden_size], self.compute_dtype)
        return DecoderStep(state, attended, (gates,) * len(self.cells))

    def compute_output_shape(self, features_shape: Shape) -> DecoderOutput:
        """Return the shapes of the output, T unknown."""
        rows, locations, _ = features_shape
        each = (rows, None)
        return DecoderOutput((*each, self.vocabulary_size), (*each, locations), each, each, each)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, the configuration as a dictionary."""
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}
