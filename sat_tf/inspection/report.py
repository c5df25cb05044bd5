"""A report: one HTML file with a gallery of images, their captions and what each word looked at.

The file needs no network and may send nothing: a content security policy allows its own script,
its own styles and the images inside it, and nothing else.
"""

import base64
import hashlib
import html
import importlib.resources
import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any, TextIO

from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.storage import atomic_path

LOG_PROBABILITY = "log probability"

_SCRIPTS = ("attention.js", "stage.js", "viewer.js", "report.js")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z_]+\.js";\n', re.MULTILINE)
# What could end a block of JSON inside HTML, or a line inside JavaScript.
_UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}

_BEGINNING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="report-page">
<header class="report-top"><h1 data-role="headline">{title}</h1>
<p data-role="subtitle">{subtitle}</p></header>
<nav class="report-bar" aria-label="Search and order">
<input class="report-search" data-role="search" type="search" placeholder="Search the captions"
 aria-label="Search names, captions and references">
<div class="report-order" data-role="order" role="group" aria-label="Order"></div>
<p class="report-count" data-role="count" role="status"></p>
</nav>
<noscript><p class="report-top">This page needs JavaScript, all of it in this file.</p></noscript>
<main class="report-gallery" data-role="gallery"></main>
<dialog class="report-dialog" data-role="dialog" aria-labelledby="enlarged">
<header><h2 id="enlarged" data-role="title"></h2>
<div class="report-turns"><button data-role="previous" type="button">Previous</button>
<button data-role="next" type="button">Next</button>
<button data-role="close" type="button">Close</button></div></header>
<div data-role="large"></div>
</dialog>
"""


def write_report(
    path: str | os.PathLike[str],
    inspections: Iterable[AttentionRecord],
    title: str,
    subtitle: str = "",
    sort_by: str | None = None,
) -> None:
    """Writes a report, whole or not at all.

    Args:
      path: of the HTML file.
      inspections: read one by one, so that they need not all be in memory.
      title: heads the page.
      subtitle: a sentence below it.
      sort_by: a name in `scores`, or `LOG_PROBABILITY`: the images come in its order at first,
        the lowest at the top. None leaves them in theirs. The reader may choose any other.

    Raises:
      ValueError: no image has a score of that name.
    """
    style, script = read_static("viewer.css"), join_scripts(*_SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    summaries = []
    with (
        atomic_path(path) as temporary,
        # Half a character, as of odd file names, is written as the escape that JSON has for it.
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        words = {"title": html.escape(title), "subtitle": html.escape(subtitle)}
        file.write(_BEGINNING.format(policy=policy, style=style, **words))
        for inspection in inspections:
            document = inspection.document()
            summaries.append(_summary(document))
            _write_block(file, "document", document)
        if sort_by is not None and not any(sort_by in one["scores"] for one in summaries):
            raise ValueError(f"no image has a score named {sort_by!r}")
        _write_block(file, "summary", {"images": summaries, "sort_by": sort_by})
        file.write(f'<script type="module">{script}</script>\n</body>\n</html>\n')


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    """What searching and sorting need."""
    best = document["captions"][0]
    return {
        "image_id": document["image_id"],
        "caption": " ".join(word["word"] for word in best["words"]),
        "references": document["references"],
        "scores": {LOG_PROBABILITY: best["log_probability"], **document["scores"]},
    }


def _write_block(file: TextIO, role: str, value: dict[str, Any]) -> None:
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    block = text.translate(_UNSAFE)
    file.write(f'<script type="application/json" data-role="{role}">{block}</script>\n')


def _finite(value: Any) -> Any:
    """With null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_static(name: str) -> str:
    """A script or the styles of the viewer, by the name of its file."""
    file = importlib.resources.files("sat_tf.inspection").joinpath("static", name)
    return file.read_text(encoding="utf-8")


def join_scripts(*names: str) -> str:
    """Scripts made one, to stand inside a page; each may import from those before it alone."""
    return "\n".join(_IMPORT.sub("", read_static(name)) for name in names)


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
