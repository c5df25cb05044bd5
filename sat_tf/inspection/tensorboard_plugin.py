"""Back end of TensorBoard's tab Attention: serves the page and what `summaries.py` wrote.

TensorBoard imports this module at every start, by the package's entry point: it must not import
TensorFlow.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard import errors, plugin_util
from tensorboard.backend import http_util
from tensorboard.context import RequestContext
from tensorboard.data import provider
from tensorboard.plugins import base_plugin
from werkzeug import wrappers
from werkzeug.exceptions import BadRequest, HTTPException, NotFound, UnprocessableEntity

from sat_tf.inspection import FORMAT_VERSION, PLUGIN_NAME, STATIC
from sat_tf.storage import finite_or_none

# The only files that are served, listed before the first request: no part of a request becomes part
# of a path.
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_FILES = [file for file in sorted(STATIC.iterdir()) if file.suffix in _TYPES]
PAGE = 100  # images that are listed at a time
# More steps than any series has: the data provider is asked for all of them.
_EVERY_STEP = 2**31 - 1
_MALFORMED = "This step's document is malformed."


class AttentionPlugin(base_plugin.TBPlugin):
    """Serves the static files, and documents through TensorBoard's data provider.

    Routes, beneath `/data/plugin/sat_tf_attention`:
      /index.js, /viewer.js, /viewer.css, ...: each file of `static` by its name.
      /runs: [run], sorted.
      /images?run=&search=&image=&start=: {"images": [image], "start": int, "count": int}, the page
        of up to `PAGE` images, sorted, that holds an image, or the one with the index `start` of
        the `count` images whose names contain what is searched for. All but `run` may be absent.
      /steps?run=&tag=: [step], ascending, of one image.
      /record?run=&tag=&step=: the document, see `AttentionRecord.document`.

    Steps have their own route because the data provider lists series without their steps: to list
    these, the whole series is read.

    Errors are a 4xx with {"error": "a sentence"}.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._provider = context.data_provider

    def get_plugin_apps(self) -> dict[str, Callable]:
        """Return the application of each route."""
        return {
            **{f"/{file.name}": _static_app(file) for file in _FILES},
            "/runs": _json_app(lambda request: sorted(self._list(request))),
            "/images": _json_app(self._images),
            "/steps": _json_app(lambda request: sorted(self._series(request))),
            "/record": _json_app(self._record),
        }

    def is_active(self) -> bool:
        """Return whether any run has attention."""
        return bool(
            self._provider.list_tensors(RequestContext(), experiment_id="", plugin_name=PLUGIN_NAME)
        )

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """Return the tab's name and script."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Attention")

    def _list(self, request: wrappers.Request, *runs: str) -> dict[str, Any]:
        """Return the images of these runs, or of all, by run."""
        wanted = provider.RunTagFilter(runs=runs or None)
        return dict(self._provider.list_tensors(**_query(request), run_tag_filter=wanted))

    def _images(self, request: wrappers.Request) -> dict[str, Any]:
        run, search = _parameter(request, "run"), request.args.get("search", "").lower()
        runs = self._list(request, run)
        if run not in runs:
            raise NotFound(f"There is no attention in run {run!r}.")
        names = sorted(name for name in runs[run] if search in name.lower())
        image = request.args.get("image")
        at = names.index(image) if image in names else _whole_number(request, "start", "0")
        start = max(at, 0) // PAGE * PAGE
        return {"images": names[start : start + PAGE], "start": start, "count": len(names)}

    def _record(self, request: wrappers.Request) -> dict[str, Any]:
        step = _whole_number(request, "step")
        series = self._series(request)
        if step not in series:
            raise NotFound(f"Step {step} is not in this run.")
        return _parse_document(series[step])

    def _series(self, request: wrappers.Request) -> dict[int, Any]:
        """Return the value of each step, of one image in one run."""
        run, tag = _parameter(request, "run"), _parameter(request, "tag")
        wanted = provider.RunTagFilter(runs=[run], tags=[tag])
        try:
            runs = self._provider.read_tensors(
                **_query(request), downsample=_EVERY_STEP, run_tag_filter=wanted
            )
        # A tensor whose values are not of its shape or type: TensorBoard converts all of them.
        except (ValueError, TypeError, OverflowError, MemoryError):
            raise UnprocessableEntity("The log of this image is malformed.") from None
        data = runs.get(run, {}).get(tag, [])
        if not data:
            raise NotFound(f"There is no attention of image {tag!r} in run {run!r}.")
        # A resumed run may have written a step twice: the later one counts.
        return {datum.step: datum.numpy for datum in sorted(data, key=lambda d: d.wall_time)}


class AttentionLoader(base_plugin.TBLoader):
    """Entry point: loads the plugin, and makes TensorBoard keep all of its samples.

    Of plugins that it does not know, TensorBoard keeps a few samples a tag, chosen at random (10 if
    read in Python, 100 by the data server of TensorBoard 2.21); only `--samples_per_plugin` changes
    that. Most training steps could not be selected, so all are kept, unless the user sets
    `--samples_per_plugin=sat_tf_attention=N`. An image takes about 30 kB a step.
    """

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Keep all samples, which is what 0 means."""
        flags.samples_per_plugin.setdefault(PLUGIN_NAME, 0)

    def load(self, context: base_plugin.TBContext) -> AttentionPlugin:
        """Return the plugin."""
        return AttentionPlugin(context)


