"""A terminal that is closed while a command runs: what it still prints goes nowhere, and ends nothing."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

STDERR_GONE = (errno.EIO, errno.EPIPE)


class Lasting:
    """A stream to a terminal; once that is gone, or the program that read it, the stream goes to the null device.

    Args:
        stream: a standard stream.
        gone: the numbers of errors that say so.
    """

    def __init__(self, stream: TextIO, gone: tuple[int, ...]) -> None:
        self._stream, self._gone = stream, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes, or drops it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flushes, or drops it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        if error.errno not in self._gone:
            raise error
        # The descriptor itself: native code writes to it, too, and Python flushes it when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within it, work goes on to its end, and saves, when its terminal is closed.

    Who closes a pipe from stdout has seen enough, which ends a command as usual.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = Lasting(sys.stdout, (errno.EIO,))
    sys.stderr = Lasting(sys.stderr, STDERR_GONE)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
