"""An HTML report: a gallery of images, their captions and the attention of each word.

The report is one file that needs no network: its content security policy allows its own script,
its own styles and the images inside it, and nothing else.
"""

import base64
import hashlib
import html
import json
import os
import re
import string
from collections.abc import Iterable
from typing import Any, TextIO

from sat_tf.inspection import STATIC
from sat_tf.inspection.attention_record import AttentionRecord
from sat_tf.storage import atomic_path

LOG_PROBABILITY = "log probability"

_SCRIPTS = ("attention.js", "stage.js", "viewer.js", "report.js")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z_]+\.js";\n', re.MULTILINE)
# Characters that could end a block of JSON inside HTML, or a line inside JavaScript.
_UNSAFE = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def write_report(
    path: str | os.PathLike[str],
    records: Iterable[AttentionRecord],
    title: str,
    subtitle: str = "",
    sort_by: str | None = None,
) -> None:
    """Write a report atomically, with a heading and a sentence below it.

    Records are read one by one, so that they need not all be in memory. Images are first sorted by
    the score `sort_by`, or `LOG_PROBABILITY`, the lowest first; None keeps their order. The reader
    can choose any other.

    Raises:
      ValueError: no image has a score of that name.
    """
    style, script = read_static("viewer.css"), join_scripts(*_SCRIPTS)
    beginning = string.Template(read_static("report.html")).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=style,
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
    )
    summaries = []
    with (
        atomic_path(path) as temporary,
        # Unpaired surrogates, as of undecodable file names, are written as JSON's escapes.
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(beginning)
        for record in records:
            document = record.document()
            summaries.append(_summary(document))
            _write_block(file, "document", document)
        if sort_by is not None and not any(sort_by in one["scores"] for one in summaries):
            raise ValueError(f"no image has a score named {sort_by!r}")
        _write_block(file, "summary", {"images": summaries, "sort_by": sort_by})
        file.write(f'<script type="module">{script}</script>\n</body>\n</html>\n')


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a document that is searched and sorted."""
    best = document["captions"][0]
    return {
        "image_id": document["image_id"],
        "caption": " ".join(word["word"] for word in best["words"]),
        "references": document["references"],
        "scores": {LOG_PROBABILITY: best["log_probability"], **document["scores"]},
    }


def _write_block(file: TextIO, role: str, value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    block = text.translate(_UNSAFE)
    file.write(f'<script type="application/json" data-role="{role}">{block}</script>\n')


def read_static(name: str) -> str:
    """Return the text of a file in `static`."""
    return (STATIC / name).read_text(encoding="utf-8")


def join_scripts(*names: str) -> str:
    """Concatenate scripts for use inside a page; each may import only from those before it."""
    return "\n".join(_IMPORT.sub("", read_static(name)) for name in names)


def _hash(text: str) -> str:
    """Return the source by which a content security policy allows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
