"""Text files, whatever editor or spreadsheet wrote them."""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sat_tf.errors import UserError, in_current_folder, printable

# Read ahead to find the encoding and the line ends.
_HEAD = 1 << 16
# What `open_text` makes of bytes that are not text.
NOT_TEXT = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading.

    Its text is UTF-8, or UTF-16 or UTF-32 by its byte order mark or its first characters; a mark
    is dropped. Lines end in LF or CRLF, or in CR if the beginning of the file has no LF. Bytes
    that are no UTF-8 become lone surrogates, for the reader to report (`NOT_TEXT`).

    Raises:
      UserError: the file can't be read, or is damaged UTF-16 or UTF-32; names it.
    """
    try:
        with io.BufferedReader(io.FileIO(path), _HEAD) as file:
            head = file.peek(_HEAD)
            encoding = json.detect_encoding(head)
            is_utf8 = encoding.startswith("utf-8")
            text = head.decode(encoding, "replace")
            yield io.TextIOWrapper(
                file,
                "utf-8-sig" if is_utf8 else encoding,
                "surrogateescape" if is_utf8 else "surrogatepass",
                newline="\n" if "\n" in text else None,
            )
    except OSError as error:
        where = in_current_folder(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(printable(f"{path}: can't be read: {error.strerror}{where}")) from None
    except UnicodeDecodeError:
        raise UserError(
            f"{printable(path)}: begins as {encoding.upper()} text and is not: save it as UTF-8"
        ) from None
