"""The best weights are kept, and the metrics of every epoch are written."""

import csv
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.data import Skipped
from keras_crosscoop.training.callback_states import CallbackStates
from keras_crosscoop.training.callbacks import KeepBest, ReportSkipped, WriteHistory


class Model:
    """Of weights there is one number."""

    def __init__(self, rate=0.1, default="ensemble"):
        self.weight = 0
        self.default = default
        self.stop_training = False
        self.optimizer = SimpleNamespace(learning_rate=rate)

    def resolve_output(self, output):
        assert output is None
        return self.default


class FakeRun:
    """Remembers the weights that it saved."""

    def __init__(self, folder=None):
        self.saved = []
        self.history = folder and folder / "history.csv"

    def save_weights(self, model):
        self.saved.append(model.weight)


def kept(scores, outputs=("top", "bottom", "ensemble")):
    """What `KeepBest` saves, as numbers of epochs from 1, where each epoch measures `scores`, or nothing."""
    run = FakeRun()
    callback = KeepBest(run)
    callback.set_model(Model(default=outputs[-1]))
    for epoch, measured in enumerate(scores):
        callback.model.weight = epoch + 1
        named = {} if measured is None else {f"val_{o}_mean_iou": v for o, v in zip(outputs, measured, strict=True)}
        callback.on_epoch_end(epoch, {"loss": 1.0, **named})
    return run.saved, callback.best


NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "saved", "best"),
    [
        ([(0.1, 0.2, 0.15), (0.3, 0.1, 0.25), (0.25, 0.4, 0.2)], [1, 2], 0.25),  # one is best in the third alone
        ([(0.5, 0.1, 0.3), (0.4, 0.4, 0.31), (0.1, 0.6, 0.3)], [1, 2], 0.31),
        ([(0.2, 0.2, 0.2), (0.3, 0.3, 0.2)], [1], 0.2),  # no better, so the earlier one stays
        ([None, (0.2, 0.1, 0.1), None, (0.3, 0.2, 0.2), None], [2, 4], 0.2),
        ([(0.0, 0.0, 0.0), (0.1, 0.0, 0.1)], [1, 2], 0.1),  # a network that hits nothing is still a first
    ],
)
def test_the_best_is_kept_by_the_ensemble_of_a_pair(scores, saved, best):
    assert kept(scores) == (saved, best)


def test_the_best_is_kept_by_a_single_networks_own_figure():
    assert kept([(0.1,), (0.3,), (0.2,)], outputs=("single",)) == ([1, 2], 0.3)


def test_labels_without_classes_are_refused():
    """The mean over no class is NaN, by which no epoch is better."""
    assert "data.val_split. Received: val_ensemble_mean_iou=nan" in refused(kept, [(NAN, NAN, NAN)])


def test_nothing_is_kept_of_nothing():
    saved, best = kept([None, None])
    assert saved == []
    assert math.isnan(best)


def epochs_trained(scores, patience, callback=None, first=0):
    """How many epochs of those scores there are before `KeepBest` ends the training, and itself."""
    callback = callback or KeepBest(None, patience)
    callback.set_model(Model())
    for epoch, score in enumerate(scores, start=first):
        callback.on_epoch_end(epoch, {} if score is None else {"val_ensemble_mean_iou": score})
        if callback.model.stop_training:
            return epoch + 1, callback
    return first + len(scores), callback


@pytest.mark.parametrize(
    ("scores", "patience", "epochs"),
    [
        ([0.3, 0.2, 0.1, 0.0], None, 4),
        ([0.3, 0.2, 0.1, 0.4], 1, 2),
        ([0.3, 0.2, 0.1, 0.4], 2, 3),
        ([0.3, 0.2, 0.1, 0.4], 3, 4),
        ([0.3, 0.3, 0.3], 2, 3),  # as good is no better
        ([0.3, 0.2, 0.4, 0.3, 0.2, 0.5], 2, 5),  # a better one begins the count anew
        ([0.3, None, 0.2, None, None, 0.1, 0.0], 2, 6),  # validations are counted, not epochs
    ],
)
def test_patience_counts_validations_without_a_better_one(scores, patience, epochs):
    assert epochs_trained(scores, patience)[0] == epochs


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_patience_goes_on_where_it_was(done):
    """Whoever forgot the best score, or the count, would train longer."""
    scores = [0.3, 0.2, 0.4, 0.35, 0.39, 0.5]
    new = KeepBest(None, 2)
    states = CallbackStates([before := KeepBest(None, 2)])
    epochs_trained(scores[:done], 2, before)
    CallbackStates([new]).set(states.get())
    assert epochs_trained(scores[done:], 2, new, first=done) == (5, new)
    assert new.best == 0.4


