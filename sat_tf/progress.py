"""Progress bars with the time left on terminals, lines with the same in log files."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from tqdm import tqdm

# Seconds between two updates. A terminal redraws the line; a log file grows by one each time.
_TERMINAL_SECONDS, _FILE_SECONDS = 0.5, 15.0
_DELAY = 1.0  # seconds; shorter work shows no bar
_LINE = "{l_bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a `tqdm` bar on standard error; `options` are those of tqdm.

    If standard error is no terminal, each update is a line of its own. Above a bar that is not
    shown yet `tqdm.write` leaves half a line: with `delay=0` it is shown from the start.
    """
    if sys.stderr.isatty():
        shown: dict[str, Any] = {"mininterval": _TERMINAL_SECONDS, "dynamic_ncols": True}
    else:
        # At position 0 even below another bar: there is no cursor to move.
        shown = {"file": _Lines(sys.stderr), "bar_format": _LINE, "position": 0}
        shown |= {"mininterval": _FILE_SECONDS, "maxinterval": _FILE_SECONDS}
    return tqdm(iterable, **{"delay": _DELAY, **shown, **options})


class _Lines:
    """A file for a `tqdm` bar that writes what would be redrawn as lines.

    Args:
      stream: receives the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        """Write a state of the bar, unless it is empty or was written before."""
        text = text.strip()
        if text and text != self._last:
            self._last = text
            self._stream.write(f"{text}\n")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """Show on standard error what takes seconds: on a terminal until it ends, in a file as a line.

    The body shows no bar.
    """
    line, stream = f"{what} ...", sys.stderr
    on_terminal = stream.isatty()
    print(line, end="" if on_terminal else "\n", file=stream, flush=True)
    try:
        yield
    finally:
        if on_terminal:
            print(f"\r{' ' * len(line)}\r", end="", file=stream, flush=True)
