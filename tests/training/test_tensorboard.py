"""TensorBoard's own reader finds each value at its step, once.

This file is also what runs on two devices: TensorFlow splits a CPU in two only before it starts.
"""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.training import throughput
from keras_crosscoop.training.callback_states import CallbackStates
from keras_crosscoop.training.tensorboard import PANEL, WriteTensorBoard
from keras_crosscoop.training.throughput import SMOOTHING, Throughput

PALETTE = ((10, 20, 30), (0, 0, 250), (200, 0, 0))


class Model:
    """The top network sees the classes that are in red, the bottom one those in green."""

    sides = ("top", "bottom")

    def __init__(self, optimizer=None):
        self.optimizer = optimizer or keras.optimizers.SGD(0.1)
        self.optimizer.build([])

    def __call__(self, images, training):
        assert not training
        return {side: tf.one_hot(images[..., channel], 3) for channel, side in enumerate(self.sides)}


def run_in(folder, batch_size=4, execution=1):
    train = SimpleNamespace(batch_size=batch_size, steps_per_execution=execution)
    return SimpleNamespace(folder=folder, palette=PALETTE, settings=SimpleNamespace(train=train))


def drive(callback, *, steps, epochs, model=None, first=(0, 0), execution=1, step=lambda: None, stop=None, loss=float):
    """Tells a callback of a training as the loop does; the loss of step n is `loss(n)`. Validates the last epoch."""
    model = model or Model()
    done, at = first[1], first[0] * steps + first[1]
    model.optimizer.iterations.assign(at)
    callback.set_model(model)
    callback.set_params({"steps": steps, "epochs": epochs})
    callback.on_train_begin()
    for epoch in range(first[0], epochs):
        callback.on_epoch_begin(epoch)
        for batch in range(done, steps, execution):
            callback.on_train_batch_begin(batch)
            step()
            at += execution
            model.optimizer.iterations.assign(at)
            callback.on_train_batch_end(batch + execution - 1, {"loss": loss(at)})
            if at == stop:
                return
        done = 0
        measured = {"val_loss": loss(at) / 2} if epoch + 1 == epochs else {}
        callback.on_epoch_end(epoch, {"loss": loss(at)} | measured)
    callback.on_train_end()


def written(folder, examples=(), every=3, profile=False, **driven):
    execution = driven.get("execution", 1)
    with WriteTensorBoard(run_in(folder, execution=execution), examples, every, profile) as callback:
        drive(callback, **driven)


