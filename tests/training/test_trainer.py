"""A training as a whole, within one process."""

import errno
import logging
import os
import random
import resource
import shutil
import signal
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf
from helpers import refused, runs_eagerly
from keras.src.backend.common import global_state
from PIL import Image, ImageFile
from tensorflow.python.eager import context
from tensorflow.python.framework import config as framework

from keras_crosscoop import config, dataset, training
from keras_crosscoop.runs import Run
from keras_crosscoop.system.locks import locked
from keras_crosscoop.training import builders, trainer

TINY = {
    "model": {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None},
    "data": {"name": "folder", "crop_size": 32},
    "train": {"batch_size": 4, "epochs": 1},
}


def settings_of(folder, **train):
    return config.settings(TINY, {"data": {"dir": str(folder)}, "train": train})


def state_of_process():
    """All that a library may be tempted to set for a whole process."""
    filters = list(map(str, warnings.filters))
    loggers = {name: logging.getLogger(name) for name in (None, "keras_crosscoop", "tensorflow", "absl", "PIL")}
    eager = context.context()
    return {
        "python": random.getstate(),
        "numpy": repr(np.random.get_state()),
        "tensorflow": (eager._seed, eager._rng and eager._rng.getstate()),
        "keras": [global_state.get_global_attribute(f"global_{name}") for name in ("random_seed", "seed_generator")],
        "determinism": framework.is_op_determinism_enabled(),
        "policy": (keras.config.dtype_policy().name, keras.config.floatx()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "warnings": filters,
        "logging": {name: (log.level, log.disabled, [*log.handlers]) for name, log in loggers.items()},
        "errors": np.geterr(),
        "strategy": tf.distribute.has_strategy(),
        "folder": os.getcwd(),  # noqa: PTH109
    }


def begin():
    """Seeds everything, and goes on a little."""
    keras.utils.set_random_seed(3)
    random.random()
    np.random.rand()


@pytest.fixture(autouse=True)
def builds_micro_networks_unless_slow(request):
    if not request.node.get_closest_marker("slow"):
        request.getfixturevalue("builds_micro_networks")


@pytest.fixture(autouse=True)
def process_is_as_it_was(monkeypatch):
    """Whatever a test trains, and however that ends."""
    begin()
    before = state_of_process()
    yield
    monkeypatch.undo()
    assert state_of_process() == before


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_random_numbers_go_on_as_if_nothing_had_been_trained(monkeypatch, make_folder, tmp_path, precision, threaded):
    """In a thread, too, where Python handles no signals."""

    def numbers():
        return random.random(), np.random.rand(), float(tf.random.uniform([])), float(keras.random.uniform([]))

    def train(*_, **__):
        seen.append((numbers(), framework.is_op_determinism_enabled()))

    def fit():
        done.append(training.fit(settings_of(data, precision=precision), tmp_path / "run"))

    seen, done, data = [], [], make_folder()
    monkeypatch.setattr(trainer, "train", train)
    keras.utils.set_random_seed(3)
    first = numbers()
    before = state_of_process()
    if threaded:
        thread = threading.Thread(target=fit)
        thread.start()
        thread.join()
    else:
        fit()
    assert len(done) == 1
    assert state_of_process() == before
    second = numbers()
    keras.utils.set_random_seed(3)
    assert (numbers(), numbers()) == (first, second)
    ((inside, deterministic),) = seen
    assert deterministic
    assert inside not in (first, second)
    begin()


@pytest.mark.parametrize(
    ("options", "gpus", "expected"),
    [
        ({}, [], True),
        ({}, ["GPU:0"], False),
        ({"deterministic": False}, [], False),
        ({"deterministic": True}, ["GPU:0"], True),
        ({"jit_compile": True}, [], False),  # Keras would leave it out
    ],
)
def test_on_cpus_the_same_bits_are_the_default(monkeypatch, make_folder, tmp_path, options, gpus, expected):
    class SeenError(Exception):
        pass

    asked = []

    def stop(*_):
        raise SeenError

    folder = make_folder()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    monkeypatch.setattr(keras.utils, "set_random_seed", stop)  # all that follows takes its time
    with pytest.raises(SeenError):
        training.fit(settings_of(folder, **options), tmp_path / "run")
    assert bool(asked) == expected


@runs_eagerly
@pytest.mark.parametrize(
    ("steps", "remedy"),
    [(1, "continue with `crosscoop-tf fit --resume "), (100, "train again")],
)
def test_a_full_disk_is_told_and_the_last_checkpoint_kept(monkeypatch, make_folder, tmp_path, steps, remedy):
    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = make_folder({"train": 8, "val": 2}, (40, 48))
    monkeypatch.setattr(Run, "save_weights", fill)
    folder = tmp_path / "run"
    message = refused(training.fit, settings_of(data, save_every=steps), folder)
    assert "The run cannot be written (No space left on device). Make room" in message
    assert remedy in message
    assert [path.name for path in folder.glob("checkpoints/*.npz")] == (
        ["000000001.npz", "000000002.npz"] if steps == 1 else []
    )
    assert folder.exists() == (steps == 1)


@runs_eagerly
def test_a_folder_removed_while_it_trains_is_told(monkeypatch, make_folder, tmp_path):
    def remove(model, batches, validate, callbacks, manager, **_):
        shutil.rmtree(tmp_path / "run")
        manager.save()

    monkeypatch.setattr(trainer, "train", remove)
    message = refused(training.fit, settings_of(make_folder()), tmp_path / "run")
    assert message.startswith("The run's folder was removed or renamed during training.")
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_still_full_is_told(monkeypatch, make_folder, tmp_path):
    """Also by TensorFlow, whose error the writer of TensorBoard's files raises."""

    def fill(folder):
        file = f"{folder}/events.out.tfevents.1.host.2.0.v2"
        raise tf.errors.ResourceExhaustedError(None, None, f"{file}; No space left on device\n\tCould not flush.")

    data = make_folder({"train": 8, "val": 2}, (40, 48))
    run = Run.create(tmp_path / "run", settings_of(data), dataset("folder", data))
    monkeypatch.setattr(tf.summary, "create_file_writer", fill)
    message = refused(training.resume, run.folder)
    assert message == (
        "The run cannot be written (No space left on device). Make room, then train again. "
        f"Received: {run.folder}/tensorboard/events.out.tfevents.1.host.2.0.v2"
    )


def test_a_run_that_trains_is_not_trained_twice(make_folder, tmp_path):
    """Of several machines, those that write nothing do not ask."""
    data = make_folder()
    run = Run.create(tmp_path / "run", settings_of(data), dataset("folder", data))
    with locked(run.folder, ""):
        before = sorted(run.folder.rglob("*"))
        message = refused(training.resume, run.folder)
        with trainer._exclusive(replace(run, writes=False)):
            pass
    assert message == (f"Another process is training the run. Wait for its end, or stop it. Received: {run.folder}")
    assert sorted(run.folder.rglob("*")) == before


def test_a_resumed_run_draws_rare_classes_from_the_same_pixels(make_folder, tmp_path, monkeypatch):
    """Without another look at the labels, unless their file is missing. Errors name the drawn files."""

    def train(model, batches, validation, callbacks, manager, **_):
        seen.append(([part.numpy() for part in next(batches)], manager.files(0)))

    seen, data = [], make_folder({"train": 4, "val": 2}, (40, 48))
    for index in range(4):
        label = np.zeros((40, 48), np.uint8)
        label[20:, 30:], label[:3, :3] = 1, 2 * (index == 2)
        Image.fromarray(label).save(data / f"masks/train/{index:03}.png")
    monkeypatch.setattr(trainer, "train", train)
    run = training.fit(config.settings(TINY, {"data": {"dir": str(data), "rare_classes": 1}}), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(builders, "sample_labels", None)
        training.resume(run.folder)
    run.class_positions.unlink()
    training.resume(run.folder)

    (images, labels), files = seen[0]
    assert (labels == 2).any(axis=(1, 2)).all()
    assert files == [str(data / "images/train/002.png")] * 4
    for (again, labels_again), files_again in seen[1:]:
        np.testing.assert_array_equal(again, images)
        np.testing.assert_array_equal(labels_again, labels)
        assert files_again == files
    assert not training.fit(settings_of(data), tmp_path / "plain").class_positions.exists()


def test_xla_is_not_deterministic(make_folder, tmp_path):
    both = settings_of(make_folder(), deterministic=True, jit_compile=True)
    assert "XLA's kernels are not deterministic" in refused(training.fit, both, tmp_path / "run")


@pytest.mark.slow
def test_a_run_needs_nothing_of_what_it_began_with_to_go_on(make_folder, tmp_path):
    data = make_folder({"train": 8, "val": 2}, (40, 48))
    first = training.fit(settings_of(data), tmp_path / "first")
    second = training.fit(settings_of(data, init_from=str(first.folder)), tmp_path / "second")
    shutil.rmtree(first.folder)
    listed = (second.folder / "init_from.csv").read_bytes()
    training.resume(second.folder)
    assert (second.folder / "init_from.csv").read_bytes() == listed


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"crop": 16_384, "batch_size": 4}, "A device would compute 2^31 logits or more at a time"),
        ({"crop": 16_384, "batch_size": 4, "accumulation_steps": 2}, None),
        (
            {"crop": 16_384, "batch_size": 1024, "accumulation_steps": 1024},
            "The crops of one batch alone take 1024.0 GiB",
        ),
        ({"crop": 513, "batch_size": 2048}, None),
    ],
)
def test_what_no_memory_holds_is_refused_before_a_folder_is_made(make_folder, monkeypatch, size, message):
    monkeypatch.setattr(trainer, "free_memory", lambda: 2**36)
    crop = size.pop("crop")
    settings = config.settings(TINY, {"data": {"dir": str(make_folder()), "crop_size": crop}, "train": size})
    if message is None:
        trainer._check_batch(settings, dataset("folder", settings.data.dir))
        return
    error = refused(training.fit, settings, Path("run"))
    assert error.startswith(message)
    assert f"data.crop_size={crop}, train.batch_size={size['batch_size']}" in error
    assert not Path("run").exists()


