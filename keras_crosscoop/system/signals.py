"""Signals that end a work in order: the first one waits until all is saved, a later one does not."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

AT_ONCE = 1.0  # seconds: what sends a signal to a process and to its group, as `timeout` and systemd do, means one

_SIGHUP = getattr(signal, "SIGHUP", None)  # of a closed terminal; None on Windows
# Ctrl-C; what batch systems and clouds send before they kill.
ENDING = (signal.SIGINT, signal.SIGTERM, *([_SIGHUP] if _SIGHUP else []))


class Signals:
    """Those that came.

    Attributes:
        first: the number of the first one; None as long as there is none.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._since = 0.0

    def came(self, number: int) -> bool:
        """Notes a signal; whether it is a later one, which does not wait.

        A closed terminal is told several times, by the kernel and by shells, and nobody is impatient.
        """
        now = time.monotonic()
        if self.first is None:
            self.first, self._since = number, now
        return number != _SIGHUP and now - self._since > AT_ONCE


def handle_signals(handler: Callable[[int, Any], object]) -> dict[int, Any]:
    """Has the signals of `ENDING` call a function, and gives the former handlers, for `restore`.

    In a thread other than the main one, where Python handles no signals, it does nothing. A SIGHUP that is ignored, as
    by `nohup`, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    former = {number: signal.getsignal(number) for number in ENDING}
    if former.get(_SIGHUP) == signal.SIG_IGN:
        del former[_SIGHUP]
    for number in former:
        signal.signal(number, handler)
    return former


def restore(former: Mapping[int, Any]) -> None:
    """Gives signals back the handlers that `handle_signals` found."""
    for number, handler in former.items():
        if handler is not None:  # it was set by native code, which Python cannot set again
            signal.signal(number, handler)
