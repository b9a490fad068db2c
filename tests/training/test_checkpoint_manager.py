"""Checkpoints are written at intervals, at the end and after signals, but never of a diverged training."""

import math
import os
import signal
import threading
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from helpers import refused

from keras_crosscoop.errors import Interrupted
from keras_crosscoop.training import checkpoint_manager
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.checkpoint_manager import CheckpointManager


class Model:
    """One of two weights, which a step counts up."""

    def __init__(self, steps_per_execution=1):
        self.weight = keras.Variable([0.0, 0.0], name="weight")
        self.variables = [self.weight]
        self.optimizer = keras.optimizers.SGD(momentum=0.9, name="sgd")
        self.optimizer.build(self.variables)
        self.metrics = [keras.metrics.Sum(name="loss")]
        self.steps_per_execution = steps_per_execution

    def step(self):
        self.weight.assign_add([1.0, 1.0])
        self.metrics[0].update_state(0.5)


def files(step):
    return [f"/data/{step}a.png", f"/data/{step}b.png"]


def manager_of(folder, model, *callbacks, writes=True, **intervals):
    return CheckpointManager(model, CheckpointFiles(folder), callbacks, writes=writes, files=files, **intervals)


def train(manager, steps, epoch=0):
    """Steps to the end, and the numbers of the checkpoints after each."""
    after_steps = []
    for step in range(steps):
        manager.segmenter.step()
        manager.after_step(epoch, step + 1, 0.5)
        after_steps.append(saved(manager))
    return after_steps


def saved(manager):
    return [int(path.stem) for path in manager.checkpoints.files]


def resumed(folder):
    """The weight, and the manager, of a process that begins anew."""
    model = Model()
    manager = manager_of(folder, model)
    manager.resume()
    return model.weight.numpy().tolist(), manager


def test_saves_every_few_steps(tmp_path):
    manager = manager_of(tmp_path, Model(), every_steps=3)
    assert train(manager, 7) == [[], [], [3], [3], [3], [6, 3], [6, 3]]
    weight, after = resumed(tmp_path)
    assert (weight, after.position, after.step) == ([6, 6], (0, 6), 6)


def test_counts_from_the_last_save(tmp_path):
    """Whatever made it; and a resumed training from where it goes on."""
    manager = manager_of(tmp_path, Model(), every_steps=3)
    train(manager, 2)
    manager.save()
    assert train(manager, 3) == [[2], [2], [5, 2]]
    after = manager_of(tmp_path, Model(), every_steps=3)
    after.resume()
    assert train(after, 3) == [[5, 2], [5, 2], [8, 5]]


def test_saves_every_few_seconds(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=100.0)
    monkeypatch.setattr(checkpoint_manager, "time", clock)
    manager = manager_of(tmp_path, Model(), every_seconds=60)
    after_steps = []
    for clock.now in (130, 159, 160, 219, 221, 300):
        after_steps += train(manager, 1)
    assert after_steps == [[], [], [3], [3], [5, 3], [6, 5]]


def test_an_epochs_end_is_no_step(tmp_path):
    """It is saved where it is time, and then goes on with the next epoch."""
    manager = manager_of(tmp_path, Model(), every_steps=2)
    train(manager, 3)
    manager.after_step(1, 0)
    assert (manager.step, manager.position, saved(manager)) == (3, (1, 0), [2])
    train(manager, 1, epoch=1)
    assert resumed(tmp_path)[1].position == (1, 1)


def test_saves_at_the_end_alone_unless_told(tmp_path):
    with manager_of(tmp_path, Model()) as manager:
        assert train(manager, 3)[-1] == []
        manager.after_step(1, 0)
    assert saved(manager) == [3]
    assert resumed(tmp_path)[1].position == (1, 0)


def test_others_of_several_processes_never_write(tmp_path):
    with manager_of(tmp_path, Model(), every_steps=1, writes=False) as manager:
        train(manager, 3)
    assert list(tmp_path.iterdir()) == []


def test_steps_count_that_the_optimizer_left_out(tmp_path):
    """In float16 it does so where gradients are infinite; the data went on."""
    model = Model()
    manager = manager_of(tmp_path, model, every_steps=2)
    train(manager, 2)
    assert model.optimizer.iterations == 0
    assert resumed(tmp_path)[1].step == 2


def test_an_execution_of_several_steps_counts_as_these(tmp_path):
    manager = manager_of(tmp_path, Model(steps_per_execution=3), every_steps=6)
    manager.after_step(0, 3, 0.5)
    manager.after_step(0, 6, 0.5)
    assert saved(manager) == [6]
    message = refused(manager.after_step, 0, 9, math.nan)
    assert f": {', '.join(files(6) + files(7) + files(8))}. " in message


@pytest.fixture
def handlers():
    """Those of a shell's foreground, also where tests run in the background; they are the same afterwards."""
    shells = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in shells.items()}
    yield
    restored = {number: signal.getsignal(number) for number in shells}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert restored == shells


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_step(tmp_path, number):
    model = Model()
    manager = manager_of(tmp_path / "checkpoints", model)

    def run():
        with manager:
            train(manager, 2)
            os.kill(os.getpid(), number)
            model.step()  # which goes to its end
            manager.after_step(0, 3, 0.5)
            model.step()

    with pytest.raises(Interrupted) as error:
        run()
    assert error.value.signal == number
    assert str(error.value) == f"stopped and saved at step 3. Continue with: crosscoop-tf fit --resume {tmp_path}"
    weight, after = resumed(tmp_path / "checkpoints")
    assert (weight, after.position) == ([3, 3], (0, 3))


