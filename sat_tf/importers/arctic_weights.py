"""The weights of a model of arctic-captions: which there are, their shapes, and their archive."""

import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO

import numpy as np

from sat_tf.errors import UserError
from sat_tf.importers.arctic_options import ArcticOptions

Shape = tuple[int, ...]

# What lies in the archive besides weights: the last of them is a pickle of all weights.
NO_WEIGHTS = {"history_errs", "train_err", "valid_err", "test_err", "zipped_params"}
MOST_NAMES = 8  # shown at a time; the rest is counted
# What reading a damaged archive, or one that is encrypted or compressed in another way, raises.
_DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def expected_shapes(options: ArcticOptions) -> dict[str, Shape]:
    """The weights that a model with these options has, with their shapes.

    Kernels are [in, out], for values in rows. Gates lie side by side in the order i, f, o, g.
    """
    # SPEC's letters: D is the annotation as the decoder reads it, and A = D.
    v, e, h, d = options.n_words, options.dim_word, options.dim, options.annotation_size
    shapes: dict[str, Shape] = {"Wemb": (v, e)}
    if options.lstm_encoder:
        for name in ("encoder", "encoder_rev"):
            shapes |= _lstm(name, options.ctx_dim, h)
    for layer in range(1, options.n_layers_init):
        shapes |= _dense(f"ff_init_{layer}", d, d)
    for layer in range(options.n_layers_lstm):
        suffix = f"_{layer}" if layer else ""
        for state in ("ff_state", "ff_memory"):
            # Their code says ctx_dim for further layers; `read_options` sees that it is D there.
            shapes |= _dense(f"{state}{suffix}", d, h)
        shapes |= _decoder(f"decoder{suffix}", options, h if layer else e)
    shapes |= _dense("ff_logit_lstm", h, e)
    if options.ctx2out:
        shapes |= _dense("ff_logit_ctx", d, e)
    for layer in range(1, options.n_layers_out):
        shapes |= _dense(f"ff_logit_h{layer}", e, e)
    return shapes | _dense("ff_logit", e, v)


def _dense(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}_W": (inputs, outputs), f"{name}_b": (outputs,)}


def _lstm(name: str, inputs: int, h: int) -> dict[str, Shape]:
    return {f"{name}_W": (inputs, 4 * h), f"{name}_U": (h, 4 * h), f"{name}_b": (4 * h,)}


def _decoder(name: str, options: ArcticOptions, inputs: int) -> dict[str, Shape]:
    h, d = options.dim, options.annotation_size
    shapes = _lstm(name, inputs, h) | {
        f"{name}_Wc": (d, 4 * h),
        f"{name}_Wc_att": (d, d),
        f"{name}_Wd_att": (h, d),
        f"{name}_b_att": (d,),
        f"{name}_U_att": (d, 1),
        f"{name}_c_tt": (1,),
    }
    for layer in range(1, options.n_layers_att):
        shapes |= {f"{name}_W_att_{layer}": (d, d), f"{name}_b_att_{layer}": (d,)}
    if options.selector:
        shapes |= {f"{name}_W_sel": (h, 1), f"{name}_b_sel": ()}
    return shapes


def read_weights(
    path: str | os.PathLike[str], shapes: Mapping[str, Shape]
) -> dict[str, np.ndarray]:
    """Reads these weights, and nothing else, from an archive of NumPy: float32, in C order.

    Raises:
      UserError: the archive can't be read, lacks weights or has others, or a weight has another
        shape, another type, or values that are not finite in float32.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(path, {name.removesuffix(".npy") for name in archive.namelist()}, shapes)
            return {name: _read(path, archive, name, shape) for name, shape in shapes.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (weights of arctic-captions)") from None
    except _DAMAGE as error:
        raise UserError(
            f"{path}: can't be read as weights of arctic-captions (.npz): {error}"
        ) from None


def _check_names(
    path: str | os.PathLike[str], found: set[str], shapes: Mapping[str, Shape]
) -> None:
    problems = []
    if missing := [name for name in shapes if name not in found]:
        problems.append(f"lacks {_listed(missing)}")
    if others := sorted(found - shapes.keys() - NO_WEIGHTS):
        problems.append(f"has {_listed(others)}, which a model with these options has not")
    if problems:
        raise UserError(
            f"{path}: {' and '.join(problems)}; name the options that were saved with it"
        )


def _listed(names: list[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _read(
    path: str | os.PathLike[str], archive: zipfile.ZipFile, name: str, shape: Shape
) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        found, in_columns, dtype = _header(member)
        # Before its values are read: what the header claims may fill the memory.
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
    if not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise UserError(f"{path}: {name} has {count} values that are not finite in float32")
    return values.reshape(shape, order="F" if in_columns else "C").copy(order="C")


def _header(member: IO[bytes]) -> tuple[Shape, bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"an array in version {version} of NumPy's format")
    with warnings.catch_warnings():
        # Of a header that Python 2 wrote, with its long integers: it is read all the same.
        warnings.simplefilter("ignore", UserWarning)
        return _HEADERS[version](member)
