"""Keeps a command running when its terminal is closed: further output is discarded."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

STDERR_GONE = (errno.EIO, errno.EPIPE)


class SurvivingStream:
    """Wraps a standard stream; once its reader is gone, further output goes to the null device.

    Args:
        stream: The standard stream.
        gone: Error numbers that mean that the reader is gone.
    """

    def __init__(self, stream: TextIO, gone: tuple[int, ...]) -> None:
        self._stream, self._gone = stream, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes the text, or discards it."""
        with self._surviving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flushes, or discards."""
        with self._surviving():
            self._stream.flush()

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in self._gone:
                raise
            # Redirects the descriptor: native code writes to it as well, and Python flushes it at exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def survive_closed_terminal() -> Iterator[None]:
    """Lets work inside the block finish and save when its terminal is closed.

    Closing a pipe that reads stdout still ends the command, as usual.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = SurvivingStream(sys.stdout, (errno.EIO,))
    sys.stderr = SurvivingStream(sys.stderr, STDERR_GONE)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
