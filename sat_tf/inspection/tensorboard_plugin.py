"""TensorBoard's tab Attention: what `summaries.py` wrote, and the page that shows it.

TensorBoard finds it by the package's entry point and imports it at each start: nothing here may
bring TensorFlow.
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

from sat_tf.inspection import PLUGIN_NAME

# Of the documents that the page's script can draw, see `sat_tf.inspection.attention_record`.
_FORMAT_VERSION = 1

# All that is served from the disk, known before the first request: none of a request becomes part
# of a path.
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_STATIC = Path(__file__).parent / "static"
_FILES = [file for file in sorted(_STATIC.iterdir()) if file.suffix in _TYPES]
# More than any series has: the data provider is asked to leave none out.
_EVERY_STEP = 2**31 - 1


class _RefusedError(Exception):
    """A request that can't be served, with the HTTP status and a sentence for the page."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class AttentionPlugin(base_plugin.TBPlugin):
    """The tab's back end: own static files, and documents through TensorBoard's data provider.

    Routes, beneath `/data/plugin/sat_tf_attention`:
      /index.js, /viewer.js, /viewer.css, ...: the page, each file of `static` by its name.
      /tags: {run: [image]}, sorted.
      /steps?run=&tag=: [step], ascending, of one image.
      /inspection?run=&tag=&step=: the document, see `AttentionRecord.document`.

    Steps have their own route because to list them is to read the whole series: only TensorBoard's
    data provider knows what was written, and it lists series without their steps.

    What can't be served is a 4xx and {"error": "a sentence"}.
    """

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._provider = context.data_provider

    def get_plugin_apps(self) -> dict[str, Callable]:
        """The routes."""
        return {
            **{f"/{file.name}": _static_app(file) for file in _FILES},
            "/tags": _json_app(self._tags),
            "/steps": _json_app(self._steps),
            "/inspection": _json_app(self._inspection),
        }

    def is_active(self) -> bool:
        """Whether there is any attention to see."""
        return bool(
            self._provider.list_tensors(RequestContext(), experiment_id="", plugin_name=PLUGIN_NAME)
        )

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab."""
        return base_plugin.FrontendMetadata(es_module_path="/index.js", tab_name="Attention")

    def _tags(self, request: wrappers.Request) -> dict[str, list[str]]:
        runs = self._provider.list_tensors(**_asked(request))
        return {run: sorted(runs[run]) for run in sorted(runs)}

    def _steps(self, request: wrappers.Request) -> list[int]:
        return sorted(self._series(request))

    def _inspection(self, request: wrappers.Request) -> dict[str, Any]:
        step = _step(request)
        series = self._series(request)
        if step not in series:
            raise _RefusedError(404, f"Step {step} is not in this run (any more).")
        return _document(series[step])

    def _series(self, request: wrappers.Request) -> dict[int, Any]:
        """Step -> value, of one image in one run."""
        run, tag = _parameter(request, "run"), _parameter(request, "tag")
        runs = self._provider.read_tensors(
            **_asked(request),
            downsample=_EVERY_STEP,
            run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
        )
        data = runs.get(run, {}).get(tag, [])
        if not data:
            raise _RefusedError(404, f"There is no attention of image {tag!r} in run {run!r}.")
        # A resumed run may have written a step twice: the later one counts.
        return {datum.step: datum.numpy for datum in sorted(data, key=lambda d: d.wall_time)}


class AttentionLoader(base_plugin.TBLoader):
    """What the entry point names: the plugin, and the number of its samples that are kept.

    Of the data of plugins that it doesn't know, TensorBoard keeps few samples a tag, chosen at
    random (10 read in Python, 100 by the data server of TensorBoard 2.21), and nothing in a
    summary's metadata changes that: `--samples_per_plugin` alone does. A training step that the
    slider can't reach would be lost without a word, so all are kept, unless the person says
    otherwise by `--samples_per_plugin=sat_tf_attention=N`. An image takes about 30 kB a step.
    """

    def fix_flags(self, flags: argparse.Namespace) -> None:
        """Keeps all samples; 0 means that."""
        flags.samples_per_plugin.setdefault(PLUGIN_NAME, 0)

    def load(self, context: base_plugin.TBContext) -> AttentionPlugin:
        """The plugin."""
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
            content, status = answer(request), 200
        except _RefusedError as refusal:
            content, status = {"error": str(refusal)}, refusal.status
        except errors.PublicError as error:
            content, status = {"error": str(error)}, error.http_code
        return http_util.Respond(request, json.dumps(content), "application/json", code=status)

    return app


def _asked(request: wrappers.Request) -> dict[str, Any]:
    """What every question to the data provider says."""
    return {
        "ctx": plugin_util.context(request.environ),
        "experiment_id": plugin_util.experiment_id(request.environ),
        "plugin_name": PLUGIN_NAME,
    }


def _parameter(request: wrappers.Request, name: str) -> str:
    value = request.args.get(name)
    if value is None:
        raise _RefusedError(400, f"The request lacks its parameter {name!r}.")
    return value


def _step(request: wrappers.Request) -> int:
    text = _parameter(request, "step")
    try:
        return int(text)
    except ValueError:
        raise _RefusedError(400, f"A step is a whole number, not {text[:20]!r}.") from None


def _document(value: Any) -> dict[str, Any]:
    """The document in a string tensor; its parts are the page's to check."""
    text = value.item() if value.size == 1 else None
    if not isinstance(text, bytes | str):
        raise _RefusedError(422, "This step holds no document.")
    try:
        # Python writes NaN and infinities, which are not JSON: no browser reads them.
        document = json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, or nested without end
        raise _RefusedError(422, "This step's document is malformed.") from None
    if not isinstance(document, dict) or document.get("format_version") != _FORMAT_VERSION:
        raise _RefusedError(
            422, "This step's document is malformed, or of another version of sat_tf."
        )
    return document
