"""The three files of a model of arctic-captions: options, dictionary and weights, checked."""

import dataclasses
import io
import math
import os
import typing
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sat_tf.errors import UserError, in_current_folder
from sat_tf.importers.pickles import read_pickle
from sat_tf.vocabulary import SPECIAL, Vocabulary

PathLike = str | os.PathLike[str]
Shape = tuple[int, ...]

DROPOUT = 0.5  # their rate wherever dropout is on
FIRST_WORD = 2  # their token 0 is the end of a caption, 1 the unknown word
# Far above any model: larger values are damage, and would only fill the memory.
LARGEST_SIZE = 10_000_000
MOST_WEIGHTS = 1 << 30

# Arrays of the archive that are not weights. The last one is a pickle of all weights.
_NOT_WEIGHTS = {"history_errs", "train_err", "valid_err", "test_err", "zipped_params"}
_SHOWN_NAMES = 8
_MOST_HEADER_BYTES, _MOST_FLOAT_BYTES = 1 << 16, 16
# Errors from an archive that is damaged, encrypted or compressed in another way.
_DAMAGE = (
    *(OSError, EOFError, LookupError, MemoryError, RuntimeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)

# Limits of numbers, by their type or the name of the option.
_LIMITS: dict[Any, tuple[int, float]] = {
    int: (1, LARGEST_SIZE),
    float: (0, math.inf),
    "n_words": (FIRST_WORD + 1, LARGEST_SIZE),
    "semi_sampling_p": (0, 1),
    **dict.fromkeys(("n_layers_att", "n_layers_out", "n_layers_lstm", "n_layers_init"), (1, 100)),
}
_MODES = ("deterministic", "stochastic")  # values of attn_type: soft, hard


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArcticOptions:
    """Options of the authors' code, under their names there.

    Those without a default here define the network. `temperature` and `semi_sampling_p` are newer:
    without them their code takes these defaults. The others describe the training; None if unknown.
    """

    dim_word: int
    ctx_dim: int
    dim: int
    n_words: int
    n_layers_att: int
    n_layers_out: int
    n_layers_lstm: int
    n_layers_init: int
    attn_type: str
    lstm_encoder: bool
    prev2out: bool
    ctx2out: bool
    selector: bool
    use_dropout: bool
    use_dropout_lstm: bool
    temperature: float = 1.0
    semi_sampling_p: float = 0.5
    alpha_c: float | None = None
    alpha_entropy_c: float | None = None
    RL_sumCost: bool | None = None
    decay_c: float | None = None
    optimizer: str | None = None
    lrate: float | None = None
    patience: int | None = None
    batch_size: int | None = None
    maxlen: int | None = None
    dataset: str | None = None

    @property
    def feature_size(self) -> int:
        """D as the decoder reads it: the LSTM encoder concatenates two hidden states."""
        return 2 * self.dim if self.lstm_encoder else self.ctx_dim


@dataclasses.dataclass(frozen=True, slots=True)
class ArcticModel:
    """A model of arctic-captions, checked.

    Their words have the tokens 2, 3, … there, here 3, 4, …: `n_words - 2`, or fewer if the
    dictionary is shorter; the tokens after them never occurred in training.
    """

    options: ArcticOptions
    weights: dict[str, np.ndarray]  # by the names of `weight_sources`, float32
    vocabulary: Vocabulary


class WeightSource(NamedTuple):
    """A weight of arctic-captions, and the weight of the decoder here that it becomes.

    Their dropout does not scale what it keeps: at test time it halves what it acts on, ours leaves
    it whole. So the weights that read a halved state are halved: this gives the same logits at
    test time and, in further training, the same distribution of logits. The biases of their LSTM
    encoder are added twice.
    """

    shape: Shape  # of theirs
    path: str  # of ours, below the decoder
    factor: float | np.ndarray  # of theirs in ours; of each column if it is an array


def read_arctic_model(npz: PathLike, options: PathLike, dictionary: PathLike) -> ArcticModel:
    """Read the archive of weights, the pickled options and the pickled dictionary.

    Raises:
      UserError: a file can't be read, its content is wrong, or the files do not match.
    """
    checked = read_options(options)
    vocabulary = read_vocabulary(dictionary, checked.n_words)
    shapes = {name: source.shape for name, source in weight_sources(checked).items()}
    return ArcticModel(checked, read_weights(npz, shapes), vocabulary)


def read_options(path: PathLike) -> ArcticOptions:
    """Read and check the pickled options; options that this package does not need are ignored.

    Raises:
      UserError: the file can't be read, an option is missing or wrong, or no such model can exist.
    """
    pickled = _read_dictionary(path, "options of arctic-captions", "options by name")
    try:
        found = {_decode(key): _decode(value) for key, value in pickled.items()}
    except UnicodeDecodeError:
        raise UserError(f"{path}: holds an option whose text is not UTF-8") from None
    fields = dataclasses.fields(ArcticOptions)
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    if missing := [name for name in required if name not in found]:
        raise UserError(
            f"{path}: has no {', '.join(missing)}: name with --options the file that "
            "arctic-captions saved with the model (MODEL.npz.pkl)"
        )
    values: dict[str, Any] = {}
    for field in fields:
        name, value = field.name, found.get(field.name)
        if value is not None or name in required:
            kind, *_ = typing.get_args(field.type) or (field.type,)  # of `kind | None`
            requirement, is_valid = _check_option(name, kind, value)
            if not is_valid:
                is_plain = isinstance(value, str | int | float | None)
                shown = repr(value)[:80] if is_plain else f"a {type(value).__name__}"
                raise UserError(f"{path}: {name} must be {requirement}; it is {shown}")
            values[name] = kind(value)
    options = ArcticOptions(**values)
    # Their code creates the initial states of further layers for features as they come in, but
    # applies them to the output of the LSTM encoder.
    if options.n_layers_lstm > 1 and options.ctx_dim != options.feature_size:
        raise UserError(
            f"{path}: with lstm_encoder and n_layers_lstm of {options.n_layers_lstm}, ctx_dim must "
            f"be twice dim ({options.feature_size}); it is {options.ctx_dim}, and such a model "
            "can't be run by arctic-captions either"
        )
    return options


def _check_option(name: str, kind: type, value: Any) -> tuple[str, bool]:
    """Return what the value of an option must be, and whether it is."""
    if kind is bool:  # may have been given as 0 and 1
        return "True or False", type(value) in (bool, int) and value in (0, 1)
    if name == "attn_type":
        return " or ".join(map(repr, _MODES)), isinstance(value, str) and value in _MODES
    if kind is str:
        return "a text", isinstance(value, str)
    least, most = _LIMITS.get(name) or _LIMITS[kind]
    limits = f"{least} to {most}" if most < math.inf else f"{least} up"
    is_number = type(value) in (int, kind) and math.isfinite(value) and least <= value <= most
    return f"a {'whole ' * (kind is int)}number from {limits}", is_number


def _read_dictionary(path: PathLike, what: str, content: str) -> dict[Any, Any]:
    pickled = read_pickle(path, what)
    if not isinstance(pickled, dict):
        raise UserError(f"{path}: must hold {content}; it holds a {type(pickled).__name__}")
    return pickled


def _decode(value: Any) -> Any:
    """Return the text of bytes, which are texts of Python 2, and any other value as it is."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def read_vocabulary(path: PathLike, n_words: int) -> Vocabulary:
    """Read the words of the tokens 2, 3, … below `n_words` from a pickled dictionary word -> token.

    Words of other tokens are left out: 0 and 1 are end and unknown whatever the dictionary says,
    and words from `n_words` on are unknown to the model. Counts of words are not known: 0.

    Raises:
      UserError: the file can't be read, or what it holds is not such a dictionary.
    """
    tokens = _read_dictionary(path, "dictionary of arctic-captions", "tokens by word")
    for key, token in tokens.items():
        if type(token) is not int or token < 0:
            raise UserError(f"{path}: the token of {key!a:.80} must be a whole number, 0 or more")
    entries = [*SPECIAL]
    for key, token in sorted(tokens.items(), key=lambda item: item[1]):
        if FIRST_WORD <= token < n_words:
            expected = FIRST_WORD + len(entries) - len(SPECIAL)
            if token != expected:
                raise UserError(
                    f"{path}: the token of {key!a:.80} is {token}, not {expected}: words must have "
                    f"the tokens from {FIRST_WORD} on, each once and none left out"
                )
            try:
                entries.append(_decode(key))
            except UnicodeError:
                raise UserError(f"{path}: the word {key!a:.80} is not UTF-8") from None
    if len(entries) == len(SPECIAL):
        raise UserError(f"{path}: has no words: their tokens start at {FIRST_WORD}")
    try:
        return Vocabulary(entries, [0] * len(entries))
    except UserError as error:
        raise UserError(f"{path}: {error}: rename the word in the dictionary") from None


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
        why = getattr(error, "strerror", None) or f"damaged, or no archive of NumPy ({error})"
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
    member = archive.getinfo(f"{name}.npy")
    # Before it is read: a few bytes, compressed, may fill the memory.
    if member.file_size > _MOST_HEADER_BYTES + _MOST_FLOAT_BYTES * math.prod(shape):
        raise ValueError(f"{name} is too large for its shape by the options, {shape}")
    file = io.BytesIO(archive.read(member))
    with warnings.catch_warnings():
        # About headers written by Python 2, which are read all the same.
        warnings.simplefilter("ignore", UserWarning)
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.shape != shape:
        raise UserError(
            f"{path}: {name} must have the shape {shape} by the options; it has {array.shape}"
        )
    if array.dtype.kind != "f":
        raise UserError(f"{path}: {name} must hold floating-point numbers; it holds {array.dtype}")
    if file.read(1):
        raise ValueError(f"the size of {name} is not that of its shape")
    with np.errstate(over="ignore"):
        values = np.asarray(array, np.float32, order="C")
    if count := np.count_nonzero(~np.isfinite(values)):
        raise UserError(f"{path}: {name} has {count} values that are not finite in float32")
    return values
