"""The options of a model of arctic-captions, which it pickles beside the weights."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

from sat_tf.errors import UserError
from sat_tf.importers.safe_pickle import read_pickle

ATTENTIONS = ("deterministic", "stochastic")  # soft, hard
# Far above any model; what is larger is damaged, and would only fill the memory.
MOST_LAYERS = 100
LARGEST_SIZE = 10_000_000


class _WrongOptionError(ValueError):
    """What an option must be."""


def _count(most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise _WrongOptionError(f"a whole number from 1 to {most}")
        return value

    return check


def _switch(value: Any) -> bool:
    # Options may have been given as 0 and 1.
    if type(value) not in (bool, int) or value not in (0, 1):
        raise _WrongOptionError("True or False")
    return bool(value)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise _WrongOptionError("a number, 0 or more")
    return float(value)


def _share(value: Any) -> float:
    if _number(value) > 1:
        raise _WrongOptionError("a number from 0 to 1")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongOptionError("a text")
    return value


def _attention(value: Any) -> str:
    if value not in ATTENTIONS:
        raise _WrongOptionError(" or ".join(repr(name) for name in ATTENTIONS))
    return str(value)


_size, _layers = _count(LARGEST_SIZE), _count(MOST_LAYERS)


def _needed(check: Callable[[Any], Any]) -> Any:
    """An option without which the model can't be told."""
    return dataclasses.field(metadata={"check": check})


def _told(check: Callable[[Any], Any], default: Any = None, key: str = "") -> Any:
    """An option that may be missing; `key` is its name in the file where ours differs."""
    return dataclasses.field(default=default, metadata={"check": check, "key": key})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArcticOptions:
    """What the authors' code was told, under its own names.

    The network needs those that have no default here. `temperature` and `semi_sampling_p` came
    later: without them their code takes the defaults, and with soft attention it reads neither.
    The rest says how it was trained; None is for "not told".
    """

    dim_word: int = _needed(_size)
    ctx_dim: int = _needed(_size)
    dim: int = _needed(_size)
    n_words: int = _needed(_size)
    n_layers_att: int = _needed(_layers)
    n_layers_out: int = _needed(_layers)
    n_layers_lstm: int = _needed(_layers)
    n_layers_init: int = _needed(_layers)
    attn_type: str = _needed(_attention)
    lstm_encoder: bool = _needed(_switch)
    prev2out: bool = _needed(_switch)
    ctx2out: bool = _needed(_switch)
    selector: bool = _needed(_switch)
    use_dropout: bool = _needed(_switch)
    use_dropout_lstm: bool = _needed(_switch)
    temperature: float = _told(_number, 1.0)
    semi_sampling_p: float = _told(_share, 0.5)
    alpha_c: float | None = _told(_number)
    alpha_entropy_c: float | None = _told(_number)
    rl_sum_cost: bool | None = _told(_switch, key="RL_sumCost")
    decay_c: float | None = _told(_number)
    optimizer: str | None = _told(_text)
    lrate: float | None = _told(_number)
    patience: int | None = _told(_size)
    batch_size: int | None = _told(_size)
    maxlen: int | None = _told(_size)
    dataset: str | None = _told(_text)

    @property
    def annotation_size(self) -> int:
        """D as the decoder reads it: the recurrent encoder joins two hidden states."""
        return 2 * self.dim if self.lstm_encoder else self.ctx_dim


def read_options(path: str | os.PathLike[str]) -> ArcticOptions:
    """Reads and checks the pickled options; options that this package has no use for are left out.

    Raises:
      UserError: the file can't be read, an option is missing or wrong, or no such model exists.
    """
    told = _texts(path, read_pickle(path, "options of arctic-captions"))
    values, missing = {}, []
    for field in dataclasses.fields(ArcticOptions):
        key = field.metadata.get("key") or field.name
        if key in told:
            # None is what "not told" was to their code, too.
            if told[key] is not None or field.default is dataclasses.MISSING:
                values[field.name] = _checked(path, key, told[key], field.metadata["check"])
        elif field.default is dataclasses.MISSING:
            missing.append(key)
    if missing:
        raise UserError(
            f"{path}: has no {', '.join(missing)}; name the options that arctic-captions saved "
            "with the model (MODEL.npz.pkl)"
        )
    options = ArcticOptions(**values)
    _check_together(path, options)
    return options


def _texts(path: str | os.PathLike[str], told: Any) -> dict[str, Any]:
    """The options with texts for Python 2's bytes."""
    if not isinstance(told, dict):
        raise UserError(f"{path}: must hold options by name; it holds a {type(told).__name__}")
    try:
        return {_decoded(key): _decoded(value) for key, value in told.items()}
    except UnicodeDecodeError:
        raise UserError(f"{path}: holds an option whose text is not UTF-8") from None


def _decoded(value: Any) -> Any:
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _checked(
    path: str | os.PathLike[str], key: str, value: Any, check: Callable[[Any], Any]
) -> Any:
    try:
        return check(value)
    except _WrongOptionError as error:
        plain = isinstance(value, str | int | float | None)
        shown = repr(value)[:80] if plain else f"a {type(value).__name__}"
        raise UserError(f"{path}: {key} must be {error}; it is {shown}") from None


def _check_together(path: str | os.PathLike[str], options: ArcticOptions) -> None:
    if options.n_words < 3:
        raise UserError(
            f"{path}: n_words must be 3 or more (end, unknown and words); it is {options.n_words}"
        )
    # Their code makes the further layers' initial states for annotations as they come in, but
    # hands them the encoder's.
    stacked = options.n_layers_lstm > 1
    if stacked and options.lstm_encoder and options.ctx_dim != options.annotation_size:
        raise UserError(
            f"{path}: with lstm_encoder and n_layers_lstm of {options.n_layers_lstm}, ctx_dim must "
            f"be twice dim ({options.annotation_size}); it is {options.ctx_dim}, and such a model "
            "can't be run by arctic-captions either"
        )
