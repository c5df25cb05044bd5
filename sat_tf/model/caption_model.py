"""The caption model: encoder and decoder joined, as a Keras model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import sat_tf.model.encoder  # noqa: F401  registers the layers of encoders, for loading
from sat_tf.config import DecoderConfig, DecodingConfig, TrainingConfig
from sat_tf.model.decoder import AttentionDecoder, DecoderOutput, Shape
from sat_tf.model.generation import Generator, TeacherForcedScores
from sat_tf.model.hard_attention import Samples
from sat_tf.model.losses import CaptionLoss, Sums
from sat_tf.search.hypotheses import Decoded

Batch = Mapping[str, tf.Tensor]


@keras.saving.register_keras_serializable(package="sat_tf")
class FlattenGrid(keras.layers.Layer):
    """Flatten the encoder's grid, row by row, and scale its features.

    The features are divided by `scale`, which is 1 unless `CaptionModel.scale_features` sets it.

    Args:
      position: "none" leaves the features as they are (the paper's model); "coordinates" appends
        the column and the row of each location, from -1 to 1, so that the context, an average over
        locations, contains where it comes from.
      null_location: appends a location whose features are zero, on which attention may rest (an
        option of the authors' code).
    """

    def __init__(self, position: str = "none", null_location: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.position, self.null_location = position, null_location

    def build(self, grid_shape: Shape) -> None:
        """Create the scale."""
        del grid_shape
        self.scale = self.add_weight(
            name="scale", shape=(), initializer="ones", trainable=False, dtype="float32"
        )

    def call(self, grid: tf.Tensor) -> tf.Tensor:
        """Flatten [I, rows, columns, D] to [I, L, D].

        Coordinates increase D by 2, the null location L by 1.
        """
        shape = tf.shape(grid)
        grid = tf.cast(tf.cast(grid, tf.float32) / self.scale, self.compute_dtype)
        if self.position == "coordinates":
            column, row = tf.meshgrid(
                tf.linspace(-1.0, 1.0, shape[2]), tf.linspace(-1.0, 1.0, shape[1])
            )
            position = tf.cast(tf.stack([column, row], axis=-1), grid.dtype)  # [rows, columns, 2]
            position = tf.broadcast_to(position, tf.concat([shape[:3], [2]], axis=0))
            grid = tf.concat([grid, position], axis=-1)
        features = tf.reshape(grid, [shape[0], shape[1] * shape[2], grid.shape[-1]])
        return tf.pad(features, [[0, 0], [0, 1], [0, 0]]) if self.null_location else features

    def compute_output_shape(self, grid_shape: Shape) -> Shape:
        """Return the shape of the features."""
        images, rows, columns, size = grid_shape
        assert size is not None, "D must be known"
        cells = rows * columns + self.null_location if rows and columns else None
        return (images, cells, size + 2 if self.position == "coordinates" else size)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"position": self.position, "null_location": self.null_location}
        return {**super().get_config(), **own}


class _Perplexity(keras.metrics.Mean):
    """Exponential of the mean negative log-likelihood of a token."""

    def result(self) -> tf.Tensor:
        return keras.ops.exp(super().result())


class _LossMetrics:
    """The loss of `fit` and its terms, as means over captions, and the perplexity.

    Keras locks the state of a model that is built: these metrics are created when it is compiled.
    """

    def __init__(self, names: Sequence[str]) -> None:
        perplexity = [_Perplexity(name="perplexity")] if "nll" in names else []
        self.metrics = [*(keras.metrics.Mean(name=name) for name in ("loss", *names)), *perplexity]

    def update(self, sums: Sums, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        """Add the sums of a step, and return the means of what it computes."""
        sums = {**sums, "loss": loss, "perplexity": sums.get("nll")}
        updated = [metric for metric in self.metrics if metric.name in sums]
        for metric in updated:
            count = sums["words" if metric.name == "perplexity" else "captions"]
            metric.update_state(sums[metric.name] / count, count)
        return {metric.name: metric.result() for metric in updated}


@keras.saving.register_keras_serializable(package="sat_tf")
class CaptionModel(keras.Model):
    """Show, Attend and Tell: images -> features -> captions.

    Inputs are the batches of `sat_tf.data.pipeline`, dictionaries of

    - `images` float32 [I, S, S, 3], RGB, 0 to 255, or their `features` [I, rows, columns, D];
    - `tokens` int32 [B, T]: captions, padded at the end;
    - `image_index` int32 [B], which of the images each caption describes; without it there is one
      caption for each image;
    - `captions` float32 [] and `first` int32 [], for training: size of the minibatch over all
      replicas, and where this replica's captions begin in it; without them, the captions of all
      replicas are counted.

    Args:
      encoder: [I, S, S, 3] float32, 0 to 255 -> [I, rows, columns, D].
      config: of the decoder, or its fields as a dictionary.
      vocabulary_size: V.
      seed: of dropout and sampling.
    """

    def __init__(
        self,
        encoder: keras.Model,
        config: DecoderConfig | dict[str, Any],
        vocabulary_size: int,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.encoder = encoder
        self.config = DecoderConfig(**config) if isinstance(config, dict) else config
        self.vocabulary_size, self.seed, policy = vocabulary_size, seed, self.dtype_policy
        self.flatten_grid = FlattenGrid(
            self.config.position, self.config.null_location, name="flatten_grid", dtype=policy
        )
        self.decoder = AttentionDecoder(
            vocabulary_size, self.config, seed, name="decoder", dtype=policy
        )
        # b of equation (12): a moving average of the rewards, the same on all replicas.
        self.reward_baseline = self._state("reward_baseline")
        # Probability of scheduled sampling, for a schedule to set; see `CaptionLoss`.
        self.scheduled_sampling = self._state("scheduled_sampling")
        self._generator = Generator([self])
        # Not in `build`, whose name scope would put the model's name into the paths of weights.
        self.flatten_grid.build(encoder.output_shape)
        self.decoder.build(self.flatten_grid.compute_output_shape(encoder.output_shape))
        self.built = True

    def _state(self, name: str) -> keras.Variable:
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the features."""
        return tuple(self.encoder.output_shape[1:3])

    @property
    def num_locations(self) -> int:
        """L: the cells of the grid and the null location, if there is one."""
        rows, columns = self.grid
        return rows * columns + self.config.null_location

    @property
    def trains_encoder(self) -> bool:
        """Whether training changes the encoder, its weights or its moving averages."""
        return bool(self.encoder.trainable_variables)

    @property
    def training_state(self) -> dict[str, Any]:
        """Variables that resuming needs beside the weights: the baseline, the seeds' states."""
        # Keras has no other handle on the generators of its dropout layers.
        seeds = [v.value for v in self.non_trainable_variables if "seed" in v.path]
        return {"reward_baseline": self.reward_baseline.value, "seeds": seeds}

    def set_output_bias(self, log_frequencies: list[float]) -> None:
        """Set the bias of the output layer to the natural logarithms of token frequencies, [V]."""
        bias = self.decoder.deep_output.output_projection.bias
        bias.assign(np.asarray(log_frequencies, np.float32))

    def set_embeddings(self, vectors: Mapping[int, np.ndarray]) -> None:
        """Set the embeddings of some token ids to vectors [E]."""
        embeddings = self.decoder.embedding.embeddings
        values = embeddings.numpy()
        for index, vector in vectors.items():
            values[index] = vector
        embeddings.assign(values)

    def scale_features(self, features: tf.Tensor) -> None:
        """Divide all features by the root mean square of those given, [I, rows, columns, D].

        The features of a frozen network may have a magnitude of hundreds, which saturates the
        first tanh that reads them. The division amounts to smaller initial weights: the equations
        stay as they are.
        """
        mean_square = tf.reduce_mean(tf.square(tf.cast(features, tf.float32)))
        # Features that are all zero stay so.
        self.flatten_grid.scale.assign(tf.sqrt(mean_square) if mean_square > 0 else 1.0)

    def encode_images(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Return the `features` of the inputs, or those of their `images`, [I, rows, columns, D].

        With `training`, an encoder that is trained runs in training mode.
        """
        if "features" in inputs:
            return tf.ensure_shape(inputs["features"], [None, *self.encoder.output_shape[1:]])
        return self.encoder(inputs["images"], training=training and self.trains_encoder)

    def call(
        self,
        inputs: Batch,
        training: bool = False,
        samples: Samples = (),
        scheduled_sampling: tf.Tensor | None = None,
    ) -> DecoderOutput:
        """Run teacher forcing over captions of images that are encoded once each.

        The arguments after `inputs` are those of `AttentionDecoder.call`.
        """
        features = self.flatten_grid(self.encode_images(inputs, training))  # [I, L, D]
        if "image_index" in inputs:
            features = tf.gather(features, inputs["image_index"])  # [B, L, D]
        return self.decoder(
            features,
            inputs["tokens"],
            training=training,
            samples=samples,
            scheduled_sampling=scheduled_sampling,
        )

    def generate(self, inputs: Batch, decoding: DecodingConfig | None = None) -> Decoded:
        """Generate captions of `features` or `images`, see `sat_tf.model.generation.generate`."""
        return self._generator.generate([inputs], decoding or DecodingConfig())

    def score(self, inputs: Batch, decoding: DecodingConfig | None = None) -> TeacherForcedScores:
        """Score the given captions, see `sat_tf.model.generation.score`."""
        return self._generator.score([inputs], decoding or DecodingConfig())

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: CaptionLoss | None = None,
        *,
        clip_norm: float = TrainingConfig().clip_norm,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> None:
        """Configure training.

        Args:
          optimizer: wrapped in a `LossScaleOptimizer` under the policy mixed_float16. It should
            not clip gradients itself, which Keras does on each replica, before their sum.
          loss: by default `CaptionLoss()`.
          clip_norm: largest global norm of the gradient of the whole minibatch; 0 for any.
          weight_decay: times the sum of the squares of all weights, added to the loss.
          **options: `run_eagerly`, `steps_per_execution`, … of `keras.Model.compile`.
        """
        super().compile(optimizer=optimizer, **{"jit_compile": False, **options})
        self.optimizer.build(self.trainable_variables)
        self.loss = loss or CaptionLoss()
        self.clip_norm, self.weight_decay = clip_norm, weight_decay
        self.scheduled_sampling.assign(getattr(self.loss, "scheduled_sampling", 0.0))
        self._loss_metrics = _LossMetrics(self.loss.reported(self.config.attention))

    def get_compile_config(self) -> dict[str, Any] | None:
        """Return the arguments of `compile`, serialised."""
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "loss": serialize(self.loss),
            "clip_norm": self.clip_norm,
            "weight_decay": self.weight_decay,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` says."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def update(self, batch: Batch) -> Sums:
        """Take one optimizer step on one replica's share of a minibatch.

        Minimises the loss averaged over the whole minibatch,

            1/B sum_b loss_b + weight_decay sum_w w^2,

        with the gradient clipped after the sum over replicas, so that several devices train as
        one. With loss scaling, a step whose gradient overflows leaves the weights unchanged.

        Returns:
          The sums of the loss over the whole minibatch, before the update.
        """
        context = tf.distribute.get_replica_context()
        # The gradients of all replicas are added: each contributes its share of what is common.
        share = 1.0 / context.num_replicas_in_sync
        variables = self.trainable_variables
        batch = self._with_size(batch)
        loss_scale = self.optimizer.scale_loss(1.0)
        with tf.GradientTape() as tape:
            sums = self.loss(self, batch, training=True)
            loss = self.loss.surrogate(sums) / batch["captions"]
            if self.weight_decay:
                squares = [tf.reduce_sum(tf.square(variable)) for variable in variables]
                loss += share * self.weight_decay * tf.add_n(squares)
            loss *= loss_scale
        gradients = tape.gradient(loss, variables)
        unused = [v.path for v, g in zip(variables, gradients, strict=True) if g is None]
        if unused:
            raise ValueError(
                f"the loss does not depend on {', '.join(unused)}: freeze an encoder whose "
                "features are given (encoder.trainable = False), or give images"
            )
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        # Keras adds the gradients of the replicas; these are already the sums.
        factor = share
        if self.clip_norm:
            largest = self.clip_norm * loss_scale
            factor *= largest / tf.maximum(tf.linalg.global_norm(gradients), largest)
        self.optimizer.apply([factor * gradient for gradient in gradients], variables)
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        if "reward" in sums:
            self._move_baseline(sums["reward"] / sums["captions"])
        return sums

    def _move_baseline(self, reward: tf.Tensor) -> None:
        """Update b_k = decay b_{k-1} + (1 - decay) reward_k, of minibatch k (section 4.1)."""
        decay = self.loss.baseline_decay
        baseline = decay * self.reward_baseline + (1.0 - decay) * reward
        # A step that overflows in float16 is skipped, here too.
        is_finite = tf.math.is_finite(baseline)
        self.reward_baseline.assign(tf.where(is_finite, baseline, self.reward_baseline))

    def _with_size(self, batch: Batch) -> Batch:
        if "captions" in batch:
            return batch
        context = tf.distribute.get_replica_context()
        sizes = context.all_gather(tf.shape(batch["tokens"])[:1], axis=0)  # [replicas]
        first = tf.reduce_sum(sizes[: context.replica_id_in_sync_group])
        captions = tf.cast(tf.reduce_sum(sizes), tf.float32)
        return {**batch, "captions": captions, "first": first}

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take a step of `fit`."""
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._log(self.update(batch))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Take a step of `evaluate`."""
        batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        sums = self.loss(self, batch, training=False)
        context = tf.distribute.get_replica_context()
        return self._log(context.all_reduce(tf.distribute.ReduceOp.SUM, sums))

    def _log(self, sums: Sums) -> dict[str, tf.Tensor]:
        return self._loss_metrics.update(sums, self.loss.total(sums))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras would build a model by averaging the first batch over the replicas of a strategy,
        # whose numbers of images differ. This model is always built.
        pass

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss and its terms."""
        return self._loss_metrics.metrics if self.compiled else []

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, encoder and configuration serialised."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "config": dataclasses.asdict(self.config),
            "vocabulary_size": self.vocabulary_size,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "CaptionModel":
        """Rebuild a model from `get_config`."""
        encoder = keras.saving.deserialize_keras_object(
            config["encoder"], custom_objects=custom_objects
        )
        return cls(**{**config, "encoder": encoder})
