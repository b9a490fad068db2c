"""A `.keras` file is the model: its outputs, its optimizer, its precision, in a new process too."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from models.networks import images, logits, single

from keras_crosscoop import CrossCoop, DeepLabV3Plus, precision
from keras_crosscoop.training import SGD, AdamW


def trained(pair, kind=SGD, **arguments):
    model = pair(top={"name": "micro_3x3", "channels": 12}, dropout=(0, 0, 0), output_stride=32, **arguments)
    schedule = keras.optimizers.schedules.PolynomialDecay(0.01, 10)
    model.compile(kind(schedule, weight_decay=0.03, head_lr_multiplier=5), run_eagerly=True)
    batch = images(33, 33, batch=2), np.random.default_rng(1).integers(0, 3, (2, 33, 33))
    model.train_on_batch(*batch)
    return model, batch


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_keras_file_is_the_model(pair, tmp_path, kind):
    """Equal outputs, bit by bit; and equal weights after one more step of training, so the optimizer came along."""
    model, batch = trained(pair, kind, topology="one_way", sites=("aspp", "decoder"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is CrossCoop
    for side, values in logits(model, batch[0]).items():
        np.testing.assert_array_equal(logits(loaded, batch[0])[side], values)
    assert loaded.get_config() == model.get_config()
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for m in (model, loaded):
        m.train_on_batch(*batch)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_keras_file_is_the_model_in_a_new_process(pair, tmp_path):
    model, (image, _) = trained(pair)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "expected.npz", image=image, **logits(model, image))
    script = """
import warnings
import keras
import numpy as np
import micro
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", module=r"keras\\.")
model = keras.saving.load_model("model.keras")
expected = np.load("expected.npz")
for side in ("top", "bottom"):
    np.testing.assert_allclose(model(expected["image"])[side], expected[side], rtol=1e-5, atol=1e-6)
assert model.optimizer.head_lr_multiplier == 5
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_single_network_comes_back_from_its_file(tmp_path):
    model, image = single(input_shape=(32, 48, 3), output_stride=8), images(32, 48)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is DeepLabV3Plus
    assert loaded.input_shape == (None, 32, 48, 3)
    np.testing.assert_array_equal(logits(loaded, image)["single"], logits(model, image)["single"])


def test_a_keras_file_keeps_the_precision(tmp_path):
    with precision.policy("mixed_bfloat16"):
        model, image = single(), images(32, 32)
    model.compile(keras.optimizers.SGD())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(loaded, image)["single"], logits(model, image)["single"])
    assert keras.config.dtype_policy().name == "float32"
