"""The decoder: a recurrent cell that looks, and the words it gives (equations 1 to 7).

Teacher forcing and every search run this one cell.
"""

import dataclasses
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from sat_tf.config import DecoderConfig
from sat_tf.model.attention import Chance, Look
from sat_tf.model.deep_output import DeepOutput
from sat_tf.model.initial_states import InitialStates
from sat_tf.model.initializers import InitialWeights
from sat_tf.model.lstm import AttentionLSTM, State
from sat_tf.model.seeds import per_replica_seed

# The word before the first one: its embedding is zero, as in both earlier systems.
START = -1

States = tuple[State, ...]  # of each LSTM layer


class Memory(NamedTuple):
    """What every step reads of an image, computed once.

    annotations: a, [B, L, D].
    projected: of each LSTM layer's attention, W_a a + b, [B, L, A].
    """

    annotations: tf.Tensor
    projected: tuple[tf.Tensor, ...]


class Word(NamedTuple):
    """What a step reads of y_{t-1}.

    gates: its share of the first layer's gates, W_y E y_{t-1} + b, [B, 4H]; i, f, o, g.
    queries: its share of each layer's query, see `Attention.read_word`.
    """

    gates: tf.Tensor
    queries: tuple[tf.Tensor, ...]


class StepChances(NamedTuple):
    """What chance decides at a step; empty where it decides nothing.

    places: for each LSTM layer the `Chance` of its look, in hard attention.
    gate_masks: for each LSTM layer the mask of `lstm_dropout`, [B, 3H], in training.
    """

    places: tuple[Chance, ...] = ()
    gate_masks: tuple[tf.Tensor, ...] = ()


_NO_CHANCES = StepChances()


class Reading(NamedTuple):
    """A caption as teacher forcing reads it; at padded steps the values mean nothing.

    logits: float32 [B, T, V].
    alphas: of the last LSTM layer, float32 [B, T, L].
    betas: of the last LSTM layer, float32 [B, T].
    choices: log p of the locations drawn, summed over the LSTM layers, float32 [B, T].
    entropies: of alpha, summed over the LSTM layers, in nats, float32 [B, T].
    """

    logits: tf.Tensor
    alphas: tf.Tensor
    betas: tf.Tensor
    choices: tf.Tensor
    entropies: tf.Tensor


