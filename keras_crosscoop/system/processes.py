"""Worker processes: Python child processes with the same import path, which exchange lines of JSON with this one."""

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any

# Lines of native code on stderr that are not errors: TensorFlow's log of levels I and W with the line before it, and
# the logs of LiteRT and of the int8 converter.
CHATTER = r"[IW]\d{4} \d\d:\d\d:\d\d|WARNING: All log messages before absl::|INFO: |fully_quantize: "
_POLL = 0.5  # seconds between checks that the process lives


class WorkerError(Exception):
    """A worker process failed, died, hung or wrote an invalid message; the text is one line."""


class Worker:
    """A child process that exchanges messages with this one; leaving its `with` block kills it.

    The child has its own session, so Ctrl-C reaches only this process. Its program should end when its input ends: this
    is the request to stop, and also happens when the parent process dies.

    Args:
        program: Python code, which calls `connect`.
        log: File for its stderr.
        environment: Variables to add to this process's environment.
    """

    def __init__(self, program: str, log: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"import sys; sys.path[:] = sys.argv[1:]; {program}", *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, message: object) -> None:
        """Sends a JSON message; if the process is dead, the next `receive` raises the error."""
        with suppress(OSError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def receive(self, timeout: float = math.inf) -> dict[str, Any]:
        """Returns the next message.

        Args:
            timeout: Seconds to wait for it.

        Raises:
            WorkerError: The message is an `error`, or there is none: the process died, wrote no JSON, or timed out.
        """
        line = self._next_line(timeout)
        if not line.endswith("\n"):  # the process died, perhaps in the middle of a message
            raise WorkerError(self._last_words())
        try:
            message = json.loads(line)
        except ValueError as error:
            raise WorkerError(f"Its process wrote an invalid message: {line[:80].strip()!r}.") from error
        if "error" in message:
            raise WorkerError(message["error"])
        return message

    def end_input(self) -> None:
        """Asks the process to end."""
        with suppress(OSError):  # it is dead and has not read everything
            self.process.stdin.close()

    def close(self, timeout: float = 0) -> None:
        """Ends the process: ends its input, waits for `timeout` seconds, then kills it."""
        self.end_input()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        self.process.kill()
        self.process.wait()
        self._listener.join(_POLL)  # with a timeout, because a grandchild may hold the pipe open

    def _listen(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)  # the last one may be truncated and have no "\n"
        self._lines.put("")

    def _next_line(self, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while True:
            dead = self.process.poll() is not None  # checked before waiting: messages of a dead process still arrive
            try:
                return self._lines.get(timeout=_POLL)
            except Empty:
                if dead:
                    return ""
                if time.monotonic() > deadline:
                    raise WorkerError(f"It did not answer for {timeout:.0f} seconds.") from None

    def _last_words(self) -> str:
        """Describes the end of the process, with the last line of its log that is not `CHATTER`."""
        code = self.process.wait()
        end = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        hint = ", perhaps for lack of memory" if code == -9 else ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in lines[::-1] if line.strip() and not re.match(CHATTER, line)), "")
        return f"Its process ended {end}{hint}." + (f" Its last output: {last}" if last else "")


def connect() -> tuple[Iterator[Any], Callable[..., None]]:
    """Connects a worker's program to its parent: returns the incoming messages, and a function that sends a reply.

    Redirects every other write to stdout, including native code's, to stderr.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(**message: object) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    return map(json.loads, sys.stdin), send
