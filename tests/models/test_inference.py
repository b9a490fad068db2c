"""Inference in windows, at scales and mirrored, against a slow and plain NumPy version; and that all ways agree."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import photograph, refused
from keras import layers
from micro import micro_pair

from keras_crosscoop.models import Segmenter, inference, memory
from keras_crosscoop.models.inference import Inference


@pytest.fixture(scope="module")
def model():
    """Both networks see the whole window and many classes, so that its borders and mirror images matter."""
    keras.utils.set_random_seed(0)
    image, logits = keras.Input((None, None, 3)), {}
    for side in ("top", "bottom"):
        x = layers.Rescaling(1 / 127.5, offset=-1)(image)
        x = layers.Conv2D(8, 7, padding="same", activation="relu")(x)
        x = layers.Add()([x, layers.GlobalAveragePooling2D(keepdims=True)(x)])
        logits[side] = layers.Conv2D(4, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=2))(x)
    return Segmenter(image, logits, {})


def plain_resized(picture, size):
    """Each new pixel from the four around its place, one after another."""
    height, width = picture.shape[:2]
    resized = np.zeros((*size, picture.shape[2]))
    for y in range(size[0]):
        for x in range(size[1]):
            row = min(max((y + 0.5) * height / size[0] - 0.5, 0), height - 1)
            column = min(max((x + 0.5) * width / size[1] - 0.5, 0), width - 1)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            down, across = row - top, column - left
            upper = (1 - across) * picture[top, left] + across * picture[top, right]
            lower = (1 - across) * picture[bottom, left] + across * picture[bottom, right]
            resized[y, x] = (1 - down) * upper + down * lower
    return resized


def plain_starts(length, window, overlap):
    stride = int(window * (1 - overlap))
    count = 1
    while (count - 1) * stride + window < length:
        count += 1
    return [round(number * (length - window) / (count - 1)) if number else 0 for number in range(count)]


def plain_probabilities(model, image, side, window, overlap, scales, flip):
    """By the definition: every pixel's sum over all windows that see it, divided by the sum of their weights."""

    def network(view):
        logits = np.asarray(model(view[None].astype("float32"))[side][0], "float64")
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    def look(view):
        return (network(view) + network(view[:, ::-1])[:, ::-1]) / 2 if flip else network(view)

    total = 0
    for scale in scales:
        size = [round(scale * length) for length in image.shape[:2]]
        scaled = plain_resized(image.astype("float64"), size)
        seen = [min(window or length, length) for length in size]
        sums, weights = np.zeros((*size, model.num_classes)), np.zeros((*size, 1))
        for y in plain_starts(size[0], seen[0], overlap):
            for x in plain_starts(size[1], seen[1], overlap):
                hats = [np.array([min(i + 1, n - i) for i in range(n)], "float64") for n in seen]
                weight = np.outer(*hats)[..., None]
                part = np.s_[y : y + seen[0], x : x + seen[1]]
                sums[part] += weight * look(scaled[part])
                weights[part] += weight
        total = total + plain_resized(sums / weights, image.shape[:2]) / len(scales)
    return total


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"window": 24}, marks=pytest.mark.slow),
        {"window": 20, "overlap": 0.6, "flip": True},
        {"window": 15, "overlap": 0.0},
        pytest.param({"scales": (0.5, 1.0, 1.75), "flip": True}, marks=pytest.mark.slow),
        {"window": 24, "scales": (0.5, 0.75, 1.4), "flip": True},
    ],
)
def test_as_plain_numpy(model, options):
    image = photograph(29, 37)[0].astype("uint8")
    actual = Inference(model, **options)(image)
    settings = {"window": None, "overlap": 1 / 3, "scales": (1.0,), "flip": False} | options
    expected = {side: plain_probabilities(model, image, side, **settings) for side in model.sides}
    expected["ensemble"] = (expected["top"] + expected["bottom"]) / 2
    assert actual.keys() == expected.keys()
    for output, probabilities in expected.items():
        np.testing.assert_allclose(actual[output], probabilities, atol=2e-5)
    alone = Inference(model)(image)["ensemble"]
    assert np.abs(alone - actual["ensemble"]).max() > 0.01, "the options change nothing here"


def test_windows_as_large_as_the_image_and_one_scale_are_the_whole_image(model):
    image = photograph(47, 62)[0].astype("uint8")
    logits = model.predict_on_batch(image[None].astype("float32"))
    whole = Inference(model)(image)
    for side in model.sides:
        np.testing.assert_allclose(whole[side], tf.nn.softmax(logits[side][0]), atol=1e-6)
    for window in (62, 63, 1000):
        windowed = Inference(model, window=window, scales=[1])(image)
        for output in model.output_choices:
            np.testing.assert_allclose(windowed[output], whole[output], atol=1e-6)