def events(folder):
    """Steps and values of each tag, as TensorBoard has them; of pictures, their pixels."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"), {"tensors": 0}).Reload()
    values = {}
    for tag in accumulator.Tags()["tensors"]:
        of_tag = [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        if tag.startswith("examples/"):
            values[tag] = [(step, tf.io.decode_png(value[2]).numpy()) for step, value in of_tag]
        else:
            values[tag] = [(step, float(value)) for step, value in of_tag]
    return values


@pytest.mark.parametrize(
    ("steps", "execution", "at"), [(7, 1, [3, 6, 7, 9, 12, 14]), (8, 2, [4, 6, 8, 10, 12, 16]), (2, 1, [2, 3, 4])]
)
def test_figures_come_every_three_steps_and_at_the_ends_of_epochs(tmp_path, steps, execution, at):
    """Once a step, also where both fall together; in executions of two steps, at the first that is not too early."""
    written(tmp_path, steps=steps, epochs=2, execution=execution)
    values = events(tmp_path)
    assert values["train/loss"] == [(step, float(step)) for step in at]
    assert values["validation/loss"] == [(2 * steps, float(steps))]
    assert values.keys() == {"train/loss", "train/learning_rate", "train/images_per_second", "validation/loss"}


@pytest.mark.parametrize("scaled", [False, True])
def test_the_learning_rate_is_that_of_the_schedule(tmp_path, scaled):
    """Also behind the optimizer that scales the losses of float16."""
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(0.5, 8, end_learning_rate=0, power=1))
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    written(tmp_path, steps=4, epochs=2, model=Model(optimizer))
    assert events(tmp_path)["train/learning_rate"] == [(3, 0.3125), (4, 0.25), (6, 0.125), (8, 0.0)]


class Clock:
    """Stands still unless it is moved."""

    now = 0.0

    def perf_counter(self):
        return self.now

    def move(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=clock.perf_counter))
    return clock


@pytest.mark.parametrize("execution", [1, 2])
def test_throughput_is_of_steps_but_the_first(tmp_path, clock, execution):
    """Four images a step: at 0.5 s a call, 8 a second; then at 2 s, 2 a second; and 1000 s go by between epochs."""
    seconds = iter([100, 0.5, 0.5, 0.5, 2, 2, 2, 2])

    class Slow(WriteTensorBoard):
        def on_epoch_begin(self, epoch, logs=None):
            clock.move(1000)

    with Slow(run_in(tmp_path, execution=execution), (), every=3 * execution) as callback:
        drive(callback, steps=4 * execution, epochs=2, execution=execution, step=lambda: clock.move(next(seconds)))
    rates = [(step / execution, rate / execution) for step, rate in events(tmp_path)["train/images_per_second"]]
    assert rates == [(3, 8.0), (4, 8.0), (6, 2.0), (8, 2.0)]


def test_a_recent_rate_forgets(clock):
    throughput, seconds = Throughput(6), [50.0, 1.0, 3.0, 20.0, 0.25]
    for duration in seconds:
        assert (throughput.recent is None) == (clock.now <= seconds[0])
        throughput.begin()
        clock.move(duration)
        throughput.end()
    counted = np.array(seconds[1:])  # the first is traced
    weights = np.exp(-np.append(np.cumsum(counted[:0:-1])[::-1], 0) / SMOOTHING)
    assert throughput.recent == pytest.approx(weights.sum() * 6 / (weights @ counted))
    assert throughput.take() == pytest.approx(4 * 6 / counted.sum())
    assert throughput.take() is None


def test_examples_are_shown_beside_truth_and_predictions(tmp_path):
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0], image[..., 1] = [[0, 1, 2], [2, 2, 2]], [[1, 1, 1], [0, 0, 2]]
    truth = np.array([[0, 2, 255], [1, 1, 0]], np.uint8)

    written(tmp_path, [(image, truth), (image[:1], truth[:1])], steps=2, epochs=2)

    table = np.array([*PALETTE, (0, 0, 0)], np.uint8)
    panels = [image, table[np.where(truth == 255, 3, truth)], table[image[..., 0]], table[image[..., 1]]]
    values = events(tmp_path)
    for tag, expected in {"examples/0": np.hstack(panels), "examples/1": np.hstack(panels)[:1]}.items():
        ((step, picture),) = values[tag]  # of the one validation
        assert step == 4
        np.testing.assert_array_equal(picture, expected)


def test_large_examples_shrink_without_new_colours(tmp_path):
    rng = np.random.default_rng(0)
    image, truth = np.zeros((300, 3 * PANEL, 3), np.uint8), rng.integers(0, 3, (300, 3 * PANEL), np.uint8)
    written(tmp_path, [(image, truth)], steps=1, epochs=1)
    ((_, picture),) = events(tmp_path)["examples/0"]
    assert picture.shape == (100, 4 * PANEL, 3)
    np.testing.assert_array_equal(picture[:, PANEL : 2 * PANEL], np.array(PALETTE)[truth[1::3, 1::3]])


@pytest.mark.parametrize(
    ("stop", "first"),
    [
        (12, (0, 8)),  # 9, 10 and 12 are done again
        (12, (1, 0)),  # 12 is; the end of the epoch at 10 is not
        (12, (0, 10)),  # the end of the epoch is
        (8, (0, 8)),  # nothing is
        (2, (0, 0)),
    ],
)
def test_a_resumed_run_takes_the_place_of_what_it_does_again(tmp_path, stop, first):
    example = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8)
    written(tmp_path, [example], steps=10, epochs=2, stop=stop)
    for file in (tmp_path / "tensorboard").iterdir():  # names go by the second
        file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))
    written(tmp_path, [example], steps=10, epochs=2, first=first, loss=lambda step: step + 0.5)

    anew = first[0] * 10 + first[1]
    values = events(tmp_path)
    at = [3, 6, 9, 10, 12, 15, 18, 20]
    assert [step for step, _ in values["train/loss"]] == at
    for step, loss in values["train/loss"]:
        assert loss == step + (0.5 if step > anew or (step == 10 and first == (0, 10)) else 0), step
    assert [step for step, _ in values["examples/0"]] == [20]


def profiled(monkeypatch, folder, steps, execution=1, epochs=4):
    """The steps done when a profile began and when it ended."""
    callback = WriteTensorBoard(run_in(folder, execution=execution), (), profile=True)
    seen = []

    class Profile(nullcontext):
        def __enter__(self):
            seen.append(int(callback.model.optimizer.iterations))

        def __exit__(self, *error):
            seen.append(int(callback.model.optimizer.iterations))

    monkeypatch.setattr(tf.profiler.experimental, "Profile", Profile)
    with callback:
        drive(callback, steps=steps, epochs=epochs, execution=execution)
    return seen


@pytest.mark.parametrize(
    ("steps", "execution", "expected"),
    [
        (100, 1, [10, 15]),
        (15, 1, [10, 15]),
        (12, 1, [12, 17]),  # five more would end in the next epoch, behind a validation
        (4, 1, [12, 16]),  # shorter than a profile
        (40, 20, [20, 40]),  # no less than one execution
        (2, 1, [6, 8]),  # over before ten
        (3, 3, [9, 12]),
    ],
)
def test_five_steps_of_one_epoch_are_profiled_after_ten(tmp_path, monkeypatch, steps, execution, expected):
    assert profiled(monkeypatch, tmp_path, steps, execution) == expected


def test_a_profile_holds_its_steps(tmp_path):
    written(tmp_path, steps=30, epochs=1, profile=True, step=lambda: tf.square(2.0))
    assert marked_steps(tmp_path) == [10, 11, 12, 13, 14]


def test_a_failed_training_leaves_its_profile_and_figures(tmp_path):
    numbers = iter(range(100))

    def fail():
        if next(numbers) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, steps=30, epochs=1, profile=True, step=fail)
    assert marked_steps(tmp_path) == [10, 11, 12]
    assert [step for step, _ in events(tmp_path)["train/loss"]] == [3, 6, 9, 12]


def marked_steps(folder):
    """The numbers of the steps that a profile shows."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    (file,) = (folder / "tensorboard").glob("plugins/profile/*/*.xplane.pb")
    steps = []
    for plane in xplane_pb2.XSpace.FromString(file.read_bytes()).planes:
        for event in (event for line in plane.lines for event in line.events):
            if plane.event_metadata[event.metadata_id].name == "train":
                stats = {plane.stat_metadata[stat.metadata_id].name: stat.int64_value for stat in event.stats}
                steps.append(stats["step_num"])
    return sorted(steps)


def test_it_has_no_state(tmp_path):
    """The counts of another process would be wrong here; see `CallbackStates`."""
    callback = WriteTensorBoard(run_in(tmp_path), ())
    states = CallbackStates([callback])
    callback._done = 9
    assert states.get() == {"WriteTensorBoard 0": {}}


def pictured(folder, pair):
    """Pictures of a real network: of noise, whose classes vary."""
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    written(folder, [(image, image[..., 0] // 100)], steps=1, epochs=1, model=pair)
    return image


@pytest.mark.slow
def test_one_replica_draws_for_all(tmp_path, pair):
    """On two devices, the pictures are those that one network's `segment` gives."""
    done = subprocess.run([sys.executable, __file__, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    model = pair(top="tiny_xception", bottom="tiny_resnet")  # as in `main`
    model.compile()
    image = pictured(tmp_path / "one", model)
    (_, one), (_, two) = (events(tmp_path / name)["examples/0"][0] for name in ("one", "two"))
    seen = [np.array(PALETTE)[model.segment(image, side)] for side in model.sides]
    np.testing.assert_array_equal(one[:, 112:], np.hstack(seen))
    np.testing.assert_array_equal(two, one)
    assert len(np.unique(one[:, 112:].reshape(-1, 3), axis=0)) > 1


def main(folder):
    """Draws in the scope of two devices."""
    from keras_crosscoop import CrossCoop

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        keras.utils.set_random_seed(0)
        model = CrossCoop(3, top="tiny_xception", bottom="tiny_resnet", decoder_channels=8, weights=None)
        model.compile(keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(0.1, 1)))
        pictured(Path(folder) / "two", model)


if __name__ == "__main__":
    main(sys.argv[1])
