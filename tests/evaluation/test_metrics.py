"""Metrics from counts whose results are known."""

import numpy as np
import pytest

from keras_crosscoop.evaluation.counts import Counts
from keras_crosscoop.evaluation.metrics import best_indices, compute_metrics, confidence_intervals


def test_intervals_of_two_images_reach_from_one_to_the_other():
    """A quarter of the resamples contains one image twice, and another quarter the other."""
    confusions = np.array([[[[8, 0], [0, 8]]], [[[4, 4], [4, 4]]]])
    intervals = confidence_intervals(confusions, ["top"], ["a", "b"])["top"]
    assert intervals["pixel_accuracy"] == pytest.approx([0.5, 1.0])
    assert intervals["mean_iou"] == pytest.approx([1 / 3, 1.0])
    assert intervals["per_class"] == {"a": pytest.approx([1 / 3, 1.0]), "b": pytest.approx([1 / 3, 1.0])}


def test_intervals_are_those_of_the_binomial_distribution():
    """Each image is wholly right or wholly wrong: scipy.stats.binom(100, 0.6).ppf([0.025, 0.975]) is 50 and 69."""
    confusions = np.array([[[[1, 0], [0, 0]]]] * 60 + [[[[0, 1], [0, 0]]]] * 40)
    interval = confidence_intervals(confusions, ["top"], ["a", "b"])["top"]["pixel_accuracy"]
    assert interval == pytest.approx([0.50, 0.69], abs=0.02)


def test_a_class_without_labels_does_not_enter_the_means():
    """Pixels that are predicted as this class count against the other."""
    boundaries = np.array([[4, 3, 5, 3], [2, 0, 0, 0]])
    counts = Counts(np.array([[[3, 1], [0, 0]]]), np.zeros((1, 15, 3)), np.zeros(4), boundaries[None])
    metrics = compute_metrics(counts, ["single"], ["a", "b"])["single"]
    assert metrics["per_class"]["b"] == {"iou": None, "accuracy": None, "dice": None, "boundary_f": None}
    assert metrics["mean_iou"] == metrics["frequency_weighted_iou"] == metrics["mean_accuracy"] == 0.75
    assert metrics["mean_dice"] == pytest.approx(6 / 7)
    assert metrics["mean_boundary_f"] == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_values_that_look_equal_are_equally_good():
    assert best_indices([0.5, 0.5004, None, 0.4]) == {0, 1}
    assert best_indices([0.5, 0.4], higher_is_better=False) == {1}
    assert best_indices([0.5, 0.5004]) == set()
    assert best_indices([None, 0.5]) == set()
