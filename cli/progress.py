"""Progress on the terminal: bars with the time left, and a line for each epoch that stays."""

from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from keras_crosscoop.config import Settings


def _bar() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=Console(stderr=True))


def passing_bar() -> Progress:
    """A bar that goes when the work is done, and is not there where no terminal shows it."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


class FitProgress(keras.callbacks.Callback):
    """A bar over all steps of a training; when an epoch ends, its losses and what validation measured."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.epochs = settings.train.epochs
        self.bar = _bar()

    def __enter__(self) -> "FitProgress":
        return self

    def __exit__(self, *error: object) -> None:
        """Closes the bar however the training ends: Keras tells callbacks nothing of errors."""
        self.bar.stop()

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar."""
        self.task = self.bar.add_task("Training", total=self.epochs * self.params["steps"])
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Moves the bar."""
        self.bar.update(self.task, advance=1, description=f"Training, loss {float(logs['loss']):.3f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Prints the epoch's line: the networks' losses, and mean IoU in percent where it was measured."""
        losses = " + ".join(f"{logs[f'{side}_loss']:.3f}" for side in self.model.sides)
        line = f"epoch {epoch + 1}/{self.epochs}  loss {losses}"
        measured = {name: logs.get(f"val_{name}_mean_iou") for name in self.model.output_choices}
        if None not in measured.values():
            line += "  val mIoU " + ", ".join(f"{name} {100 * iou:.1f}" for name, iou in measured.items())
        if skipped := logs.get("skipped_files"):
            line += f"  files skipped so far: {skipped} (see skipped.txt)"
        self.bar.console.print(line, highlight=False, soft_wrap=True)


class EvaluateProgress(keras.callbacks.Callback):
    """A bar over the images of an evaluation."""

    def on_test_begin(self, logs: Any = None) -> None:
        """Shows the bar."""
        self.bar = _bar()
        self.task = self.bar.add_task("Evaluating", total=self.params["steps"])
        self.bar.start()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar."""
        self.bar.update(self.task, advance=1)

    def on_test_end(self, logs: Any = None) -> None:
        """Closes the bar."""
        self.bar.stop()
