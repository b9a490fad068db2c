"""Signals that end a program in order: after the first one, the work is saved; a later one ends the program at once."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

# Programs such as `timeout` signal a process and its group: signals within so many seconds count as one.
AT_ONCE = 1.0

_SIGHUP = getattr(signal, "SIGHUP", None)  # a closed terminal; Windows lacks it
# Ctrl-C, and the signal that batch systems and clouds send before they kill a process.
ENDING = (signal.SIGINT, signal.SIGTERM, *([_SIGHUP] if _SIGHUP else []))


class Signals:
    """Remembers the signals that this process received.

    Attributes:
        first: the number of the first one; None before it.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._first_time = 0.0

    def received(self, number: int) -> bool:
        """Notes a signal, and returns whether it should end the program at once, as a later one does.

        SIGHUP never does: the kernel and shells send several when one terminal is closed.
        """
        now = time.monotonic()
        if self.first is None:
            self.first, self._first_time = number, now
        return number != _SIGHUP and now - self._first_time > AT_ONCE


def handle_signals(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Sets the handler of the signals in `ENDING`, and returns the earlier handlers, for `restore`.

    It does nothing outside the main thread, where Python handles no signals. A SIGHUP that is ignored, as under
    `nohup`, stays ignored.
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
        if handler is not None:  # native code set that one; Python cannot set it again
            signal.signal(number, handler)
