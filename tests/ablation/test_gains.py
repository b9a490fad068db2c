"""Gains and their intervals against a bootstrap written out, and cases whose answer is known."""

import numpy as np
import pytest

from keras_crosscoop.ablation.gains import gain
from keras_crosscoop.evaluation.metrics import RESAMPLES, bootstrap, percentile_interval
from keras_crosscoop.metrics import iou_per_class


def confusions(images, right, seed=0):
    """Of images with two classes, each pixel right with that probability: `(N, 2, 2)`."""
    rng = np.random.default_rng(seed)
    matrices = np.zeros((images, 2, 2), int)
    for matrix in matrices:
        for label in range(2):
            hits = rng.binomial(500, right)
            matrix[label, label], matrix[label, 1 - label] = hits, 500 - hits
    return matrices


def mean_iou(matrix):
    correct = np.diag(matrix)
    return np.mean(correct / (matrix.sum(0) + matrix.sum(1) - correct))


def test_the_gain_is_the_difference_of_mean_ious():
    first, second = [confusions(20, 0.9, 1), confusions(20, 0.88, 2)], [confusions(20, 0.8, 3), confusions(20, 0.82, 4)]
    result = gain(first, second)
    expected = [mean_iou(a.sum(0)) - mean_iou(b.sum(0)) for a, b in zip(first, second, strict=True)]
    assert result.of_seeds == pytest.approx(expected)
    assert result.mean == pytest.approx(np.mean(expected))
    assert result.spread == pytest.approx(np.std(expected, ddof=1))


def test_the_interval_is_that_of_a_paired_bootstrap():
    first, second = [confusions(30, 0.9, 1), confusions(30, 0.88, 2)], [confusions(30, 0.8, 3), confusions(30, 0.82, 4)]
    rng, gains = np.random.default_rng(9), []  # other draws than ours: percentiles agree up to chance
    for _ in range(4 * RESAMPLES):
        images = rng.integers(0, 30, 30)
        gains.append(
            np.mean(
                [mean_iou(a[images].sum(0)) - mean_iou(b[images].sum(0)) for a, b in zip(first, second, strict=True)]
            )
        )
    low, high = np.quantile(gains, [0.025, 0.975])
    result = gain(first, second)
    assert result.interval == pytest.approx((low, high), abs=(high - low) / 8)


def test_images_that_are_hard_for_both_take_no_part():
    """The same image by image, but for a constant: the gain is sure, however much images differ."""
    hard = np.concatenate([confusions(10, 0.5, 1), confusions(10, 0.95, 2)])
    better = hard.copy()
    better[:, 0, 0] += better[:, 0, 1] // 10
    better[:, 0, 1] -= hard[:, 0, 1] // 10
    alone = percentile_interval(iou_per_class(bootstrap(hard)).mean(axis=-1))
    result = gain([better, better], [hard, hard])
    assert 0 < result.interval[0] < result.mean < result.interval[1]
    assert result.interval[1] - result.interval[0] < (alone[1] - alone[0]) / 5
    assert result.verdict == "ahead"


def test_what_is_unclear():
    same = confusions(20, 0.8, 1)
    assert gain([same, same], [same, same]).verdict == "unclear"
    good, bad = confusions(20, 0.9, 1), confusions(20, 0.7, 2)
    assert gain([good], [bad]).verdict == "unclear"  # a single seed tells nothing of seeds
    assert gain([good], [bad]).spread is None
    wide = gain([good, confusions(20, 0.71, 3)], [bad, confusions(20, 0.7, 4)])  # images agree, seeds do not
    assert wide.interval[0] > 0
    assert wide.spread > wide.mean
    assert wide.verdict == "unclear"
    assert gain([bad, bad], [good, good]).verdict == "behind"
