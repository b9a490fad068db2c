"""The loop trains as Keras's `fit`; stopped anywhere and resumed, it ends with the same bits."""

import csv
import math
import signal
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import assert_equal
from micro import micro_pair

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.errors import Interrupted
from keras_crosscoop.training import SGD, AdamW, loop
from keras_crosscoop.training.callbacks import KeepBest, WriteHistory
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.checkpoint_manager import CheckpointManager
from keras_crosscoop.training.loop import train
from keras_crosscoop.training.schedule import Polynomial
from keras_crosscoop.training.state import values, variables

EPOCHS, STEPS, VALIDATION_STEPS = 3, 3, 2
SIZE = 8


network = partial(micro_pair, size=SIZE)


def compiled(model, ema_decay=0.9, kind=SGD, **options):
    rate = Polynomial(0.05, EPOCHS * STEPS, 0.9)
    model.compile(kind(rate, ema_decay=ema_decay), run_eagerly=True, **options)
    return model


def sample(number, size=SIZE):
    """A batch of two."""
    rng = np.random.default_rng(number)
    image = rng.uniform(0, 2, (2, size, size, 3)).astype("float32")
    return image, (image[..., 0] > 1).astype("uint8") + (image[..., 1] > 1)


def batches(start=0, size=SIZE):
    number = start
    while True:
        yield tuple(map(tf.constant, sample(number, size)))
        number += 1


def validation(size=SIZE):
    images, labels = (np.concatenate(parts) for parts in zip(sample(100, size), sample(101, size), strict=True))
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)


def evaluated(model, batches):
    """Returns a validation by Keras alone."""

    def validate(callbacks, _):
        return model.evaluate(batches, steps=VALIDATION_STEPS, callbacks=callbacks, verbose=0, return_dict=True)

    return validate


