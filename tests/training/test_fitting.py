"""A training as a whole, within one process."""

import keras
import pytest
import tensorflow as tf

from keras_crosscoop import config, training

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
