"""File locks, which the operating system releases when the process that holds them ends for any reason."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_crosscoop.errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

LOCK_FILE = ".lock"  # in a locked folder; it stays there, because its removal would race with other processes

_log = logging.getLogger(__name__)


def lock(file: int, *, wait: bool) -> bool:
    """Locks an open file for this process until the file is closed.

    Windows and some file systems have no such locks. There, the function does nothing; for a file system it logs a
    warning.

    Args:
        file: The file descriptor.
        wait: Whether to wait for another process that holds the lock.

    Returns:
        Whether no other process holds the lock.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("This file system has no locks (%s). Let only one process write to it.", error.strerror)
    return True


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Locks an existing folder for this process, with the limits of `lock`.

    Args:
        folder: The folder.
        refusal: The error's text if another process holds the lock.

    Raises:
        InputError: Another process holds the lock, or the folder is gone or not writable.
    """
    try:
        # Network file systems lock only files that are open for writing.
        file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"The folder cannot be written ({error.strerror}). Received: {folder}") from error
    try:
        if not lock(file, wait=False):
            raise InputError(f"{refusal} Received: {folder}")
        yield
    finally:
        os.close(file)
