"""Random models in the layout of arctic-captions, and its three files as it leaves them.

The shapes are written after its `init_params`, apart from those of the package.
"""

import collections
import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

# Sizes that all differ, also 2 * dim of the recurrent encoder.
OPTIONS = {
    "dim_word": 4,
    "ctx_dim": 7,
    "dim": 6,
    "n_words": 11,
    "n_layers_att": 1,
    "n_layers_out": 1,
    "n_layers_lstm": 1,
    "n_layers_init": 1,
    "attn_type": "deterministic",
    "lstm_encoder": False,
    "prev2out": False,
    "ctx2out": False,
    "selector": False,
    "use_dropout": False,
    "use_dropout_lstm": False,
    "temperature": 1.0,
    "semi_sampling_p": 0.5,
    "alpha_c": 1.0,
    "alpha_entropy_c": 0.002,
    "RL_sumCost": True,
    "decay_c": 0.0,
    "optimizer": "adam",
    "lrate": 0.01,
    "patience": 10,
    "batch_size": 64,
    "valid_batch_size": 64,
    "maxlen": 100,
    "max_epochs": 5000,
    "dispFreq": 1,
    "validFreq": 2000,
    "saveFreq": 1000,
    "sampleFreq": 250,
    "saveto": "my_caption_model.npz",
    "dataset": "coco",
    "dictionary": None,
    "reload_": False,
    "save_per_epoch": False,
}
# Their published recipe, but for its sizes.
PUBLISHED = {
    "n_layers_att": 2,
    "n_layers_init": 2,
    "prev2out": True,
    "ctx2out": True,
    "selector": True,
    "use_dropout": True,
}
DEEP = {
    "n_layers_att": 3,
    "n_layers_out": 3,
    "n_layers_lstm": 2,
    "n_layers_init": 3,
    "attn_type": "stochastic",
    "temperature": 1.7,
    "prev2out": True,
    "ctx2out": True,
    "selector": True,
    "use_dropout": True,
    "use_dropout_lstm": True,
}
ENCODER = {"lstm_encoder": True, "ctx2out": True, "n_layers_init": 2}
DEEP_ENCODER = {**DEEP, "lstm_encoder": True, "ctx_dim": 12}  # stacked, it needs twice dim
VARIANTS = {
    "plain": {},
    "published": PUBLISHED,
    "deep": DEEP,
    "encoder": ENCODER,
    "deep encoder": DEEP_ENCODER,
}
WORDS = ("a", "dog", "runs", "café", "n't", "on", "grass", "the", "left")  # n_words - 2


def make_options(**changes: Any) -> dict[str, Any]:
    return {**OPTIONS, **changes}


