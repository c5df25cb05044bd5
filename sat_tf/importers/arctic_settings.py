"""What arctic-captions was told, as settings of a run."""

import contextlib
from collections.abc import Iterator
from typing import Any

from sat_tf.config import DecoderConfig, TrainingConfig
from sat_tf.errors import UserError
from sat_tf.importers.arctic_options import ArcticOptions

_DROPOUT = 0.5  # wherever it is on
# Its optimizers have their step sizes written in; `lrate` reaches sgd alone.
_STEP_SIZES = {"adam": 2e-4, "rmsprop": 1e-4, "adadelta": 1.0}
_REWARD_SHARE = 0.1  # of the reward in its gradient of alpha


@contextlib.contextmanager
def _of_options() -> Iterator[None]:
    """Says of a value that is refused where it comes from."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"the options of arctic-captions can't be settings of a run: {error}"
        ) from None


@_of_options()
def decoder_settings(options: ArcticOptions, null_location: bool) -> DecoderConfig:
    """The settings of the decoder.

    Args:
      options: of the model.
      null_location: whether it was trained with an annotation of zeros, which its options do
        not tell: that was a matter of how its data were read.

    Raises:
      UserError: an option is outside what the setting allows.
    """
    hard = options.attn_type == "stochastic"
    return DecoderConfig(
        embedding_size=options.dim_word,
        hidden_size=options.dim,
        attention_size=options.annotation_size,
        attention="hard" if hard else "soft",
        attention_temperature=options.temperature if hard else 1.0,
        attention_layers=options.n_layers_att,
        lstm_layers=options.n_layers_lstm,
        initial_layers=options.n_layers_init,
        output_layers=options.n_layers_out,
        output_activation="tanh",
        output_uses_embedding=options.prev2out,
        output_uses_context=options.ctx2out,
        output_bias="zero",
        gate="scalar" if options.selector else "none",
        attention_query="hidden",
        lstm_encoder=options.lstm_encoder,
        position="none",
        null_location=null_location,
        dropout=_DROPOUT if options.use_dropout else 0.0,
        lstm_dropout=_DROPOUT if options.use_dropout_lstm else 0.0,
        initializer="authors",
    )


@_of_options()
def training_settings(options: ArcticOptions, locations: int) -> TrainingConfig:
    """How it was trained; what the options do not tell keeps this package's default.

    Validations, after which `patience` counts, are one an epoch here.

    Args:
      options: of the model.
      locations: L, the annotation of zeros included; lambda depends on it.

    Raises:
      UserError: an option is outside what the setting allows.
    """
    batch_size = options.batch_size or TrainingConfig.batch_size
    told = {
        "batch_size": options.batch_size,
        "weight_decay": options.decay_c,
        "optimizer": options.optimizer,
        "learning_rate": _STEP_SIZES.get(options.optimizer or "", options.lrate),
        "patience": options.patience,
        **_attention_terms(options, batch_size, locations),
    }
    return TrainingConfig(
        batch_by="length",
        learning_rate_schedule="constant",
        clip_norm=0.0,
        monitor="perplexity",
        **{name: value for name, value in told.items() if value is not None},
    )


def longest_caption(options: ArcticOptions) -> int:
    """Words of a training caption at most; 0 is any number. Theirs were shorter than `maxlen`."""
    return max(options.maxlen - 1, 1) if options.maxlen else 0


def _attention_terms(options: ArcticOptions, batch_size: int, locations: int) -> dict[str, Any]:
    """Weights of what is added to the likelihood; None where it was not told.

    Their penalty is summed over the minibatch and averaged over L, ours averaged over the
    minibatch and summed over L. Their gradient of alpha lacks the 1 / B that the cost has.
    """
    if options.attn_type == "deterministic":
        weight = options.alpha_c
        told = None if weight is None else weight * batch_size / locations
        return {"doubly_stochastic_weight": told}
    entropy = options.alpha_entropy_c
    terms: dict[str, Any] = {
        "doubly_stochastic_weight": 0.0,  # in stochastic mode it has no effect on their gradient
        "sampling_probability": options.semi_sampling_p,
        "entropy_weight": None if entropy is None else entropy * batch_size,
    }
    if 0 < options.semi_sampling_p < 1:  # else there is nothing to decide
        terms["sampling_by"] = "batch"
    if options.semi_sampling_p:  # else no location is drawn, and nothing rewarded
        terms["reward"] = "step" if options.rl_sum_cost is False else "mean"
        terms["reinforce_weight"] = _REWARD_SHARE * batch_size
    return terms
