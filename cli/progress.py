"""Progress bars on stderr, and one permanent line per epoch. Without a terminal, only the lines are printed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
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

from keras_crosscoop.training.throughput import Throughput


def _bar() -> Progress:
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))  # in a narrow terminal only the bar shrinks
    columns = TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn()
    return Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=Console(stderr=True))


def transient_bar() -> Progress:
    """Returns a progress bar that disappears at the end, and is disabled without a terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def stage_progress(stage: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function that shows the stage of a task: in a bar on a terminal, else as one line per stage.

    Args:
        stage: Name of the first stage.
    """
    shown = None
    with transient_bar() as bar:
        task = bar.add_task(stage, total=None)

        def show(stage: str, done: int = 0, total: int | None = None) -> None:
            nonlocal shown
            bar.update(task, description=stage, completed=done, total=total)
            if bar.disable and stage != shown:
                bar.console.print(stage, markup=False, highlight=False, soft_wrap=True)
            shown = stage

        show(stage)
        yield show


class FitProgress(keras.callbacks.Callback):
    """A bar over all training steps, a bar over validation, and a line with the results of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = _bar()
        self.bar.disable = not self.bar.console.is_terminal
        self.validation_steps: int | None = None

    def __enter__(self) -> "FitProgress":
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the bar however the training ends: Keras does not notify callbacks of errors."""
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar, beginning at the current step."""
        self.memory = _memory()
        self.throughput = Throughput(self.params["batch_size"] * self.model.steps_per_execution)
        self.epochs = self.params["epochs"]
        done = int(self.model.optimizer.iterations.numpy())
        self.begun, self.done = time.monotonic(), done
        self.task = self.bar.add_task("Training", total=self.epochs * self.params["steps"], completed=done)
        self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Records the first step of the epoch."""
        self.begin = epoch * self.params["steps"]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Records the start time of the step."""
        self.throughput.begin()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Advances the bar past step `batch`."""
        line = f"loss {float(logs['loss']):.3f}"
        self.throughput.end()
        if self.bar.disable:
            return
        line += self._costs(self.throughput.recent)
        self.bar.update(self.task, completed=self.begin + batch + 1, description=line)

    def on_test_begin(self, logs: Any = None) -> None:
        """Shows a validation bar. Its length is unknown until the first validation has ended."""
        self.validation = self.bar.add_task("Validating", total=self.validation_steps)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advances the validation bar."""
        self.validation_steps = batch + 1
        self.bar.update(self.validation, completed=batch + 1)

    def on_test_end(self, logs: Any = None) -> None:
        """Removes the validation bar."""
        self.bar.remove_task(self.validation)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Prints losses, throughput, memory and, after validation, mean IoU in percent."""
        losses = " + ".join(f"{logs[f'{side}_loss']:.3f}" for side in self.model.sides)
        line = f"epoch {epoch + 1}/{self.epochs}  loss {losses}{self._costs(self.throughput.take())}"
        ious = {name: logs.get(f"val_{name}_mean_iou") for name in self.model.output_choices}
        if None not in ious.values():
            line += "  val mIoU " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in ious.items())
        line += self._end(epoch)
        if skipped := logs.get("skipped_files"):
            line += f"  files skipped so far: {skipped} (see skipped.txt)"
        self.bar.console.print(line, highlight=False, soft_wrap=True)

    def _end(self, epoch: int) -> str:
        """Returns when the training will end, by the time that it has taken so far; "" if that is soon or unknown."""
        steps = (epoch + 1) * self.params["steps"]
        if steps <= self.done:  # a resumed training begins with a validation
            return ""
        left = (time.monotonic() - self.begun) * (self.epochs * self.params["steps"] - steps) / (steps - self.done)
        now = datetime.now()
        end = now + timedelta(seconds=left)
        date = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
        return f"  ends at {date}{end:%H:%M}" if left > 60 else ""

    def _costs(self, rate: float | None) -> str:
        return ("" if rate is None else f"  {rate:.1f} images/s") + f"  {self.memory():.1f} GiB"

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state: a bar belongs to its process."""
        return {}


def _memory() -> Callable[[], float]:
    """Returns a function that measures memory in GiB: the peak of the fullest GPU, or the use of this process."""
    if gpus := [device.name for device in tf.config.list_logical_devices("GPU")]:
        return lambda: max(tf.config.experimental.get_memory_info(gpu)["peak"] for gpu in gpus) / 2**30
    process = psutil.Process()
    return lambda: process.memory_info().rss / 2**30


@contextmanager
def evaluate_progress(*, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Yields a function that shows the progress of an evaluation in a bar over its images.

    Args:
        quiet: Whether to hide the bar.
    """
    bar = _bar()
    bar.disable = quiet
    task = bar.add_task("Evaluating", total=None)

    def show(done: int, images: int) -> None:
        bar.start()  # only now, so that an early error takes one line
        bar.update(task, completed=done, total=images)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


class RowsProgress:
    """A bar over all rows of an ablation, a bar for each running row, and a line for each finished row."""

    def __init__(self) -> None:
        self.bar = _bar()
        self.whole = self.bar.add_task("All rows", total=0)
        self.tasks: dict[str, TaskID] = {}  # of running rows
        self.begun: dict[str, float] = {}

    def __enter__(self) -> "RowsProgress":
        if not self.bar.console.is_terminal:
            self.bar.disable = True
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, row: str, stage: str, done: int, total: int) -> None:
        """Shows the stage of a row, see `keras_crosscoop.ablation.ablate`."""
        if stage == "waiting":
            self.bar.update(self.whole, total=self.bar.tasks[self.whole].total + 1)
        elif stage in ("done", "failed"):
            if row in self.tasks:
                self.bar.remove_task(self.tasks.pop(row))
            seconds = time.monotonic() - self.begun.pop(row, time.monotonic())
            self.bar.advance(self.whole)
            self.bar.console.print(f"{row}: {stage}, {seconds:.0f} s", highlight=False)
        else:
            if row not in self.tasks:
                self.begun.setdefault(row, time.monotonic())
                self.tasks[row] = self.bar.add_task(row, total=None)
            self.bar.update(self.tasks[row], description=f"{row}: {stage}", completed=done, total=total)

    def show(self, stage: str) -> None:
        """Shows what follows the last row."""
        self.bar.update(self.whole, description=stage)