def make_shapes(o: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, in the order in which the authors' code makes them."""
    shapes: dict[str, tuple[int, ...]] = {"Wemb": (o["n_words"], o["dim_word"])}
    size = o["ctx_dim"]

    def ff(prefix: str, inputs: int, outputs: int) -> None:
        shapes[prefix + "_W"] = (inputs, outputs)
        shapes[prefix + "_b"] = (outputs,)

    def lstm(prefix: str, inputs: int) -> None:
        shapes[prefix + "_W"] = (inputs, 4 * o["dim"])
        shapes[prefix + "_U"] = (o["dim"], 4 * o["dim"])
        shapes[prefix + "_b"] = (4 * o["dim"],)

    def decoder(prefix: str, inputs: int) -> None:
        lstm(prefix, inputs)
        shapes[prefix + "_Wc"] = (size, 4 * o["dim"])
        shapes[prefix + "_Wc_att"] = (size, size)
        shapes[prefix + "_Wd_att"] = (o["dim"], size)
        shapes[prefix + "_b_att"] = (size,)
        for number in range(1, o["n_layers_att"]):
            shapes[f"{prefix}_W_att_{number}"] = (size, size)
            shapes[f"{prefix}_b_att_{number}"] = (size,)
        shapes[prefix + "_U_att"] = (size, 1)
        shapes[prefix + "_c_tt"] = (1,)
        if o["selector"]:
            shapes[prefix + "_W_sel"] = (o["dim"], 1)
            shapes[prefix + "_b_sel"] = ()

    if o["lstm_encoder"]:
        lstm("encoder", o["ctx_dim"])
        lstm("encoder_rev", o["ctx_dim"])
        size = 2 * o["dim"]
    for number in range(1, o["n_layers_init"]):
        ff(f"ff_init_{number}", size, size)
    ff("ff_state", size, o["dim"])
    ff("ff_memory", size, o["dim"])
    decoder("decoder", o["dim_word"])
    for number in range(1, o["n_layers_lstm"]):
        ff(f"ff_state_{number}", o["ctx_dim"], o["dim"])
        ff(f"ff_memory_{number}", o["ctx_dim"], o["dim"])
        decoder(f"decoder_{number}", o["dim"])
    ff("ff_logit_lstm", o["dim"], o["dim_word"])
    if o["ctx2out"]:
        ff("ff_logit_ctx", size, o["dim_word"])
    for number in range(1, o["n_layers_out"]):
        ff(f"ff_logit_h{number}", o["dim_word"], o["dim_word"])
    ff("ff_logit", o["dim_word"], o["n_words"])
    return shapes


def make_weights(options: dict[str, Any], seed: int = 5) -> dict[str, np.ndarray]:
    """Random float32 weights, biases among them.

    They are large, and the seed is chosen, so that each has an effect through all layers: a test
    checks that it changes a probability by more than parity tests tolerate.
    """
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in make_shapes(options).items():
        deviation = 3.0 / np.sqrt(shape[0]) if len(shape) == 2 and name != "Wemb" else 0.5
        weights[name] = np.asarray(random.normal(0, deviation, shape), np.float32)
    return weights


def numpy_scalars(options: dict[str, Any]) -> collections.OrderedDict[str, Any]:
    """The options with numbers of NumPy in place of Python's."""
    types = {bool: np.bool_, int: np.int64, float: np.float32}
    return collections.OrderedDict(
        (key, types.get(type(value), lambda same: same)(value)) for key, value in options.items()
    )


class Python2Pickler(pickle._Pickler):
    """Writes texts and ordered dictionaries as Python 2 does, in protocol 0, 1 or 2."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_text(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        if not self.bin:
            self.write(b"S" + repr(data)[1:].encode("ascii") + b"\n")
        else:
            self.write(b"U" + bytes([len(data)]) + data)
        self.memoize(text)

    def save_ordered(self, items: collections.OrderedDict[Any, Any]) -> None:
        pairs = [[key, value] for key, value in items.items()]
        self.save_reduce(collections.OrderedDict, (pairs,), obj=items)

    dispatch[str] = dispatch[bytes] = save_text
    dispatch[collections.OrderedDict] = save_ordered


def python2_pickle(value: Any, protocol: int = 0) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol).dump(value)
    # The name of the package in NumPy 1.
    return buffer.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def make_dictionary(words: tuple[str, ...] = WORDS) -> collections.OrderedDict[str, int]:
    return collections.OrderedDict((word, token) for token, word in enumerate(words, start=2))


def write_npz(path: Path, weights: dict[str, np.ndarray]) -> None:
    """The last archive of a training; `zipped_params` is a pickle of all weights once more."""
    np.savez(
        path,
        zipped_params=np.array(collections.OrderedDict(weights), object),
        train_err=0,
        valid_err=np.ones((3, 1), np.float32),
        test_err=np.ones((3, 1), np.float32),
        history_errs=[[30.5, 31.0], [29.5, 30.25]],
        **weights,
    )


def write_model(
    folder: Path, options: dict[str, Any], protocol: int = 0, seed: int = 5
) -> dict[str, Path]:
    """Its files: npz, options and dictionary, by these names."""
    paths = {
        "npz": folder / "model.npz",
        "options": folder / "model.npz.pkl",
        "dictionary": folder / "dictionary.pkl",
    }
    write_npz(paths["npz"], make_weights(options, seed))
    paths["options"].write_bytes(python2_pickle(numpy_scalars(options), protocol))
    paths["dictionary"].write_bytes(python2_pickle(make_dictionary(), protocol))
    return paths