@pytest.mark.usefixtures("handlers")
def test_a_signal_does_not_wait_for_validation(tmp_path):
    """The losses of training are saved, not those that validation counts in their place."""
    model = Model()
    manager = manager_of(tmp_path, model)

    def run():
        with manager:
            train(manager, 2)
            manager.on_test_begin()
            model.metrics[0].reset_state()
            model.metrics[0].update_state(77.0)
            manager.on_test_batch_end(0)
            manager.on_test_begin()  # again, in windows: a device's memory was full
            os.kill(os.getpid(), signal.SIGTERM)
            manager.on_test_batch_end(1)
            train(manager, 1)

    with pytest.raises(Interrupted):
        run()
    _, after = resumed(tmp_path)
    assert after.position == (0, 2)
    assert float(after.segmenter.metrics[0].result()) == 1.0


def test_the_losses_before_validation_do_not_outlast_it(tmp_path):
    """What is saved in the next epoch are its own."""
    model = Model()
    manager = manager_of(tmp_path, model)
    train(manager, 2)
    manager.on_test_begin()
    model.metrics[0].reset_state()
    manager.after_step(1, 0)
    train(manager, 1, epoch=1)
    manager.save()
    assert float(resumed(tmp_path)[1].segmenter.metrics[0].result()) == 0.5


@pytest.mark.usefixtures("handlers")
def test_a_later_interrupt_does_not_wait(tmp_path, monkeypatch):
    manager = manager_of(tmp_path, Model())

    def run():
        with manager:
            for now in (1, 3):
                monkeypatch.setattr("time.monotonic", lambda now=now: now)
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert saved(manager) == []


@pytest.mark.usefixtures("handlers")
def test_an_error_saves_nothing_and_gives_signals_back(tmp_path):
    manager = manager_of(tmp_path, Model())

    def run():
        with manager:
            train(manager, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert saved(manager) == []


def test_other_threads_train_without_signals(tmp_path):
    """Python allows only the main thread to handle them."""
    files = []

    def run():
        with manager_of(tmp_path, Model()) as manager:
            train(manager, 2)
        files.extend(saved(manager))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert files == [2]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it(tmp_path, loss):
    manager = manager_of(tmp_path, Model(), every_steps=2)

    def run():
        with manager:
            train(manager, 2)
            manager.after_step(0, 3, 0.5)
            manager.after_step(0, 4, loss)

    message = refused(run)
    assert message.startswith(f"Training diverged at step 4: the loss is {loss}.")
    assert "files of the batch: /data/3a.png, /data/3b.png. " in message
    assert f"Last good checkpoint: {tmp_path / '000000002.npz'}. " in message
    assert saved(manager) == [2]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("where", ["weight", "velocity"])
@pytest.mark.parametrize("end", ["interval", "signal", "end"])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, where, end):
    """The loss, from before the step, is still a number."""
    model = Model()
    manager = manager_of(tmp_path, model, every_steps=2 if end == "interval" else math.inf)

    def run():
        with manager:
            train(manager, 1)
            ruined = model.weight if where == "weight" else model.optimizer.variables[-1]
            ruined.assign([1.0, math.nan])
            if end == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            manager.after_step(0, 2, 0.5)

    message = refused(run)
    assert message.startswith("Training diverged between steps 1 and 2: weights are not finite.")
    assert "/data/0a.png, /data/0b.png, /data/1a.png, /data/1b.png. " in message
    assert "Last good checkpoint: none. " in message
    assert saved(manager) == []


def test_an_error_names_the_last_files_of_many(tmp_path):
    manager = manager_of(tmp_path, (model := Model()))
    train(manager, 40)
    model.weight.assign([1.0, math.nan])
    message = refused(manager.check_weights)
    assert message.startswith("Training diverged between steps 1 and 40: ")
    assert "/data/24a.png, " in message
    assert "/data/39b.png. " in message
    assert "/data/23b.png" not in message


@pytest.mark.usefixtures("handlers")
def test_a_signal_at_the_very_end_counts(tmp_path):
    manager = manager_of(tmp_path, Model())

    def run():
        with manager:
            train(manager, 2)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="stopped and saved at step 2"):
        run()
    assert saved(manager) == [2]


def test_a_validation_may_measure_nan(tmp_path):
    """Figures begin anew with the next epoch; only weights matter."""
    model = Model()
    manager = manager_of(tmp_path, model)
    train(manager, 2)
    model.metrics[0].update_state(math.nan)
    manager.after_step(1, 0)
    manager.save()
    assert saved(manager) == [2]


class Counts(keras.callbacks.Callback):
    """Counts epochs, from 0 whenever a training begins, in a folder that it names when it gets the model."""

    def __init__(self, folder):
        super().__init__()
        self.folder = str(folder)

    def set_model(self, model):
        super().set_model(model)
        self.file = f"{self.folder}/train"

    def on_train_begin(self, logs=None):
        self.count = 0

    def on_epoch_end(self, epoch, logs=None):
        self.count += 1


def test_callbacks_go_on_in_their_new_folder(tmp_path):
    """They get their states back after they began anew."""

    def counted(folder, epochs):
        callback, model = Counts(folder), Model()
        manager = manager_of(tmp_path / "checkpoints", model, callback)
        manager.resume()
        callbacks = keras.callbacks.CallbackList([callback, manager], model=model)
        callbacks.on_train_begin()
        for epoch in range(epochs):
            callbacks.on_epoch_end(epoch)
        manager.save()
        return callback.count, callback.file

    assert counted("/old", 3) == (3, "/old/train")
    assert counted("/new", 2) == (5, "/new/train")


def test_a_run_without_checkpoint_begins(tmp_path):
    manager = manager_of(tmp_path / "none", Model())
    manager.resume()
    assert manager.position == (0, 0)
    assert np.all(manager.segmenter.weight.numpy() == 0)
