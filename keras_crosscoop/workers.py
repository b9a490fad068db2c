"""Processes of this package's own: how one is started, how it replies, by lines of JSON, and how they take turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

try:
    import fcntl
except ModuleNotFoundError:  # on Windows
    fcntl = None


def started(program: str, errors: Path, environment: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen[str]:
    """A process that runs a program, as text, and imports what this one does; it is spoken with by stdin and stdout.

    Nothing that is typed, as Ctrl-C, reaches it.

    Args:
        program: what runs after `sys.path` is this process's.
        errors: a file for what it prints to stderr.
        environment: what it has besides this process's.
    """
    with errors.open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = sys.argv[1:]; {program}", *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
            env={**os.environ, **environment},
            start_new_session=True,
        )


def replier() -> Callable[..., None]:
    """Within such a process, what replies; all else that is printed from now on goes to stderr, native code's, too."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(**content: object) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    return reply


def lock(file: int, *, wait: bool) -> bool:
    """Has an open file for this process alone until it is closed or the process ends; not on Windows.

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
    return True
