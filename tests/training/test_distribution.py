"""Two devices, and two machines, train what one device trains: the same weights, the same figures.

This file is also what runs on each of them: TensorFlow learns of devices and machines only when it starts.
"""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.slow

SETTINGS = {
    "data": {"name": "folder", "crop_size": 32, "check": False},  # much of it is void
    "model": {
        "top": "tiny_resnet",  # of fewer layers than tiny_xception
        "bottom": "tiny_resnet",
        "decoder_channels": 8,
        "weights": None,
        "dropout": [0, 0, 0],
    },
    "train": {"batch_size": 4, "epochs": 2, "learning_rate": 0.01, "ema_decay": 0.9, "clip_norm": 1.0},
    "loss": {"dice_weight": 0.5, "weights": {"bottom": 0.7}},
    "evaluation": {"window": 48},
}
COUNTED = re.compile(
    r"(_loss/(numerators|denominators)|/matrix)$"
)  # by each device for itself in validation, and summed when read
IMAGES = {"train": 10, "val": 3}  # of validation one too few for two devices, and then one that is seen in windows


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What every process of each kind ends with: variables, and the history that the kind wrote."""
    root = tmp_path_factory.mktemp("distribution")
    data = write_data(root / "data")
    from helpers import free_ports  # which is not there where this file runs by itself

    ports = free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = {"one": start(root, data, "one", strategy="none"), "two": start(root, data, "two", strategy="mirrored")}
    for index in range(2):
        environment = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        processes[f"machine {index}"] = start(root, data, "machines", f"-{index}", strategy="auto", **environment)
    errors = {}
    for name, process in processes.items():
        _, errors[name] = process.communicate(timeout=600)
    for name, process in processes.items():  # after all have ended
        assert process.returncode == 0, f"{name}: {errors[name][-4000:]}"
    arrays = {name: load(root / f"{name.replace('machine ', 'machines-')}.npz") for name in processes}
    assert {name: (bool(of.pop("on_any")), bool(of.pop("on_none"))) for name, of in arrays.items()} == {
        "one": (False, False),
        "two": (False, False),
        "machine 0": (True, False),  # what only the other one knows
        "machine 1": (True, False),
    }
    histories = {kind: read_history(root / kind / "history.csv") for kind in ("one", "two", "machines")}
    return arrays, histories


def read_history(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def load(file):
    with np.load(file) as arrays:
        return dict(arrays)


def write_data(root):
    """Noise in blocks. Much of some images is void: their pixels count as much as others', not their images."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "classes.txt").write_text("road\nsky\ncar\n")
    for split, count in IMAGES.items():
        for index in range(count + (split == "val")):
            blocks = (5, 6) if index < count else (5, 9)
            ids = rng.integers(0, 3, blocks, np.uint8).repeat(8, 0).repeat(8, 1)
            image = np.stack([80 * ids] * 3, -1) + rng.integers(0, 90, (*ids.shape, 3))
            ids[rng.random(ids.shape) < (0.9 if index % 2 else 0)] = 255
            for kind, array in (("images", image.astype(np.uint8)), ("masks", ids)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / kind / split / f"{index}.png")
    return root


def start(root, data, kind, suffix="", *, strategy, **environment):
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "dir": str(data)}}
    settings["train"] = {**SETTINGS["train"], "strategy": strategy}
    arguments = [
        sys.executable,
        __file__,
        kind,
        yaml.safe_dump(settings),
        str(root / kind),
        str(root / f"{kind}{suffix}"),
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def train(kind, settings, folder, output):
    """In a process of its own."""
    import keras
    import tensorflow as tf

    from keras_crosscoop import config, training
    from keras_crosscoop.training.state import values, variables
    from keras_crosscoop.training.strategy import min_over_machines, on_any_machine

    if kind == "two":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

    class Keep(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            flags = {"on_any": on_any_machine(output.endswith("-1")), "on_none": on_any_machine(False)}
            assert min_over_machines(2.0 + output.endswith("-1")) == 2.0
            np.savez(f"{output}.npz", **values(variables(self.model)), **flags)

    run = training.fit(config.settings(yaml.safe_load(settings)), Path(folder), [Keep()])
    assert run.writes == (not output.endswith("-1"))


@pytest.mark.parametrize("kind", ["two", "machine 0", "machine 1"])
def test_all_variables_are_those_of_one_device(results, kind):
    """Weights, averages, moving statistics, velocities and counts, after six steps."""
    arrays, _ = results
    assert arrays[kind].keys() == arrays["one"].keys()
    assert any("ema_weights" in name or "average" in name for name in arrays["one"])
    for name, expected in arrays["one"].items():
        if not COUNTED.search(name):
            np.testing.assert_allclose(arrays[kind][name], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_both_machines_hold_the_same_bits(results):
    arrays, _ = results
    for name, values in arrays["machine 0"].items():
        if not COUNTED.search(name):
            assert values.tobytes() == arrays["machine 1"][name].tobytes(), name


@pytest.mark.parametrize("kind", ["two", "machines"])
def test_the_figures_are_those_of_one_device(results, kind):
    """Losses are means over the pixels of all devices, and classes are counted once, wherever their images are."""
    _, histories = results
    assert len(histories["one"]) == 2
    for row, expected in zip(histories[kind], histories["one"], strict=True):
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-5), name


if __name__ == "__main__":
    train(*sys.argv[1:])
