"""The content of parity.json, by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from export.networks import photographs

from keras_crosscoop.export import parity as module
from keras_crosscoop.export.parity import live, parity
from keras_crosscoop.export.runtimes import Exported

IMAGES = [np.full((2, 2, 3), number, np.uint8) for number in (0, 1)]
# What each of two images' pixels are in truth, to the exported network and, with what probability, to the live one.
LABELS = [[[0, 1], [255, 1]], [[0, 0], [0, 1]]]
CLASSES = [[[0, 1], [1, 0]], [[0, 0], [1, 1]]]
CONFIDENCE = [[[0.75, 0.5], [0.5, 0.5]], [[0.75, 0.75], [0.75, 1.0]]]
OF_FIRST = [[[0.75, 0.25], [0.25, 0.25]], [[0.75, 0.75], [0.75, 0.25]]]


def predict(image):
    number = int(image[0, 0, 0])
    return {"classes": np.array(CLASSES[number], np.uint8), "confidence": np.array(CONFIDENCE[number], np.float32)}


def live_probabilities(image):
    first = np.array(OF_FIRST[int(image[0, 0, 0])], np.float32)
    return np.stack([first, 1 - first], axis=-1)


def samples(labels=LABELS):
    return [(image, np.array(of_image, np.uint8)) for image, of_image in zip(IMAGES, labels, strict=True)]


class Called:
    """An exported network that is a function of one image."""

    def __new__(cls, function):
        return Exported(lambda images: {key: value[None] for key, value in function(images[0]).items()})


def test_figures_by_hand(monkeypatch):
    """Live classes are 0 1 / 1 1 and 0 0 / 0 1: six of eight are the same.

    Where 0 is predicted with 0.5, the live probability is 0.25; where 1 is predicted with 0.75, it is 0.25.
    The live network is right on all seven labelled pixels. The exported one confuses two: its IoU of class 0 is 3/5, of
    class 1 it is 2/4.
    """
    times = iter([10, 11, 20, 23])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    seen = []
    result = parity(Called(predict), live_probabilities, samples(), 2, seen.append)
    assert result == {
        "images": 2,
        "agreement": 6 / 8,
        "largest_probability_difference": 0.5,
        "mean_iou": {"live": 1.0, "exported": pytest.approx((3 / 5 + 2 / 4) / 2)},
        "latency": {"median": 2.0, "p90": pytest.approx(1 + 0.9 * 2)},
    }
    assert seen == [1, 2]
    assert json.loads(json.dumps(result)) == result


def test_setting_up_is_not_timed(monkeypatch):
    """The first image is seen once more, before."""
    calls = []
    parity(
        Called(lambda image: calls.append(image[0, 0, 0].item()) or predict(image)), live_probabilities, samples(), 2
    )
    assert calls == [0, 0, 1]


def test_without_labels_there_is_no_mean_iou():
    result = parity(Called(predict), live_probabilities, samples(np.full((2, 2, 2), 255)), 2)
    assert result["mean_iou"] == {"live": None, "exported": None}
    assert result["agreement"] == 6 / 8


def test_classes_that_do_not_occur_do_not_count():
    def more(image):
        return np.concatenate([live_probabilities(image), np.zeros((2, 2, 1), np.float32)], axis=-1)

    assert parity(Called(predict), more, samples(), 3)["mean_iou"]["live"] == 1


def test_nan_agrees_with_nothing():
    """Of them the first class is the likeliest, which the live network may well tell everywhere."""

    def nan(image):
        return {"classes": np.zeros((2, 2), np.uint8), "confidence": np.full((2, 2), np.nan, np.float32)}

    result = parity(Called(nan), lambda image: np.ones((2, 2, 2), np.float32), samples(), 2)
    assert result["agreement"] == 0
    assert result["largest_probability_difference"] == 1
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize("output", ["bottom", "ensemble"])
def test_the_live_network_is_the_one_that_predicts(small_network, output):
    for size in ((40, 56), (33, 47)):
        image = photographs(1, *size, seed=20)[0]
        _, expected = small_network.segment(image, output, probabilities=True)
        np.testing.assert_allclose(live(small_network, output)(image), expected, atol=1e-5)


def test_at_a_size_the_live_network_sees_that_size(small_network):
    """Twice as large, each pixel is four alike; so they come back as they were."""
    image = photographs(1, 24, 16, seed=20)[0]
    large = image.repeat(2, 0).repeat(2, 1)
    expected = small_network.segment(image, probabilities=True)[1]
    result = live(small_network, "ensemble", (24, 16))(large)
    np.testing.assert_allclose(result, expected.repeat(2, 0).repeat(2, 1), atol=1e-5)