def test_only_rows_of_windows_are_held(model):
    """However high an image is, strips are no higher than a window."""
    image = photograph(150, 30)[0].astype("uint8")
    for scales in ([1.0], [0.5, 1.0]):
        heights = [strip.shape[1] for strip in Inference(model, window=32, scales=scales).strips(image)]
        assert sum(heights) == 150
        assert max(heights) <= 32 / min(scales)
        assert len(heights) > 2


@pytest.mark.parametrize("overlap", [0, 1 / 3, 0.5, 0.9])
def test_windows_cover_every_pixel_and_overlap(overlap):
    for length in range(1, 120):
        windows = inference._windows(length, 32, overlap)
        total = np.zeros(length)
        for window in windows:
            total[window.start : window.stop] += window.weights
        np.testing.assert_allclose(total, 1, atol=1e-6)
        for one, other in pairwise(windows):
            assert one.stop - other.start >= int(32 * overlap)


def test_a_single_network_has_one_output():
    assert Inference(micro_pair(sides=("single",)))(np.zeros((20, 30, 3), np.uint8)).keys() == {"single"}


def test_refused(model):
    assert "window=0" in refused(Inference, model, window=0)
    assert "overlap=1" in refused(Inference, model, overlap=1)
    assert "scales=(1, -1)" in refused(Inference, model, scales=[1, -1])
    assert "scales=()" in refused(Inference, model, scales=[])


def test_large_images_are_seen_in_windows_before_they_fill_the_memory(model, monkeypatch, caplog):
    """Tensors of 4.8 Gbytes do not fit into one, but windows do."""
    image = np.broadcast_to(np.uint8(0), (10000, 15000, 3))
    asked, seen = [], []
    monkeypatch.setattr(inference, "required_memory", lambda *of: asked.append(of) or memory.required_memory(*of))
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    monkeypatch.setattr(Inference, "_network", lambda self, view: seen.append(view.shape) or tf.zeros([2, 1, 1, 4]))

    class EnoughError(Exception):
        pass

    def three():
        if len(seen) == 3:
            raise EnoughError

    looking = Inference(model)
    with caplog.at_level("INFO"):
        for _ in range(2):
            with pytest.raises(EnoughError):
                next(looking.strips(image, three))
    assert seen == [(513, 513, 3)] * 3
    assert len(asked) == 1, "it takes seconds"
    [line] = [record.message for record in caplog.records if record.name.startswith("keras_crosscoop")]
    assert line.startswith("Images of 15000x10000 pixels need more memory than is free")
    assert not looking.is_whole(10000, 15000)
    assert looking.is_whole(2000, 2000)
    message = refused(next, Inference(model, window=9000).strips(image))
    assert message.endswith("Received: 15000x10000 pixels, window=9000")
    assert "evaluation.Inference(model, window=513)" in refused(model.segment, image)


def test_what_a_gpu_does_not_hold_is_seen_in_windows(model, monkeypatch):
    """It says so only when it is asked to."""
    image = photograph(40, 70)[0].astype(np.uint8)
    expected = Inference(model, window=32).classes(image)
    monkeypatch.setattr(inference, "WINDOW", 32)
    network = Inference(model)._network

    def small_alone(view):
        if max(view.shape) > 32:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return network(view)

    looking = Inference(model)
    monkeypatch.setattr(looking, "_network", small_alone)
    predictions = looking.classes(image)
    assert predictions.keys() == {"top", "bottom", "ensemble"}
    for output, classes in predictions.items():
        np.testing.assert_array_equal(classes, expected[output])
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, Inference(model, window=32)(image)[output].argmax(axis=-1))


@pytest.mark.parametrize(
    ("options", "size", "whole"),
    [
        ({"window": 40}, (40, 40), True),
        ({"window": 40}, (40, 41), False),
        ({"window": 40, "scales": (0.5, 1.5)}, (30, 20), False),
        ({}, (3000, 40), True),
    ],
)
def test_what_is_seen_as_a_whole(model, options, size, whole):
    assert Inference(model, **options).is_whole(*size) == whole


def test_memory_is_that_of_tensors_that_live_together():
    def function(image):
        one = tf.exp(image)  # 1,000 floats
        two = tf.concat([one, one], 0)  # 2,000; one goes after the next line
        three = tf.sin(one)
        return tf.reduce_sum(two) + tf.reduce_sum(three)

    graph = tf.function(function).get_concrete_function(tf.TensorSpec((1000,), tf.float32)).graph
    assert memory._peak(graph) == pytest.approx(4 * 4000, rel=0.01)


def test_too_little_memory_is_told(model, monkeypatch):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    looking = Inference(model)
    monkeypatch.setattr(looking, "_network", exhausted)
    message = refused(looking, np.zeros((20, 30, 3), np.uint8))
    assert "--window" in message
    assert message.endswith("Received: 30x20 pixels, window=None")
