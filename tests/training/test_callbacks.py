"""What an epoch's end leaves behind."""

import csv
import math
from types import SimpleNamespace

import pytest

from keras_crosscoop.training.callbacks import KeepBest, WriteHistory


class FakeRun:
    def __init__(self, folder=None):
        self.folder, self.saved, self.epoch = folder, [], None

    def save_weights(self, model):
        self.saved.append(model.epoch)


def test_the_best_is_kept_not_the_last():
    run = FakeRun()
    keeper = KeepBest(run)
    keeper.set_model(SimpleNamespace(sides=("top", "bottom"), epoch=None))
    scores = [(0.2, 0.3), None, (0.31, 0.1), (0.3, 0.3), (math.nan, math.nan), (0.1, 0.32), (0.32, 0.0)]
    for epoch, score in enumerate(scores):
        keeper.model.epoch = epoch
        logs = {} if score is None else dict(zip(("val_top_mean_iou", "val_bottom_mean_iou"), score, strict=True))
        keeper.on_epoch_end(epoch, logs)
    assert run.saved == [0, 2, 5]  # by the better output; epoch 6 only equals epoch 5
    assert keeper.best == 0.32


def test_history_has_every_column_even_those_that_come_late(tmp_path):
    writer = WriteHistory(FakeRun(tmp_path))
    writer.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.5)))
    writer.on_epoch_end(0, {"loss": 2.0})
    writer.on_epoch_end(1, {"loss": 1.0, "val_top_mean_iou": 0.25})
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["val_top_mean_iou"] for row in rows] == ["", "0.25"]
    assert [float(row["loss"]) for row in rows] == pytest.approx([2.0, 1.0])
    assert rows[0]["learning_rate"] == "0.5"
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