def _static_app(file: Path) -> Callable:
    @wrappers.Request.application
    def app(request: wrappers.Request) -> wrappers.Response:
        return http_util.Respond(request, file.read_bytes(), _TYPES[file.suffix])

    return app


def _json_app(answer: Callable[[wrappers.Request], Any]) -> Callable:
    @wrappers.Request.application
    def app(request: wrappers.Request) -> wrappers.Response:
        try:
            # Encoded here: what can be read may still be nested too deeply to be written.
            content, status = json.dumps(answer(request)), 200
        except HTTPException as error:
            content, status = json.dumps({"error": error.description}), error.code or 500
        except errors.PublicError as error:
            content, status = json.dumps({"error": str(error)}), error.http_code
        except RecursionError:
            content, status = json.dumps({"error": _MALFORMED}), UnprocessableEntity.code
        return http_util.Respond(request, content, "application/json", code=status)

    return app


def _query(request: wrappers.Request) -> dict[str, Any]:
    """Return the arguments of every call of the data provider."""
    return {
        "ctx": plugin_util.context(request.environ),
        "experiment_id": plugin_util.experiment_id(request.environ),
        "plugin_name": PLUGIN_NAME,
    }


def _parameter(request: wrappers.Request, name: str, default: str | None = None) -> str:
    value = request.args.get(name, default)
    if value is None:
        raise BadRequest(f"The request lacks its parameter {name!r}.")
    return value


def _whole_number(request: wrappers.Request, name: str, default: str | None = None) -> int:
    text = _parameter(request, name, default)
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"A {name} is a whole number, not {text[:20]!r}.") from None


def _parse_document(value: Any) -> dict[str, Any]:
    """Return the document in a string tensor; the page validates its parts."""
    text = value.item() if value.size == 1 else None
    if not isinstance(text, bytes | str):
        raise UnprocessableEntity("This step holds no document.")
    try:
        # Python reads numbers that browsers reject.
        document = json.loads(
            text, parse_constant=finite_or_none, parse_float=finite_or_none, parse_int=_finite_int
        )
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested too deeply
        raise UnprocessableEntity(_MALFORMED) from None
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        raise UnprocessableEntity(
            "This step's document is malformed, or of another version of sat_tf."
        )
    return document


def _finite_int(text: str) -> int | None:
    return None if finite_or_none(text) is None else int(text)
