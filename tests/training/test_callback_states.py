"""Callbacks go on as if nothing had happened, Keras's too, and remember nothing of where that was."""

import math
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.training.callback_states import CallbackStates
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.state import TrainingState


class Model:
    """What Keras's callbacks ask of one; the only weight is the number of the epoch."""

    def __init__(self, rate=1.0):
        self.optimizer = keras.optimizers.SGD(rate)
        self.stop_training = False
        self.weight = 0
        self.saved = []

    def get_weights(self):
        return [np.array([self.weight])]

    def set_weights(self, weights):
        self.weight = int(weights[0][0])

    def save_weights(self, path, overwrite):
        self.saved.append((self.weight, Path(path)))


class Process:
    """One that trains, with one callback."""

    def __init__(self, callback, model, state=None):
        self.callback, self.model = callback, model
        callback.set_model(model)
        self.states = CallbackStates([callback])
        callback.on_train_begin()
        self.states.set(state or {})

    def epochs(self, scores, first=0):
        """What there is to see after each epoch."""
        for epoch, score in enumerate(scores, start=first):
            self.model.weight = epoch + 1
            self.callback.on_epoch_end(epoch, {"val_loss": score})
            saved = [weight for weight, _ in self.model.saved]
            yield self.model.stop_training, float(self.model.optimizer.learning_rate), saved


def from_file(states, folder):
    checkpoints = CheckpointFiles(folder)
    checkpoints.save(TrainingState(0, 0, 1, {}, states))
    return checkpoints.load({}).callbacks


CASES = {  # a callback of Keras's, and scores that it would judge otherwise if it had forgotten those before
    "early": (lambda: keras.callbacks.EarlyStopping(patience=3), [0.5, 0.4, 0.6, 0.5, 0.45, 0.6]),
    "early by much": (lambda: keras.callbacks.EarlyStopping(min_delta=0.1, patience=2), [1, 0.95, 0.8, 0.75, 0.72]),
    "plateau": (lambda: keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5), [0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5]),
    "plateau by much": (
        lambda: keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.5, min_delta=0.1, cooldown=1),
        [1, 0.95, 0.92, 0.9, 0.89, 0.7, 0.65],
    ),
    "best": (
        lambda: keras.callbacks.ModelCheckpoint("best.weights.h5", save_best_only=True, save_weights_only=True),
        [0.5, 0.8, 0.4, 0.45, 0.3, 0.35],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_keras_callbacks_go_on_where_they_were(tmp_path, case):
    """After every epoch, through a file; the learning rate and the weights are the model's to keep."""
    make, scores = CASES[case]
    straight = list(Process(make(), Model()).epochs(scores))
    forgotten = []
    for done in range(1, len(scores)):
        before = Process(make(), Model())
        list(before.epochs(scores[:done]))
        state = from_file(before.states.get(), tmp_path)
        for remembered, results in ((state, straight), ({}, forgotten)):
            model = Model(float(before.model.optimizer.learning_rate))
            model.saved = list(before.model.saved)
            outcomes = list(Process(make(), model, remembered).epochs(scores[done:], done))
            if remembered:
                assert outcomes == results[done:]
            else:
                forgotten.append(outcomes == straight[done:])
    assert not all(forgotten)


def test_the_best_weights_are_remembered(tmp_path):
    before, after = (keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True) for _ in range(2))
    before = Process(before, Model())
    list(before.epochs([0.5, 0.2, 0.3]))
    after = Process(after, Model(), from_file(before.states.get(), tmp_path))
    assert list(after.epochs([0.4], 3))[-1][0]
    after.callback.on_train_end()
    assert after.model.weight == 2


def test_a_moved_run_writes_where_it_is(tmp_path):
    def make(folder):
        path = str(tmp_path / folder / "{epoch}.weights.h5")
        return keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True)

    before = Process(make("old"), Model())
    list(before.epochs([0.5, 0.4]))
    after = Process(make("new"), Model(), from_file(before.states.get(), tmp_path))
    list(after.epochs([0.45, 0.3], 2))
    assert after.model.saved == [(4, tmp_path / "new" / "4.weights.h5")]


class Custom(keras.callbacks.Callback):
    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)


def changed(before, after):
    """What is remembered of a callback whose attributes change so."""
    callback = Custom(**before)
    states = CallbackStates([callback])
    vars(callback).update(after)
    (state,) = states.get().values()
    return state


