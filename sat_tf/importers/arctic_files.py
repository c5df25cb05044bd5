"""The three files of a model of arctic-captions: options, dictionary and weights, checked."""

import dataclasses
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from sat_tf.errors import UserError, in_current_folder
from sat_tf.importers.pickles import read_pickle

PathLike = str | os.PathLike[str]
Shape = tuple[int, ...]

DROPOUT = 0.5  # their rate wherever dropout is on
FIRST_WORD = 2  # their token 0 is the end of a caption, 1 the unknown word
# Far above any model: larger values are damage, and would only fill the memory.
MOST_LAYERS = 100
LARGEST_SIZE = 10_000_000
MOST_WEIGHTS = 1 << 30

# Arrays of the archive that are not weights. The last one is a pickle of all weights.
_NOT_WEIGHTS = {"history_errs", "train_err", "valid_err", "test_err", "zipped_params"}
_SHOWN_NAMES = 8
# Errors from an archive that is damaged, encrypted or compressed in another way.
_DAMAGE = (OSError, EOFError, LookupError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _Kind(NamedTuple):
    """Kind of an option's value: what it must be, whether a value is, and its Python type."""

    requirement: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any]


def _count(most: int) -> _Kind:
    return _Kind(
        f"a whole number from 1 to {most}", lambda x: type(x) is int and 1 <= x <= most, int
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


_SIZE, _LAYERS = _count(LARGEST_SIZE), _count(MOST_LAYERS)
# Switches may have been given as 0 and 1.
_SWITCH = _Kind("True or False", lambda x: type(x) in (bool, int) and x in (0, 1), bool)
_NUMBER = _Kind("a number, 0 or more", _is_number, float)
_SHARE = _Kind("a number from 0 to 1", lambda x: _is_number(x) and x <= 1, float)
_TEXT = _Kind("a text", lambda x: isinstance(x, str), str)
_ATTENTION = _Kind(
    "'deterministic' or 'stochastic'",  # soft, hard
    lambda x: isinstance(x, str) and x in ("deterministic", "stochastic"),
    str,
)


def _required(kind: _Kind) -> Any:
    return dataclasses.field(metadata={"kind": kind})


def _optional(kind: _Kind, default: Any = None, key: str = "") -> Any:
    """Declare an option that may be missing; `key` is its name in the file if ours differs."""
    return dataclasses.field(default=default, metadata={"kind": kind, "key": key})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArcticOptions:
    """Options of the authors' code, under their names there.

    Those without a default here define the network. `temperature` and `semi_sampling_p` are newer:
    without them their code takes these defaults. The others describe the training; None if unknown.
    """

    dim_word: int = _required(_SIZE)
    ctx_dim: int = _required(_SIZE)
    dim: int = _required(_SIZE)
    n_words: int = _required(_SIZE)
    n_layers_att: int = _required(_LAYERS)
    n_layers_out: int = _required(_LAYERS)
    n_layers_lstm: int = _required(_LAYERS)
    n_layers_init: int = _required(_LAYERS)
    attn_type: str = _required(_ATTENTION)
    lstm_encoder: bool = _required(_SWITCH)
    prev2out: bool = _required(_SWITCH)
    ctx2out: bool = _required(_SWITCH)
    selector: bool = _required(_SWITCH)
    use_dropout: bool = _required(_SWITCH)
    use_dropout_lstm: bool = _required(_SWITCH)
    temperature: float = _optional(_NUMBER, 1.0)
    semi_sampling_p: float = _optional(_SHARE, 0.5)
    alpha_c: float | None = _optional(_NUMBER)
    alpha_entropy_c: float | None = _optional(_NUMBER)
    rl_sum_cost: bool | None = _optional(_SWITCH, key="RL_sumCost")
    decay_c: float | None = _optional(_NUMBER)
    optimizer: str | None = _optional(_TEXT)
    lrate: float | None = _optional(_NUMBER)
    patience: int | None = _optional(_SIZE)
    batch_size: int | None = _optional(_SIZE)
    maxlen: int | None = _optional(_SIZE)
    dataset: str | None = _optional(_TEXT)

    @property
    def feature_size(self) -> int:
        """D as the decoder reads it: the LSTM encoder concatenates two hidden states."""
        return 2 * self.dim if self.lstm_encoder else self.ctx_dim


@dataclasses.dataclass(frozen=True, slots=True)
class ArcticModel:
    """A model of arctic-captions, checked.

    Attributes:
      options: of the model and its training.
      weights: by the names of `weight_sources`, float32.
      words: of the tokens 2, 3, …: `n_words - 2`, or fewer if the dictionary is shorter; the
        tokens after them never occurred in training.
    """

    options: ArcticOptions
    weights: dict[str, np.ndarray]
    words: tuple[str, ...]


class WeightSource(NamedTuple):
    """A weight of arctic-captions, and the weight of the decoder here that it becomes.

    Their dropout does not scale what it keeps: at test time it halves what it acts on, ours leaves
    it whole. So the weights that read a halved state are halved: this gives the same logits at
    test time and, in further training, the same distribution of logits. The biases of their LSTM
    encoder are added twice.

    Attributes:
      shape: of theirs.
      path: of ours, below the decoder.
      factor: of theirs in ours; of each column if it is an array.
    """

    shape: Shape
    path: str
    factor: float | np.ndarray


def read_arctic_model(npz: PathLike, options: PathLike, dictionary: PathLike) -> ArcticModel:
    """Read the archive of weights, the pickled options and the pickled dictionary.

    Raises:
      UserError: a file can't be read, its content is wrong, or the files do not match.
    """
    checked = read_options(options)
    words = read_words(dictionary, checked.n_words)
    shapes = {name: source.shape for name, source in weight_sources(checked).items()}
    return ArcticModel(checked, read_weights(npz, shapes), words)


def read_options(path: PathLike) -> ArcticOptions:
    """Read and check the pickled options; options that this package does not need are ignored.

    Raises:
      UserError: the file can't be read, an option is missing or wrong, or no such model can exist.
    """
    pickled = read_pickle(path, "options of arctic-captions")
    if not isinstance(pickled, dict):
        raise UserError(f"{path}: must hold options by name; it holds a {type(pickled).__name__}")
    try:
        found = {_decode(key): _decode(value) for key, value in pickled.items()}
    except UnicodeDecodeError:
        raise UserError(f"{path}: holds an option whose text is not UTF-8") from None
    values, missing = {}, []
    for field in dataclasses.fields(ArcticOptions):
        key = field.metadata.get("key") or field.name
        is_required = field.default is dataclasses.MISSING
        if found.get(key) is not None or (is_required and key in found):
            values[field.name] = _check_option(path, key, found[key], field.metadata["kind"])
        elif is_required:
            missing.append(key)
    if missing:
        raise UserError(
            f"{path}: has no {', '.join(missing)}: name with --options the file that "
            "arctic-captions saved with the model (MODEL.npz.pkl)"
        )
    options = ArcticOptions(**values)
    _check_options(path, options)
    return options


def _decode(value: Any) -> Any:
    """Return the text of bytes, which are texts of Python 2, and any other value as it is."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def _check_option(path: PathLike, key: str, value: Any, kind: _Kind) -> Any:
    if kind.accepts(value):
        return kind.convert(value)
    is_plain = isinstance(value, str | int | float | None)
    shown = repr(value)[:80] if is_plain else f"a {type(value).__name__}"
    raise UserError(f"{path}: {key} must be {kind.requirement}; it is {shown}")


def _check_options(path: PathLike, options: ArcticOptions) -> None:
    """Raise `UserError` if options contradict each other."""
    if options.n_words <= FIRST_WORD:
        raise UserError(
            f"{path}: n_words must be 3 or more (end, unknown and words); it is {options.n_words}"
        )
    # Their code creates the initial states of further layers for features as they come in, but
    # applies them to the output of the LSTM encoder.
    is_stacked = options.n_layers_lstm > 1
    if is_stacked and options.lstm_encoder and options.ctx_dim != options.feature_size:
        raise UserError(
            f"{path}: with lstm_encoder and n_layers_lstm of {options.n_layers_lstm}, ctx_dim must "
            f"be twice dim ({options.feature_size}); it is {options.ctx_dim}, and such a model "
            "can't be run by arctic-captions either"
        )


def read_words(path: PathLike, n_words: int) -> tuple[str, ...]:
    """Read the words of the tokens 2, 3, … below `n_words` from a pickled dictionary word -> token.

    Words of other tokens are left out: 0 and 1 are end and unknown whatever the dictionary says,
    and words from `n_words` on are unknown to the model.

    Raises:
      UserError: the file can't be read, or what it holds is not such a dictionary.
    """
    tokens = read_pickle(path, "dictionary of arctic-captions")
    if not isinstance(tokens, dict):
        raise UserError(f"{path}: must hold tokens by word; it holds a {type(tokens).__name__}")
    words: dict[int, str] = {}
    for key, token in tokens.items():
        if type(token) is not int or token < 0:
            raise UserError(f"{path}: the token of {key!a:.80} must be a whole number, 0 or more")
        if FIRST_WORD <= token < n_words:
            word = _check_word(path, key)
            if token in words:
                raise UserError(
                    f"{path}: {words[token]!r:.80} and {word!r:.80} have the same token, {token}"
                )
            words[token] = word
    if not words:
        raise UserError(f"{path}: has no words: their tokens start at {FIRST_WORD}")
    for token in range(FIRST_WORD, FIRST_WORD + len(words)):
        if token not in words:
            raise UserError(f"{path}: no word has the token {token}, but some have higher ones")
    first_tokens: dict[str, int] = {}
    for token, word in words.items():
        if first_tokens.setdefault(word, token) != token:  # as bytes and as text
            raise UserError(f"{path}: {word!r} has two tokens, one of them {token}")
    return tuple(words[token] for token in sorted(words))


def _check_word(path: PathLike, key: Any) -> str:
    try:
        word = _decode(key)
        if not isinstance(word, str) or word.split() != [word]:
            raise UserError(f"{path}: {key!a:.80} is not a word: a text without spaces")
        word.encode("utf-8")
    except UnicodeError:
        raise UserError(f"{path}: the word {key!a:.80} is not UTF-8") from None
    return word


def weight_sources(options: ArcticOptions) -> dict[str, WeightSource]:
    """Return the weights of a model with these options by name.

    Kernels are [in, out] in both. The gates of an LSTM are side by side in the order i, f, o, g.
    """
    v, e, h, d = options.n_words, options.dim_word, options.dim, options.feature_size
    halved = 1 - DROPOUT if options.use_dropout else 1.0
    by_gate = np.ones([4, h], np.float32)
    if options.use_dropout_lstm:
        by_gate[:3] = 1 - DROPOUT  # the sums under i, f and o, but not g
    gates = by_gate.ravel()  # [4 H]
    sources: dict[str, WeightSource] = {}

    def add(name: str, shape: Shape, path: str, factor: float | np.ndarray = 1.0) -> None:
        sources[name] = WeightSource(shape, path, factor)

    def dense(name: str, inputs: int, outputs: int, path: str, factor: float = 1.0) -> None:
        add(f"{name}_W", (inputs, outputs), f"{path}/kernel", factor)
        add(f"{name}_b", (outputs,), f"{path}/bias")

    add("Wemb", (v, e), "embedding/embeddings")
    if options.lstm_encoder:
        for name, direction in (("encoder", "forward"), ("encoder_rev", "backward")):
            path = f"{direction}/lstm_cell"
            add(f"{name}_W", (options.ctx_dim, 4 * h), f"{path}/kernel")
            add(f"{name}_U", (h, 4 * h), f"{path}/recurrent_kernel")
            add(f"{name}_b", (4 * h,), f"{path}/bias", 2.0)
    # The mean of the features is whole, the output of each layer after it was halved.
    factor = 1.0
    for layer in range(1, options.n_layers_init):
        dense(f"ff_init_{layer}", d, d, f"initial_state/hidden_layer_{layer}", factor)
        factor = halved
    for layer in range(options.n_layers_lstm):
        suffix = f"_{layer}" if layer else ""
        # Of further layers, their code says ctx_dim; `read_options` checks that it is D there.
        dense(f"ff_state{suffix}", d, h, f"initial_state/hidden_{layer}", factor)
        dense(f"ff_memory{suffix}", d, h, f"initial_state/cell_{layer}", factor)
        name, path, size = f"decoder{suffix}", f"lstm_{layer}", h if layer else e
        add(f"{name}_W", (size, 4 * h), f"{path}/input_projection/kernel", gates)
        add(f"{name}_b", (4 * h,), f"{path}/input_projection/bias", gates)
        add(f"{name}_U", (h, 4 * h), f"{path}/recurrent_projection/kernel", gates)
        add(f"{name}_Wc", (d, 4 * h), f"{path}/context_projection/kernel", gates)
        path = f"{path}/attention"
        add(f"{name}_Wc_att", (d, d), f"{path}/key_projection/kernel")
        add(f"{name}_b_att", (d,), f"{path}/key_projection/bias")
        for number in range(1, options.n_layers_att):
            add(f"{name}_W_att_{number}", (d, d), f"{path}/key_layer_{number}/kernel")
            add(f"{name}_b_att_{number}", (d,), f"{path}/key_layer_{number}/bias")
        add(f"{name}_Wd_att", (h, d), f"{path}/query_projection/kernel")
        add(f"{name}_U_att", (d, 1), f"{path}/score/kernel")
        add(f"{name}_c_tt", (1,), f"{path}/score/bias")
        if options.selector:
            add(f"{name}_W_sel", (h, 1), f"{path}/gate/kernel")
            add(f"{name}_b_sel", (), f"{path}/gate/bias")
    # h and what follows the tanh were halved, the context and the previous word were not.
    dense("ff_logit_lstm", h, e, "deep_output/hidden_projection", halved)
    if options.ctx2out:
        dense("ff_logit_ctx", d, e, "deep_output/context_projection")
    for layer in range(1, options.n_layers_out):
        dense(f"ff_logit_h{layer}", e, e, f"deep_output/hidden_layer_{layer}", halved)
    dense("ff_logit", e, v, "deep_output/output_projection", halved)
    return sources


def read_weights(path: PathLike, shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Read the weights named, and nothing else, from a NumPy archive: float32, in C order.

    Raises:
      UserError: the archive can't be read, lacks weights or has others, or a weight has another
        shape, another type, or values that are not finite in float32.
    """
    count = sum(math.prod(shape) for shape in shapes.values())
    if count > MOST_WEIGHTS:
        raise UserError(f"{path}: has {count:,} weights by the options, more than {MOST_WEIGHTS:,}")
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(path, {name.removesuffix(".npy") for name in archive.namelist()}, shapes)
            return {name: _read_array(path, archive, name, shapes[name]) for name in shapes}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file{in_current_folder(path)} (weights of arctic-captions)"
        ) from None
    except _DAMAGE as error:
        why = getattr(error, "strerror", None) or "it is damaged, or no archive of NumPy"
        raise UserError(
            f"{path}: can't be read as weights of arctic-captions (.npz): {why}"
        ) from None