class FakeRun:
    """A folder for the best weights and the history."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.weights, self.history = folder / "best.npz", folder / "history.csv"

    def save_weights(self, model):
        np.savez(self.weights, **values({weight.path: weight for weight in model.trainable_variables}))


class At(keras.callbacks.Callback):
    """Does something when something is over, such as ("train_batch", 4): the fourth training batch."""

    def __init__(self, what=None, count=0, act=None):
        super().__init__()
        self.moment, self.act = (what, count), act
        self.counts = {}

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def _count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1
        if (what, self.counts[what]) == self.moment:
            self.act()

    def on_train_batch_end(self, batch, logs=None):
        self._count("train_batch")

    def on_test_begin(self, logs=None):
        self._count("test_start")

    def on_test_batch_end(self, batch, logs=None):
        self._count("test_batch")

    def on_epoch_end(self, epoch, logs=None):
        self._count("epoch")


def trained(folder, model, at=None, patience=None, validate_every=2, size=SIZE, **intervals):
    """Trains to the end, or to where `at` stops it, from the last checkpoint if there is one; gives the callbacks."""
    run, at = FakeRun(folder), at or At()
    best, history = KeepBest(run, patience), WriteHistory(run)
    callbacks = [best, history, at]
    manager = CheckpointManager(
        model,
        CheckpointFiles(folder / "checkpoints"),
        callbacks,
        writes=True,
        files=lambda step: [str(step)],
        **intervals,
    )
    manager.resume()
    with manager:
        train(
            model,
            batches(manager.step, size),
            evaluated(model, validation(size)),
            keras.callbacks.CallbackList([*callbacks, manager], model=model, epochs=EPOCHS, steps=STEPS),
            manager,
            epochs=EPOCHS,
            steps=STEPS,
            validate_every=validate_every,
        )
    return SimpleNamespace(best=best, history=history, at=at, manager=manager)


def results(folder, model, done):
    """All that a training leaves."""
    run = FakeRun(folder)
    with run.history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(run.weights) as best:
        kept = dict(best)
    return variables_of(model), kept, rows, (done.best.best, done.best.worse), done.manager.position


def variables_of(model):
    return values(variables(model))


def assert_same(actual, expected):
    for one, other in zip(actual[:2], expected[:2], strict=True):
        assert_equal(one, other)
    assert actual[2:] == expected[2:]


@pytest.fixture(scope="module")
def straight(tmp_path_factory, request):
    """What a training leaves that nothing stopped; by SGD, or by another optimizer."""
    kind = getattr(request, "param", SGD)
    folder, model = tmp_path_factory.mktemp("straight"), compiled(network(), kind=kind)
    return results(folder, model, trained(folder, model))


def terminate():
    signal.raise_signal(signal.SIGTERM)


def test_training_changes_all_that_is_compared(straight):
    """Weights, statistics, random states, velocities, averages, losses; and each epoch has its row."""
    after, kept, rows, (best, _), position = straight
    before = variables_of(compiled(network()))
    unchanged = {name for name, value in before.items() if np.array_equal(value, after[name])}
    assert {name.split(" ")[1] for name in unchanged} == {"loss/total", "loss/count"}  # Keras's own, unused
    assert {name.split(" ")[1] for name in after} >= {"seed_generator/seed_generator_state", "sgd/top_bn_gamma_average"}
    assert {name.split(" ")[1] for name in after} >= {"sgd/bottom_bn_moving_variance_average"}
    assert len(kept) == 12
    assert [(row["epoch"], row["val_loss"] != "") for row in rows] == [("1", False), ("2", True), ("3", True)]
    assert best == max(float(row["val_ensemble_mean_iou"]) for row in rows[1:])
    assert position == (EPOCHS, 0)


STOPS = {
    "after the first step": (("train_batch", 1), 1, (0, 1)),
    "amid an epoch": (("train_batch", 5), 5, (1, 2)),
    "after an epoch without validation": (("epoch", 1), 3, (1, 0)),
    "before validation": (("train_batch", 6), 6, (1, 3)),
    "as validation begins": (("test_start", 1), 6, (1, 3)),
    "amid validation": (("test_batch", 3), 9, (2, 3)),
    "after an epoch with validation": (("epoch", 2), 6, (2, 0)),
    "at the end": (("epoch", 3), 9, (3, 0)),
}


QUICK = ("amid validation", "after an epoch with validation")


@pytest.mark.parametrize(
    ("stop", "kind", "straight"),
    [
        *(pytest.param(stop, SGD, SGD, marks=[] if stop in QUICK else pytest.mark.slow) for stop in STOPS),
        ("amid an epoch", AdamW, AdamW),
    ],
    indirect=["straight"],
)
def test_goes_on_to_the_same_end(tmp_path, straight, stop, kind):
    """In a model that began otherwise."""
    moment, steps, position = STOPS[stop]
    with pytest.raises(Interrupted, match=rf"saved at step {steps}\. ") as error:
        trained(tmp_path, compiled(network(), kind=kind), At(*moment, terminate))
    assert error.value.signal == signal.SIGTERM
    model = compiled(network(seed=1), kind=kind)
    stored = CheckpointManager(model, CheckpointFiles(tmp_path / "checkpoints"), [], writes=False, files=list)
    stored.resume()
    assert (stored.position, stored.step) == (position, steps)
    assert_same(results(tmp_path, model, trained(tmp_path, model)), straight)


def crash():
    raise ZeroDivisionError


def test_goes_on_from_before_a_crash(tmp_path, straight):
    """After the best weights and the history had gone further than the last checkpoint."""
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path, compiled(network()), At("train_batch", 8, crash), every_steps=4)
    assert [path.stem for path in CheckpointFiles(tmp_path / "checkpoints").files] == ["000000004"]
    model = compiled(network(seed=1))
    assert_same(results(tmp_path, model, trained(tmp_path, model)), straight)


@pytest.mark.slow
def test_is_stopped_again_and_again(tmp_path, straight):
    """After every second step: rows and counts are handed on through all processes."""
    for process in range(4):
        with pytest.raises(Interrupted):
            trained(tmp_path, compiled(network(seed=process)), At("train_batch", 2, terminate))
    model = compiled(network(seed=4))
    done = trained(tmp_path, model)
    assert done.at.counts["train_batch"] == 1
    assert_same(results(tmp_path, model, done), straight)


@pytest.mark.slow
def test_a_real_network_is_resumed(tmp_path):
    """Its variables keep their names in a process that has built other networks."""

    def model(seed):
        keras.utils.set_random_seed(seed)
        return compiled(DeepLabV3Plus(3, backbone="micro_3x3", decoder_channels=8, weights=None))

    first = model(0)
    trained(tmp_path, first, size=32, every_steps=8, validate_every=3)
    (tmp_path / "checkpoints" / "000000009.npz").unlink()
    second = model(1)
    done = trained(tmp_path, second, size=32, validate_every=3)
    assert done.at.counts["train_batch"] == 1
    assert_equal(variables_of(second), variables_of(first))


@pytest.mark.parametrize(("every", "last", "expected"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 2, [2])])
def test_the_last_epoch_and_every_so_many_are_validated(tmp_path, monkeypatch, every, last, expected):
    model, epochs = compiled(network(), ema_decay=None), []
    monkeypatch.setattr(loop, "train_function", lambda model: lambda batches: {"loss": 0.0})
    monkeypatch.setattr(model, "mean_losses", dict)
    manager = CheckpointManager(model, CheckpointFiles(tmp_path), [], writes=False, files=list)
    callbacks = keras.callbacks.CallbackList([manager], model=model)

    def validate(callbacks, between):
        assert between == manager.heed_signals
        epochs.append(manager.position[0] + 1)
        return {}

    train(model, iter(()), validate, callbacks, manager, epochs=last, steps=1, validate_every=every)
    assert epochs == expected


def test_patience_ends_it_for_good(tmp_path, monkeypatch):
    """A resumed run finds that it had ended."""
    model = compiled(network())
    scores = iter([0.5, 0.4])
    monkeypatch.setattr(model, "evaluate", lambda *_, **__: {"ensemble_mean_iou": next(scores)})
    done = trained(tmp_path, model, patience=1, validate_every=1)
    assert (done.at.counts, done.manager.position) == ({"train_batch": 6, "epoch": 2}, (EPOCHS, 0))
    assert (done.best.best, done.best.worse, len(done.history.rows)) == (0.5, 1, 2)

    after = compiled(network(seed=1))
    done = trained(tmp_path, after, patience=1, validate_every=1)
    assert done.at.counts == {}
    assert_equal(variables_of(after), variables_of(model))


class Recorder(keras.callbacks.Callback):
    """Records all calls of its methods; may stop the training."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.calls, self.stop_after, self.steps = [], stop_after, 0

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def record(*arguments, **named):
            logs = arguments[-1] if isinstance(arguments[-1], dict) else named.get("logs")
            number = next((argument for argument in arguments if isinstance(argument, int)), None)
            values = {} if name == "on_train_end" else {key: float(value) for key, value in (logs or {}).items()}
            self.calls.append((name, number, values))
            if name == "on_train_batch_end":
                self.steps += 1
                self.model.stop_training |= self.steps == self.stop_after

        return record


