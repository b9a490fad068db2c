"""Signals that end a program: after the first signal, the program saves its work; a later one ends it at once."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

# Programs such as `timeout` signal a process and its group: signals within this many seconds count as one.
AT_ONCE = 1.0

_SIGHUP = getattr(signal, "SIGHUP", None)  # a closed terminal; Windows lacks it
# Ctrl-C, and the signal that batch systems and clouds send before they kill a process.
ENDING = (signal.SIGINT, signal.SIGTERM, *([_SIGHUP] if _SIGHUP else []))


class Signals:
    """Remembers the signals that this process received.

    Attributes:
        first: The number of the first signal; None before it.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._first_time = 0.0

    def received(self, number: int) -> bool:
        """Records a signal, and returns whether it should end the program at once: a later one should.

        SIGHUP never should, because the kernel and shells send several when a terminal is closed.
        """
        now = time.monotonic()
        if self.first is None:
            self.first, self._first_time = number, now
        return number != _SIGHUP and now - self._first_time > AT_ONCE


def handle_signals(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Sets the handler of the signals in `ENDING`, and returns the earlier handlers, for `restore`.

    Outside the main thread, where Python cannot set handlers, it does nothing. If SIGHUP is ignored, as under `nohup`,
    it stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    earlier = {number: signal.getsignal(number) for number in ENDING}
    if earlier.get(_SIGHUP) == signal.SIG_IGN:
        del earlier[_SIGHUP]
    for number in earlier:
        signal.signal(number, handler)
    return earlier


def restore(handlers: Mapping[int, Any]) -> None:
    """Sets the handlers that `handle_signals` returned."""
    for number, handler in handlers.items():
        if handler is not None:  # None: a handler of native code, which Python cannot set again
            signal.signal(number, handler)