def _check_names(path: PathLike, found: set[str], shapes: Mapping[str, Shape]) -> None:
    problems = []
    if missing := [name for name in shapes if name not in found]:
        problems.append(f"lacks {_join(missing)}")
    if others := sorted(found - shapes.keys() - _NOT_WEIGHTS):
        problems.append(f"has {_join(others)}, which a model with these options does not have")
    if problems:
        raise UserError(
            f"{path}: {' and '.join(problems)}: name with --options the file that was saved with it"
        )


def _join(names: list[str]) -> str:
    rest = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _read_array(path: PathLike, archive: zipfile.ZipFile, name: str, shape: Shape) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        found, is_column_major, dtype = _read_header(member)
        # Before the values are read: what the header claims may fill the memory.
        if found != shape:
            raise UserError(
                f"{path}: {name} must have the shape {shape} by the options; it has {found}"
            )
        if dtype.kind != "f":
            raise UserError(f"{path}: {name} must hold floating-point numbers; it holds {dtype}")
        size = math.prod(shape) * dtype.itemsize
        data = member.read(size + 1)
    if len(data) != size:
        raise UserError(f"{path}: {name} is damaged: its size is not that of its shape")
    with np.errstate(over="ignore"):
        values = np.frombuffer(data, dtype).astype(np.float32)
    if count := np.count_nonzero(~np.isfinite(values)):
        raise UserError(f"{path}: {name} has {count} values that are not finite in float32")
    return values.reshape(shape, order="F" if is_column_major else "C").copy(order="C")


def _read_header(member: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    if version not in _READ_HEADER:
        raise ValueError(f"an array in version {version} of NumPy's format")
    with warnings.catch_warnings():
        # About headers written by Python 2, which are read all the same.
        warnings.simplefilter("ignore", UserWarning)
        return _READ_HEADER[version](member)
