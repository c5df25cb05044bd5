"""Progress bars with the time left, on terminals and in log files."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

# Seconds between two updates. A terminal redraws the line; a log file grows by one each time.
_TERMINAL_SECONDS, _FILE_SECONDS = 0.5, 15.0
_DELAY = 1.0  # seconds; shorter work shows no bar


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return a `tqdm` bar on standard error; `options` are those of tqdm.

    Above a bar that is not shown yet `tqdm.write` leaves half a line: with `delay=0` it is shown
    from the start.
    """
    seconds = _TERMINAL_SECONDS if sys.stderr.isatty() else _FILE_SECONDS
    options = {"mininterval": seconds, "delay": _DELAY, "dynamic_ncols": True, **options}
    return tqdm(iterable, **options)


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """Show on standard error what takes seconds: on a terminal until it ends, in a file as a line.

    Args:
      what: is done in the body, which shows no bar.
    """
    line, stream = f"{what} ...", sys.stderr
    on_terminal = stream.isatty()
    print(line, end="" if on_terminal else "\n", file=stream, flush=True)
    try:
        yield
    finally:
        if on_terminal:
            print(f"\r{' ' * len(line)}\r", end="", file=stream, flush=True)
