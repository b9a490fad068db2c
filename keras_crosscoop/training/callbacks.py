"""Callbacks that save the best weights, and write the metrics and the list of skipped files, after each epoch."""

import csv
import math
from typing import Any

import keras

from keras_crosscoop.data import Skipped
from keras_crosscoop.errors import InputError
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import atomic_write


class KeepBest(keras.callbacks.Callback):
    """Saves the weights whenever the validation mean IoU of the default output improves (`Segmenter.resolve_output`).

    Args:
        run: The run to save into; None to save nothing.
        patience: The number of validations without improvement after which training stops; None to never stop it.

    Attributes:
        best: The best mean IoU so far, from 0 to 1; NaN before the first validation.
        worse: The number of validations since the best one.
    """

    def __init__(self, run: Run | None, patience: int | None = None) -> None:
        super().__init__()
        self.run = run
        self.patience = patience
        self.best = math.nan
        self.worse = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compares the score and saves the weights, if this epoch was validated.

        Raises:
            InputError: The mean IoU is NaN.
        """
        name = f"val_{self.model.resolve_output(None)}_mean_iou"
        if name not in logs:
            return
        score = logs[name]
        if math.isnan(score):
            raise InputError(
                "No best epoch can be chosen, because all pixels of the validation images are void. Check their "
                f"labels, or name another split in data.val_split. Received: {name}=nan"
            )
        if not score <= self.best:
            if self.run:
                self.run.save_weights(self.model)
            self.best, self.worse = score, 0
        else:
            self.worse += 1
            self.model.stop_training |= self.patience is not None and self.worse >= self.patience


class WriteHistory(keras.callbacks.Callback):
    """Writes `history.csv`: a row per epoch, with empty cells where an epoch was not validated."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.path = run.history
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Adds a row, and writes the whole file."""
        self.rows.append({"epoch": epoch + 1, "learning_rate": float(self.model.optimizer.learning_rate), **logs})
        columns = dict.fromkeys(column for row in self.rows for column in row)
        with atomic_write(self.path, durable=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(columns))
            table.writeheader()
            table.writerows(self.rows)


class ReportSkipped(keras.callbacks.Callback):
    """Adds the number of skipped files to the logs, if there are any, and lists them in `skipped.txt`."""

    def __init__(self, run: Run, *skipped: Skipped) -> None:
        super().__init__()
        self.path = run.folder / "skipped.txt"
        self.skipped = skipped

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Updates the logs and the list."""
        reasons = [reason for skipped in self.skipped for reason in skipped.reasons]
        if reasons:
            logs["skipped_files"] = len(reasons)
            with atomic_write(self.path) as partial:
                partial.write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")

    def get_state(self) -> dict[str, Any]:
        """Returns the skipped files, and the reasons."""
        return {"skipped": [skipped.by_image for skipped in self.skipped]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the result of `get_state`."""
        for skipped, by_image in zip(self.skipped, state["skipped"], strict=True):
            skipped.by_image.update(by_image)
