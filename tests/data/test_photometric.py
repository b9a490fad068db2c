"""Photometric changes: their formulas, their probabilities, and nothing else."""

import io

import numpy as np
import pytest
import tensorflow as tf
from helpers import in_memory
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from keras_crosscoop.data import load_dataset, photometric
from keras_crosscoop.data.photometric import LUMA, Change, distort, jitter

RNG = np.random.default_rng(0)
NO_JITTER = tf.constant([0.5, 0.5, 0.5])
CHANGES = ("BLUR", "NOISE", "HUE", "GAMMA", "JPEG")


def test_jitter_changes_the_image_moderately_and_not_the_label():
    image, label = RNG.integers(60, 200, (32, 32, 3), np.uint8), RNG.integers(0, 12, (32, 32), np.uint8)
    settings = {"training": True, "repeat": True, "crop_size": 32, "scale": (1, 1), "flip": False}
    shifts = []
    for jittered, jittered_label in load_dataset(in_memory([(image, label)]), "train", **settings).take(100):
        np.testing.assert_array_equal(jittered_label, label)
        shifts.append(jittered.numpy().mean() - image.mean())
        slopes = np.polyfit(image.ravel(), jittered.numpy().ravel(), 1)
        assert 0.5 < slopes[0] < 1.6
    assert -35 < min(shifts) < -20
    assert 20 < max(shifts) < 35
    assert abs(np.mean(shifts)) < 5


@pytest.mark.parametrize(
    ("draws", "expected"),
    [
        ((0.5, 0.5, 0.5), lambda x: x),
        ((1.0, 0.5, 0.5), lambda x: x + 32),
        ((0.5, 0.0, 0.5), lambda x: 128 + 0.75 * (x - 128)),
        ((0.5, 0.5, 0.0), lambda x: 0.75 * x + 0.25 * (x @ np.array(LUMA))[..., None]),
        ((0.25, 1.0, 1.0), lambda x: 128 + 1.25 * (1.25 * x - 0.25 * (x @ np.array(LUMA))[..., None] - 128) - 16),
    ],
)
def test_jitter_follows_its_formula(draws, expected):
    """Brightness adds, contrast turns about mid-grey, saturation about each pixel's own grey; then clipped."""
    image = RNG.uniform(0, 255, (6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(jitter(image, tf.constant(draws)), np.clip(expected(image), 0, 255), atol=1e-3)


@pytest.fixture
def only(monkeypatch):
    """Makes `distort` apply one change, always, by a fixed amount; or none."""

    def fix(name=None, amount=0.0):
        for change in CHANGES:
            monkeypatch.setattr(photometric, change, Change(float(change == name), amount, amount))

    return fix


def smooth_image(size=40):
    return ndimage.gaussian_filter(RNG.uniform(0, 255, (size, size, 3)), (1, 1, 0)).astype(np.float32)


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image.round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), float)


@pytest.mark.parametrize(
    ("name", "amount", "expected", "tolerance"),
    [
        (None, 0.0, lambda x: x, 1e-3),
        ("BLUR", 0.8, lambda x: ndimage.gaussian_filter(x, (0.8, 0.8, 0), mode="nearest", radius=(3, 3, 0)), 1e-2),
        ("HUE", 25.0, lambda x: x @ Rotation.from_rotvec(np.radians(25) / np.sqrt(3) * np.ones(3)).as_matrix(), 1e-2),
        ("HUE", 120.0, lambda x: x[..., [1, 2, 0]], 1e-2),
        ("GAMMA", 1.4, lambda x: 255 * (x / 255) ** 1.4, 1e-2),
        ("JPEG", 30, lambda x: jpeg(x, 30), 4),
    ],
)
def test_changes_follow_their_formulas(only, name, amount, expected, tolerance):
    only(name, amount)
    image = smooth_image()
    changed = distort(image, NO_JITTER, [3, 4])
    np.testing.assert_allclose(changed, np.clip(expected(image.astype(float)), 0, 255), atol=tolerance)
    assert name is None or np.abs(changed - image).mean() > 0.5


def test_blur_keeps_an_even_image_up_to_its_border(only):
    only("BLUR", 1.0)
    image = np.full((2, 5, 3), 77, np.float32)
    np.testing.assert_allclose(distort(image, NO_JITTER, [0, 0]), image, rtol=1e-5)


def test_gamma_keeps_black_and_white(only):
    only("GAMMA", 0.7)
    np.testing.assert_allclose(distort(np.float32([[[0, 255, 0]]]), NO_JITTER, [0, 0]), [[[0, 255, 0]]], rtol=1e-5)


def test_noise_is_normal_and_new_for_each_seed(only):
    only("NOISE", 12.0)
    image = np.full((60, 60, 3), 128, np.float32)
    noise, other = (distort(image, NO_JITTER, [0, number]).numpy() - 128 for number in range(2))
    assert abs(noise.mean()) < 0.5
    assert noise.std() == pytest.approx(12, rel=0.03)
    np.testing.assert_allclose(np.quantile(noise / 12, [0.023, 0.159, 0.841, 0.977]), [-2, -1, 1, 2], atol=0.08)
    for left, right in ((noise, other), (noise[..., 0], noise[..., 1]), (noise[1:], noise[:-1])):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.05


def test_each_change_has_its_own_probability_and_range(monkeypatch):
    """Recorded over many samples: how often each change is applied, by which amounts, and independently."""
    amounts = {name: [] for name in CHANGES}

    def record(self, value, draws, change):
        name = next(name for name in CHANGES if getattr(photometric, name) is self)
        amounts[name].append(float(apply(self, tf.constant(np.nan), draws, lambda _, amount: amount)))
        return value

    apply = Change.apply
    monkeypatch.setattr(Change, "apply", record)
    for number in range(300):
        distort(tf.zeros((1, 1, 3)), NO_JITTER, [0, number])
    amounts = {name: np.array(values) for name, values in amounts.items()}
    for name, values in amounts.items():
        change, drawn = getattr(photometric, name), values[~np.isnan(values)]
        assert len(drawn) / 300 == pytest.approx(change.probability, abs=0.08)
        quartiles = change.smallest + np.array([0.25, 0.5, 0.75]) * (change.largest - change.smallest)
        span = change.largest - change.smallest
        np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.75]), quartiles, atol=0.16 * span)
    applied = ~np.isnan(list(amounts.values()))
    assert np.abs(np.corrcoef(applied)[np.triu_indices(5, 1)]).max() < 0.15


def test_strong_begins_like_weak(only):
    """The same jitter; without its other changes, the same bits."""
    only(None)
    image = smooth_image(16)
    draws = tf.constant([0.1, 0.8, 0.7])
    np.testing.assert_allclose(distort(image, draws, [1, 2]), jitter(image, draws), atol=1e-3)


def test_each_sample_of_a_stream_is_distorted_anew():
    """An even grey image stays even without noise, which comes in a tenth of the samples."""
    image, label = np.full((16, 16, 3), 128, np.uint8), np.zeros((16, 16), np.uint8)
    settings = {"training": True, "repeat": True, "crop_size": 16, "photometric": "strong", "scale": (1, 1)}
    stream = load_dataset(in_memory([(image, label)]), "train", **settings)
    crops = [crop for crop, _ in stream.take(300).as_numpy_iterator()]
    assert 15 <= sum(crop.std() > 0.5 for crop in crops) <= 50
    assert len({crop.tobytes() for crop in crops}) > 60