def test_nothing_is_remembered_of_what_did_not_change():
    attributes = {"folder": "/old", "rows": [{"a": 1}], "table": np.arange(3), "pair": (1, None), "on": True}
    assert changed(attributes, {}) == {}
    assert changed(attributes, {"rows": [{"a": 1}], "table": np.arange(3), "pair": (1, None)}) == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0, 1),
        (0, False),
        (1, 1.0),
        (None, 0),
        ("a", "b"),
        ([1], [1, 2]),
        ([1], (1,)),
        ([{"a": 1}], [{"a": 2}]),
        ({"a": 1}, {"b": 1}),
        (np.zeros(2), np.array([0.0, 1.0])),
        (np.zeros(2), np.zeros(2, "float32")),
        (np.zeros(2), np.zeros((1, 2))),
        (math.inf, math.nan),
    ],
)
def test_what_changed_is_remembered(before, after):
    for start in ({"value": before, "other": before}, {}):
        state = changed(start, {"value": after})
        assert state.keys() == {"value"}
        assert repr(state["value"]) == repr(after)


def test_changes_in_place_are_seen():
    """And those after the state was taken are not in it."""
    callback = Custom(rows=[{"epoch": 1}], counts={"bad": 0}, table=np.zeros(2), same=[])
    states = CallbackStates([callback])
    callback.rows.append({"epoch": 2})
    callback.counts["bad"] += 1
    callback.table[0] = 5
    (state,) = states.get().values()
    callback.rows.append({"epoch": 3})
    callback.table[1] = 6
    assert state.keys() == {"rows", "counts", "table"}
    assert state["rows"] == [{"epoch": 1}, {"epoch": 2}]
    assert state["counts"] == {"bad": 1}
    assert state["table"].tolist() == [5, 0]


def test_only_plain_values_are_remembered():
    objects = {
        "run": SimpleNamespace(),
        "path": Path("old"),
        "function": max,
        "mixed": [1, Path("old")],
        "by_number": {1: "a"},
        "objects": np.array([Path("old")]),
    }
    assert changed({}, {**objects, "plain": 1}) == {"plain": 1}


def test_what_keras_sets_is_not_remembered():
    callback = Custom()
    states = CallbackStates([callback])
    callback.set_model(Model())
    callback.set_params({"epochs": 3, "steps": 5})
    assert list(states.get().values()) == [{}]


class Own(keras.callbacks.Callback):
    """Says itself what it must not forget."""

    def __init__(self):
        super().__init__()
        self.count, self.given = 0, None

    def get_state(self):
        return {"counted": self.count}

    def set_state(self, state):
        self.given = state


def test_a_callback_can_say_itself():
    before, after = Own(), Own()
    states = CallbackStates([before])
    before.count = 3
    assert states.get() == {"Own 0": {"counted": 3}}
    CallbackStates([after]).set(states.get())
    assert (after.given, after.count) == ({"counted": 3}, 0)


def test_a_state_goes_to_the_same_of_its_class():
    """Whatever others stand before it, as they do in the one of several processes that writes."""
    first, second = Custom(count=0), Custom(count=0)
    states = CallbackStates([first, second])
    first.count, second.count = 1, 2

    own, moved, third, fourth = Own(), Custom(count=0), Custom(count=0), Custom(count=0)
    CallbackStates([own, moved, third, fourth]).set(states.get())
    assert own.given is None
    assert (own.count, moved.count, third.count, fourth.count) == (0, 1, 2, 0)


@pytest.mark.parametrize("state", [{"path": Path("a")}, {1: 2.0}, {"set": {1}}])
def test_what_no_checkpoint_can_hold_is_refused(state):
    class Strange(keras.callbacks.Callback):
        def get_state(self):
            return state

    message = refused(CallbackStates([Strange()]).get)
    assert "A callback's `get_state` must return numbers, strings" in message
    assert "from Strange" in message


def test_what_a_callback_does_not_take_is_told():
    """As of another version."""

    class Counts(keras.callbacks.Callback):
        def get_state(self):
            return {"count": 1}

        def set_state(self, state):
            self.count = state["count"]

    message = refused(CallbackStates([Counts()]).set, {"Counts 0": {"counted": 1}})
    assert message.startswith(
        "Callback Counts cannot be restored from the checkpoint (KeyError: 'count'). Continue with the version"
    )