@pytest.mark.parametrize("stop_after", [None, 2])
def test_callbacks_are_called_as_by_keras(tmp_path, stop_after):
    """The same calls in the same order with the same logs, and the same weights at the end."""
    ours, keras_own = compiled(network(), ema_decay=None), compiled(network(), ema_decay=None)
    recorder = Recorder(stop_after)
    manager = CheckpointManager(ours, CheckpointFiles(tmp_path), [recorder], writes=False, files=list)
    train(
        ours,
        batches(),
        evaluated(ours, validation()),
        keras.callbacks.CallbackList([recorder, manager], model=ours),
        manager,
        epochs=EPOCHS,
        steps=STEPS,
        validate_every=2,
    )
    expected = Recorder(stop_after)
    signature = tuple(tf.TensorSpec(part.shape, part.dtype) for part in next(batches()))
    keras_own.fit(
        tf.data.Dataset.from_generator(batches, output_signature=signature),
        validation_data=validation(),
        validation_steps=VALIDATION_STEPS,
        validation_freq=[2, 3],
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        callbacks=[expected],
        shuffle=False,
        verbose=0,
    )
    assert recorder.calls == expected.calls
    assert manager.position == (EPOCHS, 0)
    assert_equal(variables_of(ours), variables_of(keras_own))


def test_several_steps_of_one_execution(tmp_path):
    """They are counted as steps, and stop together."""
    model = compiled(network(), steps_per_execution=3)
    with pytest.raises(Interrupted, match=r"saved at step 6\. "):
        trained(tmp_path, model, At("train_batch", 2, terminate))
    assert int(model.optimizer.iterations) == 6
    done = trained(tmp_path, compiled(network(seed=1), steps_per_execution=3))
    assert done.manager.step == 9
    assert [row["epoch"] for row in done.history.rows] == [1, 2, 3]


def test_averages_are_validated_and_kept(tmp_path):
    """Training continues with its own weights, whether they are validated or not."""
    seen = []
    model = compiled(network())
    at = At("test_start", 1, lambda: seen.append(values(dict(enumerate(model.trainable_variables)))))
    trained(tmp_path, model, at, validate_every=3)
    assert_equal(seen[0], values(dict(enumerate(model.optimizer.ema_weights))))
    with np.load(tmp_path / "best.npz") as kept:
        assert_equal(dict(enumerate(kept.values())), seen[0])

    other = compiled(network())
    trained(tmp_path / "other", other, validate_every=1)
    own, others = (values({w.path: w for w in trained.trainable_variables}) for trained in (model, other))
    assert_equal(own, others)
    assert any(not np.array_equal(one, two) for one, two in zip(own.values(), seen[0].values(), strict=True))


def test_a_diverged_training_ends_before_it_is_validated(tmp_path):
    model = compiled(network())
    at = At("train_batch", 4, lambda: model.trainable_variables[0].assign(math.nan * model.trainable_variables[0]))
    with pytest.raises(
        ValueError, match=r"at step 5: the loss is nan\..* batch: 4\. Last good checkpoint: .*000000003\.npz"
    ):
        trained(tmp_path, model, at, every_steps=3, validate_every=1)
    assert [path.stem for path in CheckpointFiles(tmp_path / "checkpoints").files] == ["000000003"]
    assert at.counts == {"train_batch": 5, "epoch": 1, "test_start": 1, "test_batch": 2}
