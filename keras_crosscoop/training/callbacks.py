"""What happens at the end of an epoch: the best weights are kept, the figures and the skipped files written down."""

import csv
import math
from typing import Any

import keras

from keras_crosscoop.data import Skipped
from keras_crosscoop.errors import InputError
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import atomic_write


class KeepBest(keras.callbacks.Callback):
    """Saves the weights whenever the mean IoU on the validation split is better than ever before.

    It is the default output's, as everywhere: the ensemble's of a pair, the network's own of a single one.

    Args:
        run: where to; None to save nothing.
        patience: how many validations without a better one end the training; None for no end.

    Attributes:
        best: the greatest mean IoU so far, from 0 to 1; NaN before the first validation.
        worse: validations since then.
    """

    def __init__(self, run: Run | None, patience: int | None = None) -> None:
        super().__init__()
        self.run = run
        self.patience = patience
        self.best = math.nan
        self.worse = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compares and saves, where this epoch was validated.

        Raises:
            InputError: there was nothing to measure.
        """
        name = f"val_{self.model.chosen(None)}_mean_iou"
        if name not in logs:
            return
        score = logs[name]
        if math.isnan(score):
            raise InputError(
                "No epoch can be chosen: no pixel of the validation images has a class, all are void. Look at their "
                f"labels, or name another split by data.val_split. Received: {name}=nan"
            )
        if not score <= self.best:
            if self.run:
                self.run.save_weights(self.model)
            self.best, self.worse = score, 0
        else:
            self.worse += 1
            self.model.stop_training |= self.patience is not None and self.worse >= self.patience


class WriteHistory(keras.callbacks.Callback):
    """Writes `history.csv`: a row an epoch, with empty cells for what it did not measure."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.path = run.history
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Adds the epoch and writes the whole file anew."""
        self.rows.append({"epoch": epoch + 1, "learning_rate": float(self.model.optimizer.learning_rate), **logs})
        columns = dict.fromkeys(column for row in self.rows for column in row)
        with atomic_write(self.path, durable=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(columns))
            table.writeheader()
            table.writerows(self.rows)


class ReportSkipped(keras.callbacks.Callback):
    """Adds to an epoch's figures how many files were skipped so far, if any were, and lists them in `skipped.txt`."""

    def __init__(self, run: Run, *skipped: Skipped) -> None:
        super().__init__()
        self.path = run.folder / "skipped.txt"
        self.skipped = skipped

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Counts and writes."""
        reasons = [reason for of_split in self.skipped for reason in of_split.reasons]
        if reasons:
            logs["skipped_files"] = len(reasons)
            with atomic_write(self.path) as partial:
                partial.write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")

    def get_state(self) -> dict[str, Any]:
        """Which files were bad, and why."""
        return {"skipped": [of_split.by_image for of_split in self.skipped]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what `get_state` gave."""
        for of_split, by_image in zip(self.skipped, state["skipped"], strict=True):
            of_split.by_image.update(by_image)
