"""What happens at the end of an epoch: the best weights are kept, the figures and the skipped files written down."""

import csv
import math

import keras

from keras_crosscoop.data import Skipped
from keras_crosscoop.files import written
from keras_crosscoop.runs import Run


class KeepBest(keras.callbacks.Callback):
    """Saves the weights whenever the better of the outputs is better on the validation split than ever before.

    Attributes:
        best: that output's mean IoU, from 0 to 1; NaN before the first validation.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.best = math.nan

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Compares and saves, where this epoch was validated."""
        scores = [logs.get(f"val_{side}_mean_iou", math.nan) for side in self.model.sides]
        score = max((score for score in scores if not math.isnan(score)), default=math.nan)
        if not math.isnan(score) and not score <= self.best:
            self.run.save_weights(self.model)
            self.best = score


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
        with written(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
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
            with written(self.path) as partial:
                partial.write_text("".join(f"{reason}\n" for reason in reasons), encoding="utf-8")
