"""Signals that end a work in order: the first one waits until all is saved, a later one does not."""

import time

AT_ONCE = 1.0  # seconds: what sends a signal to a process and to its group, as `timeout` and systemd do, means one


class Signals:
    """Those that came.

    Attributes:
        first: the number of the first one; None as long as there is none.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._since = 0.0

    def came(self, number: int) -> bool:
        """Notes a signal; whether it is a later one, which does not wait."""
        now = time.monotonic()
        if self.first is None:
            self.first, self._since = number, now
        return now - self._since > AT_ONCE
