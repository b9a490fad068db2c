"""Processes of this package's own: how one is started, and how it replies, by lines of JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType


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
