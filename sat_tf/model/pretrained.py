"""Keras Applications by name, and pretrained weights from a download or a file."""

import contextlib
import difflib
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from sat_tf.errors import UserError

# Limits of a connection to a host, of one to each of its addresses, and of a stalled download:
# a machine without network must not keep the user waiting.
_ANSWER_SECONDS, _ADDRESS_SECONDS, _STALL_SECONDS = 6.0, 2.0, 20.0


def normalized_name(name: str) -> str:
    """Return `name` in lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def applications() -> dict[str, Callable[..., keras.Model]]:
    """Return the networks of Keras Applications by normalised name, such as `resnet50v2`."""
    return {
        normalized_name(name): value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }


def suggestions(name: str, allowed: Iterable[str]) -> str:
    """Return text that suggests the names close to `name`, then all allowed ones."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def reason(error: Exception) -> str:
    """Return the first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class _DownloadTimeouts(urllib.request.BaseHandler):
    """Records the URL requested, and fails within seconds if the host does not answer."""

    def __init__(self) -> None:
        self.url = ""

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Check the host; urllib calls this before it opens `request`."""
        self.url = request.full_url
        request.timeout = _STALL_SECONDS
        # With a proxy, this machine need not reach the host.
        if "https" not in urllib.request.getproxies():
            _check_host_answers(request.host)
        return request


def _check_host_answers(host: str) -> None:
    """Raise `URLError` unless `host` accepts a connection in time.

    The timeout of urllib applies to each address of a host, and not to name resolution, which adds
    up to minutes; hence the thread, which may outlive this call.
    """
    failures: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((host, 443), timeout=_ADDRESS_SECONDS).close()
        except OSError as error:
            failures.append(str(error))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    if thread.is_alive():
        raise urllib.error.URLError(f"no answer from {host} within {_ANSWER_SECONDS:.0f} s")
    if failures:
        raise urllib.error.URLError(failures[0])


@contextlib.contextmanager
def downloads_or_user_error(flag: str) -> Iterator[None]:
    """Turn a download that fails inside the block into a `UserError`, within seconds.

    Args:
      flag: the flag that takes the file instead, such as `--encoder_weights`.
    """
    timeouts = _DownloadTimeouts()
    urllib.request.install_opener(urllib.request.build_opener(timeouts))
    try:
        yield
    except Exception as error:
        # Anything that fails after a request, the hash check included, is a failed download.
        if not timeouts.url:
            raise
        name = timeouts.url.rsplit("/", 1)[-1]
        # Keras's message repeats the URL before this.
        why = reason(error).rsplit(" -- ", 1)[-1]
        raise UserError(
            f"{flag}=imagenet: can't fetch {name} ({why}); fetch {timeouts.url} where there is a "
            f"network and give the file: {flag}=PATH/{name}"
        ) from None
    finally:
        urllib.request.install_opener(urllib.request.build_opener())


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Load a weights file into `model`.

    Reads Keras 3's `.weights.h5` and `.keras`, and the older `.h5` of Keras Applications, with or
    without their top.

    Raises:
      UserError: no such file, damaged, or weights of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"--encoder_weights={path}: no such file")
    older_format = path.suffix == ".h5" and not path.name.endswith(".weights.h5")
    try:
        if older_format and _starts_with_layers_of(model, path):
            model.load_weights(path, by_name=True)
        else:
            model.load_weights(path)
    # Keras and h5py raise many kinds of exceptions for a damaged file.
    except Exception as error:
        raise UserError(
            f"--encoder_weights={path}: not a whole weights file of this encoder "
            f"({reason(error)}); "
            "check --encoder, or fetch the file again"
        ) from None


def _starts_with_layers_of(model: keras.Model, path: Path) -> bool:
    """Return whether the file's first layers are the model's; a top may follow.

    Comparing the order, not just the set of names, rejects VGG19's file for VGG16.
    """
    wanted = [layer.name for layer in model.layers if layer.weights]
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        names = np.asarray(group.attrs["layer_names"]).astype(str).tolist()  # or bytes
        found = [name for name in names if len(group[name].attrs["weight_names"])]
    return found[: len(wanted)] == wanted
