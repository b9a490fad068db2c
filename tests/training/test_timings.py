"""Where the time of a training went, by a clock that the test moves."""

import json
from types import SimpleNamespace

import pytest

from keras_crosscoop.training import timings
from keras_crosscoop.training.timings import WriteTimings


def test_each_part_gets_its_seconds_and_a_resumed_training_adds_to_them(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(timings, "time", SimpleNamespace(monotonic=lambda: now))
    run = SimpleNamespace(timings=tmp_path / "timings.json")

    def train():
        nonlocal now
        writer = WriteTimings(run, start=now - 3, batch=1.5)
        writer.set_model(SimpleNamespace(steps_per_execution=2))
        for event, seconds in (
            (writer.on_train_begin, 7),
            (lambda: writer.on_train_batch_begin(0), 1),
            (lambda: writer.on_train_batch_end(0), 20),
            (lambda: writer.on_train_batch_begin(1), 2),
            (lambda: writer.on_train_batch_end(1), 20),
            (writer.on_test_begin, 4),
            (writer.on_test_end, 30),
            (lambda: writer.on_epoch_end(0), 5),
        ):
            now += seconds
            event()
        return json.loads(run.timings.read_text())

    once = {"beginning": 10.0, "steps": 40.0, "validation": 30.0, "other": 12.0, "data": 6.0}
    assert train() == once
    assert train() == {name: pytest.approx(2 * seconds) for name, seconds in once.items()}
