"""A training as a whole, within one process."""

import errno
import os

import keras
import pytest
import tensorflow as tf
from helpers import refused

from keras_crosscoop import config, training
from keras_crosscoop.runs import Run

TINY = {
    "model": {"top": "tiny_xception", "bottom": "tiny_resnet", "width": 8, "weights": None},
    "data": {"name": "folder", "crop_size": 32},
    "train": {"batch_size": 4, "epochs": 1},
}


def settings_of(folder, **train):
    return config.settings(TINY, {"data": {"dir": str(folder)}, "train": train})


@pytest.mark.parametrize(
    ("deterministic", "gpus", "expected"),
    [(None, [], True), (None, ["GPU:0"], False), (False, [], False), (True, ["GPU:0"], True)],
)
def test_on_cpus_the_same_bits_are_the_default(monkeypatch, make_folder, tmp_path, deterministic, gpus, expected):
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
        training.fit(settings_of(folder, deterministic=deterministic), tmp_path / "run")
    assert bool(asked) == expected


@pytest.mark.parametrize(("steps", "remedy"), [(1, "go on by `crosscoop-tf fit --resume "), (100, "train again")])
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
