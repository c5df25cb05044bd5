"""Ctrl-C that lets the present step finish."""

import signal
from types import FrameType, TracebackType


class Interrupt:
    """Within it the first SIGINT or SIGTERM only sets `wanted`; a second one stops at once."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> "Interrupt":
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
