"""Progress bars with the time left, on terminals and in log files."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# Seconds between two updates. A terminal redraws the line; a log file grows by one each time.
_TERMINAL_SECONDS, _FILE_SECONDS = 0.5, 15.0
_DELAY = 1.0  # seconds; shorter work shows no bar


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a `tqdm` bar on standard error; `options` are those of tqdm."""
    seconds = _TERMINAL_SECONDS if sys.stderr.isatty() else _FILE_SECONDS
    return tqdm(iterable, mininterval=seconds, delay=_DELAY, dynamic_ncols=True, **options)
