"""Locks on files and folders, which end with the process that holds them, however it ends."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_crosscoop.errors import InputError

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None

NAME = ".lock"  # of the file that is locked in the place of a folder

_log = logging.getLogger(__name__)


def lock(file: int, *, wait: bool) -> bool:
    """Has an open file for this process alone until it is closed or the process ends.

    On Windows, and on a file system without locks, nobody is kept off it; the latter is said in the log.

    Args:
        file: its descriptor.
        wait: for a process that has it.

    Returns:
        Whether it has it.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        _log.warning("This file system has no locks (%s): let one process at a time write there.", error.strerror)
    return True


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Within it, no other process has the folder locked, as far as `lock` can.

    Args:
        folder: it exists.
        refusal: subject, constraint and remedy of the error.

    Raises:
        InputError: another process holds the lock; or the folder is gone, or cannot be written.
    """
    path = folder / NAME
    try:
        file = _locked_file(path)
    except OSError as error:
        raise InputError(f"The folder cannot be written ({error.strerror}). Received: {folder}") from error
    if file is None:
        raise InputError(f"{refusal} Received: {folder}")
    try:
        yield
    finally:
        with suppress(OSError):  # the folder is gone; on Windows the file is still open
            if _is_at(file, path):
                path.unlink()
        os.close(file)


def _locked_file(path: Path) -> int | None:
    """The descriptor of the file that lies there, locked; None where another process has it."""
    while True:
        # For writing: network file systems lock no others for one process alone.
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        has = lock(file, wait=False)
        if has and _is_at(file, path):
            return file
        os.close(file)
        if not has:
            return None
        # Who had it removed it between the two: there is another one now, or none.


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at that path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
