"""Where the time of a training went."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import atomic_write


class WriteTimings(keras.callbacks.Callback):
    """Writes `timings.json`: the seconds of the beginning, of steps and validations, and of all else.

    The beginning ends before the first step; it includes a timed one (`train.time`). All else is mostly the writing of
    weights, checkpoints and pictures. The seconds of data are estimated, and overlap with those of the steps. A resumed
    training adds to the file.

    Args:
        run: The run.
        start: The `time.monotonic()` at which the process began to work for the run.
        batch: The seconds that the batch of a step takes, see `Durations`; None if they were not measured.
    """

    def __init__(self, run: Run, start: float, batch: float | None = None) -> None:
        super().__init__()
        self.path = run.timings
        self.batch = batch
        self.seconds = {"beginning": 0.0, "steps": 0.0, "validation": 0.0, "other": 0.0}
        if batch is not None:
            self.seconds["data"] = 0.0
        if self.path.is_file():
            self.seconds |= json.loads(self.path.read_text("utf-8"))
        self._last = start

    def _count(self, part: str) -> None:
        """Counts the time since the last call for a part."""
        now = time.monotonic()
        self.seconds[part] += now - self._last
        self._last = now

    def on_train_begin(self, logs: Any = None) -> None:
        """Ends the beginning."""
        self._count("beginning")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Counts what lies between steps."""
        self._count("other")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts a step, or those of one execution."""
        self._count("steps")
        if self.batch is not None:
            self.seconds["data"] += self.batch * self.model.steps_per_execution

    def on_test_begin(self, logs: Any = None) -> None:
        """Counts what lies before a validation."""
        self._count("other")

    def on_test_end(self, logs: Any = None) -> None:
        """Counts a validation."""
        self._count("validation")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the file."""
        self._count("other")
        _write(self.path, self.seconds)

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state: the file holds it."""
        return {}


def record(run: Run, part: str, seconds: float) -> None:
    """Writes the seconds of a part that came after the training, such as its evaluation, into `timings.json`."""
    before = json.loads(run.timings.read_text("utf-8")) if run.timings.is_file() else {}
    _write(run.timings, before | {part: seconds})


def _write(path: Path, seconds: Mapping[str, float]) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps({name: round(value, 1) for name, value in seconds.items()}) + "\n")
