"""Wrong labels are found; boundaries that were drawn slightly differently are not."""

import numpy as np
import pytest

from keras_crosscoop.evaluation.counts import BINS, Segmentation
from keras_crosscoop.evaluation.label_errors import contradicted_regions, rank_label_errors
from keras_crosscoop.labels import IGNORE_LABEL

CLASSES = ("road", "sky", "car")


@pytest.fixture
def truth():
    ids = np.zeros((40, 60), np.uint8)
    ids[:15] = 1
    ids[25:35, 10:30] = 2
    return ids


def confident(classes, bin_number=BINS - 1):
    return Segmentation(classes[None], np.full(classes.shape, bin_number, np.uint8))


def test_a_wrong_label_is_found_with_its_box(truth):
    labels = truth.copy()
    labels[25:35, 10:30] = 0  # the car was forgotten
    (region,) = contradicted_regions("a.png", labels, confident(truth))
    assert (region.box, region.label, region.prediction) == ((10, 25, 20, 10), 0, 2)
    assert region.bins[-1] == region.bins.sum() == 200


def test_regions_of_different_classes_are_separate(truth):
    labels = truth.copy()
    labels[25:35, 10:20] = 0
    labels[25:35, 20:30] = 1
    regions = {(region.label, region.box) for region in contradicted_regions("a.png", labels, confident(truth))}
    assert regions == {(0, (10, 25, 10, 10)), (1, (20, 25, 10, 10))}


def test_boundaries_void_and_low_confidence_are_not_label_errors(truth):
    labels = truth.copy()
    labels[13:15] = 0  # two rows lower
    labels[25:35, 10:30] = IGNORE_LABEL
    assert contradicted_regions("a.png", labels, confident(truth)) == []
    labels[25:35, 10:30] = 0
    assert contradicted_regions("a.png", labels, confident(truth, BINS // 2 - 1)) == []
    assert len(contradicted_regions("a.png", labels, confident(truth, BINS // 2))) == 1


def test_the_rank_depends_on_the_accuracy_at_the_confidence(truth):
    """A higher confidence with a lower accuracy ranks lower."""
    labels = truth.copy()
    labels[25:35, 10:30] = 0
    small = contradicted_regions("small.png", labels, confident(truth, BINS - 1))
    labels[:15, :25] = 0
    large = contradicted_regions("large.png", labels, confident(truth, BINS - 2))
    calibration = np.zeros((BINS, 3))
    calibration[BINS - 2], calibration[BINS - 1] = (1000, 520, 900), (1000, 1000, 980)
    ranking = rank_label_errors(large + small, calibration, CLASSES, 2)
    assert ranking["regions"] == [
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
    assert ranking["images"] == [
        {"image": "large.png", "wrong": pytest.approx(299)},  # with the car in it
        {"image": "small.png", "wrong": 200.0},
    ]


def test_a_network_that_is_mostly_wrong_finds_no_label_errors(truth):
    labels = truth.copy()
    labels[25:35, 10:30] = 0
    calibration = np.tile([1000, 500, 900], (BINS, 1))
    assert rank_label_errors(contradicted_regions("a.png", labels, confident(truth)), calibration, CLASSES, 2) == {
        "regions": [],
        "images": [],
    }
