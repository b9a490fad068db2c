"""Processes of this package's own: how one is started, and how it replies, by lines of JSON."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any

import pydantic

# What native code prints to stderr that is no error: the log of TensorFlow, of levels I and W, and the line before it,
# that of LiteRT, and that of the int8 converter.
CHATTER = r"[IW]\d{4} \d\d:\d\d:\d\d|WARNING: All log messages before absl::|INFO: |fully_quantize: "
LONGEST = 2**20  # characters of a reply
_GRACE = 1.0  # seconds after a process's death in which what it wrote before still arrives


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
            errors="replace",
            env={**os.environ, **environment},
            start_new_session=True,
        )


def last_words(errors: Path) -> str:
    """The last line that such a process printed to its file, but for chatter; empty if there is none."""
    lines = errors.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in lines[::-1] if line.strip() and not re.match(CHATTER, line)), "")


def replier() -> Callable[..., None]:
    """Within such a process, what replies; all else that is printed from now on goes to stderr, native code's, too."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(**content: object) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    return reply


class ReplyError(Exception):
    """What a process wrote is no reply, or it gave none in time; the message is one line."""


class Replies:
    """What a process replies, line by line, each checked against what it may hold.

    Args:
        process: one of `started`, whose stdout is read from now on.
        *structures: a reply holds what one of these declares.
    """

    def __init__(self, process: subprocess.Popen[str], *structures: type[pydantic.BaseModel]) -> None:
        self._process, self._structures = process, structures
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def get(self, patience: float | None = None) -> dict[str, Any] | None:
        """The next reply; None where there is none any more, as the process is dead or about to be.

        Args:
            patience: seconds to wait; None for as long as the process lives.

        Raises:
            ReplyError: what it wrote is no reply, or it wrote nothing in that time.
        """
        begin = time.monotonic()
        dead_since = None
        while True:
            with suppress(Empty):
                return self._checked(self._lines.get(timeout=_GRACE / 2))
            now = time.monotonic()
            if dead_since is None and self._process.poll() is not None:
                dead_since = now
            if dead_since is not None and now - dead_since > _GRACE:  # processes that it began keep its pipe open
                return None
            if patience is not None and now - begin > patience:
                raise ReplyError(f"It gave no answer for {patience:.0f} seconds.")

    def close(self) -> None:
        """To be called when the process has ended."""
        self._listener.join(_GRACE)  # a process that it began, and that keeps its pipe open, may outlive it

    def _listen(self) -> None:
        line = "\n"
        with self._process.stdout as lines:
            while line.endswith("\n"):
                line = lines.readline(LONGEST)
                self._lines.put(line)  # the last one without an end, as it is cut off, too long, or empty

    def _checked(self, line: str) -> dict[str, Any] | None:
        if not line.endswith("\n") and len(line) < LONGEST:  # it died, if in the middle of one
            return None
        for structure in self._structures:
            with suppress(pydantic.ValidationError):
                return structure.model_validate_json(line).model_dump(exclude_unset=True)
        raise ReplyError(f"Its process wrote what is no reply: {line[:80].strip()!r}.")