@keras.saving.register_keras_serializable(package="sat_tf")
class AttentionDecoderCell(keras.layers.Layer):
    """LSTM with attention, and the words it gives.

    One step is `AttentionLSTM`, equations (1) to (6), and `DeepOutput`, equation (7);
    `InitialStates` gives h_0 and c_0.

    With `lstm_layers` n above 1, n - 1 further LSTMs follow. Each reads h_t of the one below, has
    its own attention and its own first state; alpha, beta and z_t are the last one's. With
    `lstm_encoder` the annotations go through a bidirectional LSTM first, in their order, which
    makes D = 2H.

    Args:
      vocabulary_size: V.
      config: of the decoder, or the dictionary of them.
      seed: of dropout and of every other draw.

    Departs from the paper: the tanh in (7), which is the authors' code's, and how weights start
    (`initializer`).
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: DecoderConfig | dict[str, Any],
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # Random numbers among the arguments must stay float32 whatever the policy.
        super().__init__(autocast=False, **kwargs)
        if isinstance(config, dict):
            config = DecoderConfig(**config)
        self.vocabulary_size, self.config, self._seed = vocabulary_size, config, seed
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            config.embedding_size,
            embeddings_initializer=InitialWeights(config.initializer).embedding(),
            trainable=not config.freeze_embeddings,
            name="embedding",
            dtype=self.dtype_policy,
        )
        directions = ("forward", "backward") if config.lstm_encoder else ()
        self.annotation_lstms = [self._annotation_lstm(name) for name in directions]
        policy = self.dtype_policy
        # Every layer has a name: by its weights' paths a checkpoint knows them.
        self.initial_states = InitialStates(config, seed + 2, name="initial_states", dtype=policy)
        self.lstms = [
            AttentionLSTM(config, name=f"lstm_{layer}", dtype=self.dtype_policy)
            for layer in range(config.lstm_layers)
        ]
        self.deep_output = DeepOutput(
            vocabulary_size, config, seed, name="deep_output", dtype=policy
        )
        self.seed_generator = keras.random.SeedGenerator(seed + 3)

    def _annotation_lstm(self, name: str) -> keras.layers.LSTM:
        initial = InitialWeights(self.config.initializer)
        return keras.layers.LSTM(
            self.config.hidden_size,
            return_sequences=True,
            kernel_initializer=initial.kernel(blocks=4),
            recurrent_initializer=initial.recurrent(),
            unit_forget_bias=bool(initial.forget_bias),
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, annotations_shape: tuple[int | None, ...]) -> None:
        """Makes all weights for annotations [B, L, D]."""
        size = annotations_shape[-1]
        assert size is not None, "D must be known"
        self.embedding.build((None,))
        for lstm in self.annotation_lstms:
            lstm.build((None, None, size))
        if self.annotation_lstms:
            size = 2 * self.config.hidden_size
        self.initial_states.build(size)
        input_size = self.config.embedding_size
        for lstm in self.lstms:
            lstm.build(input_size, size)
            input_size = self.config.hidden_size
        self.deep_output.build(size)
        self.built = True

    def prepare(self, annotations: tf.Tensor) -> Memory:
        """What all steps share: [B, L, D] -> `Memory`."""
        annotations = tf.cast(annotations, self.compute_dtype)
        if self.annotation_lstms:
            forward, backward = self.annotation_lstms
            back = tf.reverse(backward(tf.reverse(annotations, [1])), [1])
            annotations = tf.concat([forward(annotations), back], axis=-1)  # [B, L, 2H]
        projected = tuple(lstm.attention.project(annotations) for lstm in self.lstms)
        return Memory(annotations, projected)

    def initial_state(self, memory: Memory, training: bool = False) -> States:
        """h_0 and c_0 of each LSTM layer."""
        return self.initial_states(memory.annotations, training=training)

    def embed(self, tokens: tf.Tensor) -> tf.Tensor:
        """E y: int32 [...] -> [..., E]; `START` becomes zero."""
        embedded = self.embedding(tf.maximum(tokens, 0))
        known = tf.cast(tokens >= 0, embedded.dtype)
        return embedded * known[..., tf.newaxis]

    def read_word(self, embedded: tf.Tensor) -> Word:
        """What steps read of words: E y [..., E] -> `Word`, for one step or for all at once."""
        queries = tuple(lstm.attention.read_word(embedded) for lstm in self.lstms)
        return Word(self.lstms[0].gates_of_input(embedded), queries)

    def step(
        self, word: Word, states: States, memory: Memory, chances: StepChances = _NO_CHANCES
    ) -> tuple[States, Look]:
        """Equations (1) to (6).

        Args:
          word: `read_word(embed(y_{t-1}))`.
          states: h_{t-1} and c_{t-1}.
          memory: of the images; several rows of `states` may share one, see `Attention.call`.
          chances: of this step.

        Returns:
          The states, and the look of the last LSTM layer with all layers' choices and entropies.
        """
        moved: list[State] = []
        looks: list[Look] = []
        gates = word.gates
        for i, lstm in enumerate(self.lstms):
            if i:
                gates = lstm.gates_of_input(moved[-1].hidden)
            state, look = lstm(
                gates,
                word.queries[i],
                states[i],
                memory.annotations,
                memory.projected[i],
                chances.places[i] if chances.places else None,
                chances.gate_masks[i] if chances.gate_masks else None,
            )
            moved.append(state)
            looks.append(look)
        choice = tf.add_n([look.choice for look in looks])
        entropy = tf.add_n([look.entropy for look in looks])
        return tuple(moved), looks[-1]._replace(choice=choice, entropy=entropy)

    def next_word(
        self,
        tokens: tf.Tensor,
        states: States,
        memory: Memory,
        chances: StepChances = _NO_CHANCES,
    ) -> tuple[tf.Tensor, States, Look]:
        """One step of a search: y_{t-1} int32 [B] -> logits float32 [B, V], states, look."""
        embedded = self.embed(tokens)
        states, look = self.step(self.read_word(embedded), states, memory, chances)
        logits = self.deep_output(embedded, states[-1].hidden, look.context)
        return tf.cast(logits, tf.float32), states, look

    def call(
        self,
        annotations: tf.Tensor,
        tokens: tf.Tensor,
        training: bool = False,
        places: tuple[Chance, ...] = (),
        sampled_inputs: tf.Tensor | None = None,
    ) -> Reading:
        """Teacher forcing: reads the true caption, predicts each of its words.

        Args:
          annotations: [B, L, D].
          tokens: y_1 … y_T, int32 [B, T], padded at the end.
          training: whether dropout is on.
          places: for each LSTM layer the `Chance` of its looks at all steps, [T, B, ...]; empty
            for soft attention.
          sampled_inputs: scheduled sampling (Bengio et al., 2015): the probability, float32 [],
            that a step reads a word drawn from what the step before predicted in place of y_{t-1}.
        """
        memory = self.prepare(annotations)
        states = self.initial_state(memory, training)
        shape = tf.shape(tokens)
        previous = tf.concat([tf.fill([shape[0], 1], START), tokens[:, :-1]], axis=1)
        if sampled_inputs is not None:
            previous = self._mix_own_words(previous, states, memory, places, sampled_inputs)
        embedded = self.embed(previous)  # [B, T, E]
        chances = StepChances(places, self._gate_masks(shape[1], shape[0], training))
        states, looks = tf.scan(
            lambda carried, now: self.step(now[0], carried[0], memory, now[1]),
            # All words in one product.
            (self.read_word(tf.transpose(embedded, [1, 0, 2])), chances),
            initializer=(states, self._blank_look(memory, shape[0])),
        )  # every field [T, B, ...]
        hidden, context, alphas = (
            tf.transpose(field, [1, 0, 2])
            for field in (states[-1].hidden, looks.context, looks.alpha)
        )
        logits = self.deep_output(embedded, hidden, context, training=training)
        return Reading(
            tf.cast(logits, tf.float32),
            alphas,
            tf.transpose(looks.beta[..., 0]),
            tf.transpose(looks.choice),
            tf.transpose(looks.entropy),
        )

    def _gate_masks(self, steps: tf.Tensor, rows: tf.Tensor, training: bool) -> Any:
        """Of `lstm_dropout`, [T, B, 3H] for each LSTM layer."""
        rate = self.config.lstm_dropout
        if not training or not rate:
            return ()
        shape = [len(self.lstms), steps, rows, 3 * self.config.hidden_size]
        kept = tf.random.stateless_uniform(shape, per_replica_seed(self.seed_generator)) >= rate
        masks = tf.cast(kept, self.compute_dtype) / (1.0 - rate)
        return tuple(tf.unstack(masks, len(self.lstms)))

    def _mix_own_words(
        self,
        previous: tf.Tensor,
        states: States,
        memory: Memory,
        places: tuple[Chance, ...],
        probability: tf.Tensor,
    ) -> tf.Tensor:
        """What each step reads under scheduled sampling: int32 [B, T] -> [B, T].

        A walk of its own from `states`, its steps without dropout: which words are read has no
        gradient.
        """
        rows = tf.shape(previous)[0]
        steps = tf.transpose(previous)  # [T, B]
        seed = per_replica_seed(self.seed_generator)
        uniform = tf.random.stateless_uniform(tf.shape(steps), seed)
        # The first word has none before it that could be replaced.
        own = (uniform < probability) & (steps != START)
        times = tf.range(tf.shape(steps)[0])

        def walk(carried: Any, now: Any) -> Any:
            _, states, drawn = carried
            true, is_own, t, places = now
            read = tf.where(is_own, drawn, true)
            logits, states, _ = self.next_word(read, states, memory, StepChances(places))
            now_seed = tf.random.experimental.stateless_fold_in(seed, t + 1)
            draw = tf.random.stateless_categorical(logits, 1, now_seed, tf.int32)
            return read, states, draw[:, 0]

        nothing = tf.zeros([rows], tf.int32)
        read, _, _ = tf.scan(
            walk, (steps, own, times, places), initializer=(nothing, states, nothing)
        )
        return tf.stop_gradient(tf.transpose(read))

    def _blank_look(self, memory: Memory, rows: tf.Tensor) -> Look:
        size = memory.annotations.shape[-1]
        locations = memory.annotations.shape[1] or tf.shape(memory.annotations)[1]
        none = tf.zeros([rows])
        return Look(
            tf.zeros([rows, size], self.compute_dtype),
            tf.zeros([rows, locations]),
            none[:, tf.newaxis],
            none,
            none,
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`."""
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "settings": dataclasses.asdict(self.config),
            "seed": self._seed,
        }