def test_epochs_without_end_take_no_memory_and_patience_ends_them(make_folder, tmp_path):
    """And at almost no rate of learning, nothing gets better."""
    settings = settings_of(make_folder(), epochs=10**9, patience=1, learning_rate=1e-30, batch_norm="frozen")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**33, hard))
    try:
        run = training.fit(settings, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert len(run.history.read_text().splitlines()) == 3


@runs_eagerly
def test_diverged_weights_are_not_kept_as_the_best(make_folder, tmp_path):
    """They are checked before validation, as the loss is from before the step."""

    class Ruin(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                bias = next(v for v in self.model.trainable_variables if "top_backbone/bias" in v.path)
                bias.assign(np.full(bias.shape, np.nan))

    data = make_folder({"train": 8, "val": 2}, (40, 48))
    message = refused(training.fit, settings_of(data), tmp_path / "run", [Ruin()])
    assert message.startswith("Training diverged between steps 1 and 2: weights are not finite.")
    assert not (tmp_path / "run").exists()


@runs_eagerly
def test_a_complete_run_is_not_continued(make_folder, tmp_path, caplog):
    run = training.fit(settings_of(make_folder()), tmp_path / "run")
    weights = run.weights.read_bytes()
    with caplog.at_level(logging.INFO):
        training.resume(run.folder)
    assert "Training is complete, at step 1. `fit --resume` only evaluates the run again." in caplog.messages
    assert not any("continues" in message for message in caplog.messages)
    assert run.weights.read_bytes() == weights
