"""Formats in processes of their own that take turns, so that a noisy machine slows all of them alike."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeFloat, NonNegativeInt

from keras_crosscoop.system.processes import Replies, ReplyError, last_words, started

Reply = dict[str, Any]  # a `Measured`

_PROGRAM = "from keras_crosscoop.export.benchmark.worker import main; main()"


class Measured(BaseModel):
    """A reply of `worker.main`."""

    seconds: NonNegativeFloat | None  # None of loading
    resident: NonNegativeInt
    memory: int


class Failed(BaseModel):
    """The last reply of `worker.main`, where something went wrong."""

    error: str


class WorkerError(Exception):
    """A process failed, died or hangs; the message is one line. It is gone."""


class Worker:
    """A format, loading in a process of its own; it goes with the block that this stands in.

    Without its parent it ends by itself.

    Args:
        job: of `worker.main`.
        errors: a file for what it prints to stderr.
        patience: seconds that it may take for an answer.
    """

    def __init__(self, job: Mapping[str, Any], errors: Path, patience: float = 600) -> None:
        self._errors, self._patience = errors, patience
        self._process = started(_PROGRAM, errors)
        self._replies = Replies(self._process, Measured, Failed)
        self._job = json.dumps(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def load(self) -> Reply:
        """Waits until it has loaded.

        Raises:
            WorkerError: it cannot.
        """
        return self._answered(self._job)

    def segment(self, number: int) -> Reply:
        """Has it segment the image of that number.

        Raises:
            WorkerError: it cannot.
        """
        answer = self._answered(str(number))
        if answer["seconds"] is None:
            self.close()
            raise WorkerError("Its process told no time of an image.")
        return answer

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._replies.close()
        with suppress(OSError):  # of what it did not read any more
            self._process.stdin.close()

    def _answered(self, line: str) -> Reply:
        with suppress(OSError):  # it is dead, as the answer tells
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        try:
            answer = self._replies.get(self._patience)
        except ReplyError as error:
            self.close()
            raise WorkerError(str(error)) from error
        if answer is None or "error" in answer:
            self.close()
            raise WorkerError(answer["error"] if answer else self._last_words())
        return answer

    def _last_words(self) -> str:
        said = last_words(self._errors)
        code = self._process.returncode
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        hint = ", as one that takes too much memory" if code == -9 else ""
        return f"Its process ended {how}{hint}." + (f" It said: {said}" if said else "")


def alternate(
    segmenting: Mapping[str, Callable[[int], Reply]],
    numbers: Iterable[int],
    failed: dict[str, str],
) -> dict[str, list[Reply]]:
    """Has each of several segment an image, then each of them the next.

    Args:
        segmenting: what a name's `Worker` does.
        numbers: of the images.
        failed: gets the reason of each that fails; the others go on.

    Returns:
        The replies of those that did not fail.
    """
    replies: dict[str, list[Reply]] = {name: [] for name in segmenting}
    for number in numbers:
        for name in list(replies):
            try:
                replies[name].append(segmenting[name](number))
            except WorkerError as error:
                failed[name] = str(error)
                del replies[name]
    return replies
