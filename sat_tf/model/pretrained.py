"""Keras Applications by name, and weights from the network or from a file."""

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

# A host that answers at all does so well within this; one that is cut off must not hold the user.
_ANSWER_SECONDS = 6.0
_ADDRESS_SECONDS = 2.0
# A download under way may pause this long.
_STALL_SECONDS = 20.0


def normalized_name(name: str) -> str:
    """`name` as it is compared: lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def applications() -> dict[str, Callable[..., keras.Model]]:
    """Keras's own networks by normalised name, such as `resnet50v2`."""
    return {
        normalized_name(name): value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }


def suggestions(name: str, allowed: Iterable[str]) -> str:
    """Words for the user: the names close to `name`, then all that are allowed."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"


def reason(error: Exception) -> str:
    """The first line of what `error` says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class _ImpatientDownloads(urllib.request.BaseHandler):
    """Notes what is asked for, and gives up within seconds on a host that does not answer."""

    def __init__(self) -> None:
        self.url = ""

    def https_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Called by urllib before it opens `request`."""
        self.url = request.full_url
        request.timeout = _STALL_SECONDS
        # Through a proxy this machine need not reach the host itself.
        if "https" not in urllib.request.getproxies():
            _check_host_answers(request.host)
        return request


def _check_host_answers(host: str) -> None:
    """Raises `URLError` unless `host` accepts a connection in time.

    urllib's timeout holds for each of a host's addresses and not for looking them up, which adds
    up to minutes; hence the thread, which is left behind.
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
    """Turns a download that fails inside the block into a `UserError`, within seconds.

    Args:
      flag: the flag that takes the file instead, such as `--encoder_weights`.
    """
    watch = _ImpatientDownloads()
    urllib.request.install_opener(urllib.request.build_opener(watch))
    try:
        yield
    except Exception as error:
        # Whatever fails after a request, hash check included, is the download's failure.
        if not watch.url:
            raise
        name = watch.url.rsplit("/", 1)[-1]
        # Keras's own words repeat the address before this.
        why = reason(error).rsplit(" -- ", 1)[-1]
        raise UserError(
            f"{flag}=imagenet: can't fetch {name} ({why}); fetch {watch.url} where there is a "
            f"network and give the file: {flag}=PATH/{name}"
        ) from None
    finally:
        urllib.request.install_opener(urllib.request.build_opener())


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Loads a weights file into `model`.

    Takes Keras 3's `.weights.h5` and `.keras`, and the older `.h5` of Keras Applications, with
    or without their top.

    Raises:
      UserError: no such file, damaged, or not of this network.
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
    # What Keras and h5py raise on a damaged file ranges over half the built-in exceptions.
    except Exception as error:
        raise UserError(
            f"--encoder_weights={path}: not a whole weights file of this encoder "
            f"({reason(error)}); "
            "check --encoder, or fetch the file again"
        ) from None


def _starts_with_layers_of(model: keras.Model, path: Path) -> bool:
    """Whether the file's first layers are the model's; a top may follow.

    Asking for the beginning, not just for every name, keeps VGG19's file out of VGG16.
    """
    wanted = [layer.name for layer in model.layers if layer.weights]
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        names = np.asarray(group.attrs["layer_names"]).astype(str).tolist()  # or bytes
        found = [name for name in names if len(group[name].attrs["weight_names"])]
    return found[: len(wanted)] == wanted
