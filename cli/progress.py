"""Progress on the terminal: bars with the time left, and a line for each epoch that stays."""

import time
from collections.abc import Callable
from typing import Any

import keras
import psutil
import tensorflow as tf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from keras_crosscoop.config import Settings
from keras_crosscoop.training.throughput import Throughput


def _bar() -> Progress:
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))  # in a narrow terminal only the bar gives way
    columns = TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn()
    return Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=Console(stderr=True))


def passing_bar() -> Progress:
    """A bar that goes when the work is done, and is not there where no terminal shows it."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


class StageProgress:
    """Shows one thing that is done after another: as a bar that goes in the end, or without a terminal as lines.

    What is done first is shown at once; calling it shows the next, and how much of it is done.

    Args:
        what: is done first.
    """

    def __init__(self, what: str) -> None:
        self.bar = passing_bar()
        self.what = what

    def __enter__(self) -> "StageProgress":
        self.bar.start()
        self.task = self.bar.add_task(self.what, total=None)
        self._print()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Shows what is done, and how much of how much."""
        self.bar.update(self.task, description=what, completed=done, total=total)
        if what != self.what:
            self.what = what
            self._print()

    def _print(self) -> None:
        if self.bar.disable:
            self.bar.console.print(self.what, markup=False, highlight=False, soft_wrap=True)


class FitProgress(keras.callbacks.Callback):
    """A bar over all steps of a training, and one over validation; when an epoch ends, what it measured.

    Where no terminal shows bars, only the lines of epochs are there.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        options = settings.train
        self.epochs = options.epochs
        self.throughput = Throughput(options.batch_size * options.steps_per_execution)
        self.bar = _bar()
        self.bar.disable = not self.bar.console.is_terminal
        self.validation_steps: int | None = None

    def __enter__(self) -> "FitProgress":
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the bar however the training ends: Keras tells callbacks nothing of errors."""
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar, from the step reached."""
        self.memory = _memory()
        done = int(self.model.optimizer.iterations.numpy())
        self.task = self.bar.add_task("Training", total=self.epochs * self.params["steps"], completed=done)
        self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the epoch begins."""
        self.begin = epoch * self.params["steps"]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Notes when the step begins."""
        self.throughput.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Moves the bar to behind step `batch`."""
        line = f"loss {float(logs['loss']):.3f}"
        self.throughput.end()
        if self.bar.disable:
            return
        line += self._costs(self.throughput.recent)
        self.bar.update(self.task, completed=self.begin + batch + 1, description=line)

    def on_test_begin(self, logs: Any = None) -> None:
        """Shows a bar of validation; how long that is nobody says before the first has ended."""
        self.validation = self.bar.add_task("Validating", total=self.validation_steps)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves it."""
        self.validation_steps = batch + 1
        self.bar.update(self.validation, completed=batch + 1)

    def on_test_end(self, logs: Any = None) -> None:
        """Removes it."""
        self.bar.remove_task(self.validation)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Prints the epoch's line: the networks' losses, the rate, and mean IoU in percent where it was measured."""
        losses = " + ".join(f"{logs[f'{side}_loss']:.3f}" for side in self.model.sides)
        line = f"epoch {epoch + 1}/{self.epochs}  loss {losses}{self._costs(self.throughput.take())}"
        measured = {name: logs.get(f"val_{name}_mean_iou") for name in self.model.output_choices}
        if None not in measured.values():
            line += "  val mIoU " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in measured.items())
        if skipped := logs.get("skipped_files"):
            line += f"  files skipped so far: {skipped} (see skipped.txt)"
        self.bar.console.print(line, highlight=False, soft_wrap=True)

    def _costs(self, rate: float | None) -> str:
        return ("" if rate is None else f"  {rate:.1f} images/s") + f"  {self.memory():.1f} GiB"

    def get_state(self) -> dict[str, Any]:
        """Nothing: a bar is of its process."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what `get_state` gave."""


def _memory() -> Callable[[], float]:
    """What tells how much memory is in use, in GiB: at most so far of the fullest GPU, or now of this process."""
    if gpus := [device.name for device in tf.config.list_logical_devices("GPU")]:
        return lambda: max(tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in gpus) / 2**30
    process = psutil.Process()
    return lambda: process.memory_info().rss / 2**30


class EvaluateProgress:
    """A bar over the images of an evaluation; calling it moves it.

    Args:
        quiet: whether to show none.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.bar = _bar()
        self.bar.disable = quiet
        self.task = self.bar.add_task("Evaluating", total=None)

    def __enter__(self) -> "EvaluateProgress":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def __call__(self, done: int, images: int) -> None:
        """Moves the bar."""
        self.bar.start()  # only now: what ends before takes one line
        self.bar.update(self.task, completed=done, total=images)


class RowsProgress:
    """A bar over all rows, one for each that is at work, and a line for each that is done."""

    def __init__(self) -> None:
        self.bar = _bar()
        self.whole = self.bar.add_task("All rows", total=0)
        self.tasks: dict[str, TaskID] = {}  # of rows at work
        self.begun: dict[str, float] = {}

    def __enter__(self) -> "RowsProgress":
        if not self.bar.console.is_terminal:
            self.bar.disable = True
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, row: str, doing: str, done: int, total: int) -> None:
        """Shows what a row does, see `keras_crosscoop.ablation.ablate`."""
        if doing == "waiting":
            self.bar.update(self.whole, total=self.bar.tasks[self.whole].total + 1)
        elif doing in ("done", "failed"):
            if row in self.tasks:
                self.bar.remove_task(self.tasks.pop(row))
            seconds = time.monotonic() - self.begun.pop(row, time.monotonic())
            self.bar.advance(self.whole)
            self.bar.console.print(f"{row}: {doing}, {seconds:.0f} s", highlight=False)
        else:
            if row not in self.tasks:
                self.begun.setdefault(row, time.monotonic())
                self.tasks[row] = self.bar.add_task(row, total=None)
            self.bar.update(self.tasks[row], description=f"{row}: {doing}", completed=done, total=total)

    def tell(self, doing: str) -> None:
        """Shows what is done when all rows are."""
        self.bar.update(self.whole, description=doing)