def test_stopped_by_another_it_stays_stopped():
    callback = KeepBest(None, 5)
    callback.set_model(Model())
    callback.model.stop_training = True
    for score in (0.3, 0.2):
        callback.on_epoch_end(0, {"val_ensemble_mean_iou": score})
        assert callback.model.stop_training


def history(folder, epochs, rate=0.1, callback=None, first=0):
    callback = callback or WriteHistory(FakeRun(folder))
    callback.set_model(Model(rate))
    for epoch, logs in enumerate(epochs, start=first):
        callback.on_epoch_end(epoch, logs)
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_history_has_every_column_also_of_later_epochs(tmp_path):
    """Validation happens in the second epoch only: cells of the others are empty, not shifted."""
    rows = history(tmp_path, [{"loss": 3.0}, {"loss": 2.0, "val_loss": 2.5, "val_top_mean_iou": 0.25}, {"loss": 1.0}])
    assert rows == [
        ["epoch", "learning_rate", "loss", "val_loss", "val_top_mean_iou"],
        ["1", "0.1", "3.0", "", ""],
        ["2", "0.1", "2.0", "2.5", "0.25"],
        ["3", "0.1", "1.0", "", ""],
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_history_is_whole_after_every_epoch(tmp_path):
    assert len(history(tmp_path, [{"loss": 1.0}])) == 2
    assert len(history(tmp_path, [{"loss": 1.0}] * 5)) == 6


def test_history_tells_the_scheduled_rate(tmp_path):
    """That of the step to come, from the optimizer's own count."""
    schedule = keras.optimizers.schedules.PolynomialDecay(0.5, 4, end_learning_rate=0, power=1)
    optimizer = keras.optimizers.SGD(schedule)
    optimizer.build([])
    optimizer.iterations.assign(3)
    callback = WriteHistory(FakeRun(tmp_path))
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_epoch_end(0, {"loss": np.float32(2)})
    assert (tmp_path / "history.csv").read_text().splitlines() == ["epoch,learning_rate,loss", "1,0.125,2.0"]


def test_history_goes_on_after_the_rows_it_had(tmp_path):
    """In the folder that the run has moved to, and without those that were written after the checkpoint."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    before = WriteHistory(FakeRun(old))
    states = CallbackStates([before])
    history(old, [{"loss": 3.0}, {"loss": 2.0, "val_loss": NAN}], callback=before)
    remembered = states.get()
    history(old, [{"loss": 1.0}], callback=before, first=2)
    old.rename(new)

    after = WriteHistory(FakeRun(new))
    CallbackStates([after]).set(remembered)
    assert history(new, [{"loss": 1.5}], callback=after, first=2) == [
        ["epoch", "learning_rate", "loss", "val_loss"],
        ["1", "0.1", "3.0", ""],
        ["2", "0.1", "2.0", "nan"],
        ["3", "0.1", "1.5", ""],
    ]
    assert not old.exists()


def test_skipped_files_stay_listed(tmp_path):
    """Of both splits; a resumed training reads those before the checkpoint no more."""
    before, after = (Skipped(), Skipped()), (Skipped(), Skipped())
    for skipped, name in zip(before, ("a.png", "b.png"), strict=True):
        skipped.images = 1000
        skipped.add(name, ValueError(f"{name} is bad"))
    states = CallbackStates([ReportSkipped(SimpleNamespace(folder=tmp_path), *before)]).get()
    callback = ReportSkipped(SimpleNamespace(folder=tmp_path), *after)
    CallbackStates([callback]).set(states)
    after[1].images = 1000
    after[1].add("c.png", ValueError("c.png is bad"))
    logs = {}
    callback.on_epoch_end(3, logs)
    assert logs == {"skipped_files": 3}
    assert (tmp_path / "skipped.txt").read_text() == "a.png is bad\nb.png is bad\nc.png is bad\n"
