"""Labels made wrong on purpose are found again, and outlines drawn a little differently are not."""

import numpy as np
import pytest

from keras_crosscoop.evaluation.counts import BINS, Segmented
from keras_crosscoop.evaluation.label_errors import label_error_regions, rank
from keras_crosscoop.labels import IGNORE_LABEL

CLASSES = ("road", "sky", "car")


@pytest.fixture
def truth():
    ids = np.zeros((40, 60), np.uint8)
    ids[:15] = 1
    ids[25:35, 10:30] = 2
    return ids


def sure(classes, bin_number=BINS - 1):
    return Segmented(classes[None], np.full(classes.shape, bin_number, np.uint8))


def test_a_wrong_label_is_found_where_it_is(truth):
    labels = truth.copy()
    labels[25:35, 10:30] = 0  # the car was forgotten
    (region,) = label_error_regions("a.png", labels, sure(truth))
    assert (region.box, region.label, region.prediction) == ((10, 25, 20, 10), 0, 2)
    assert region.bins[-1] == region.bins.sum() == 200


def test_regions_of_other_classes_are_apart(truth):
    labels = truth.copy()
    labels[25:35, 10:20] = 0
    labels[25:35, 20:30] = 1
    found = {(region.label, region.box) for region in label_error_regions("a.png", labels, sure(truth))}
    assert found == {(0, (10, 25, 10, 10)), (1, (20, 25, 10, 10))}


def test_outlines_void_and_doubt_are_no_contradiction(truth):
    labels = truth.copy()
    labels[13:15] = 0  # two rows lower
    labels[25:35, 10:30] = IGNORE_LABEL
    assert label_error_regions("a.png", labels, sure(truth)) == []
    labels[25:35, 10:30] = 0
    assert label_error_regions("a.png", labels, sure(truth, BINS // 2 - 1)) == []
    assert len(label_error_regions("a.png", labels, sure(truth, BINS // 2))) == 1


def test_rank_goes_by_how_often_such_confidence_is_right(truth):
    """However confident the network is."""
    labels = truth.copy()
    labels[25:35, 10:30] = 0
    small = label_error_regions("small.png", labels, sure(truth, BINS - 1))
    labels[:15, :25] = 0
    large = label_error_regions("large.png", labels, sure(truth, BINS - 2))
    calibration = np.zeros((BINS, 3))
    calibration[BINS - 2], calibration[BINS - 1] = (1000, 520, 900), (1000, 1000, 980)
    found = rank(large + small, calibration, CLASSES, 2)
    assert found["regions"] == [
        {
            "image": "small.png",
            "box": [10, 25, 20, 10],
            "label": "road",
            "prediction": "car",
            "pixels": 200,
            "wrong": 200.0,
        },
        {
            "image": "large.png",
            "box": [0, 0, 25, 15],
            "label": "road",
            "prediction": "sky",
            "pixels": 375,
            "wrong": pytest.approx(195),
        },
    ]
    assert found["images"] == [
        {"image": "large.png", "wrong": pytest.approx(299)},  # with the car in it
        {"image": "small.png", "wrong": 200.0},
    ]


def test_a_network_that_is_mostly_wrong_suspects_nothing(truth):
    labels = truth.copy()
    labels[25:35, 10:30] = 0
    calibration = np.tile([1000, 500, 900], (BINS, 1))
    assert rank(label_error_regions("a.png", labels, sure(truth)), calibration, CLASSES, 2) == {
        "regions": [],
        "images": [],
    }
