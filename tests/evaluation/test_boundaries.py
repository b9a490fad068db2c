"""Boundary matches, compared with all distances between all boundary pixels."""

import tracemalloc

import numpy as np
import pytest

from keras_crosscoop.evaluation.boundaries import _dilate, boundary_matches


def boundary(ids, c):
    height, width = ids.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if ids[y, x] == c
        and any(
            0 <= y + dy < height and 0 <= x + dx < width and ids[y + dy, x + dx] != c
            for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
    ]


def plain_matches(labels, classes, num_classes, tolerance):
    def near(these, those):
        return sum(any(np.hypot(y - v, x - u) <= tolerance for v, u in those) for y, x in these)

    rows = []
    for c in range(num_classes):
        predicted, true = boundary(classes, c), boundary(labels, c)
        rows.append([len(predicted), near(predicted, true), len(true), near(true, predicted)])
    return np.array(rows)


@pytest.mark.parametrize("tolerance", [0, 1, 4, 13, 10**6])
@pytest.mark.parametrize(("num_classes", "ids"), [(3, (0, 1, 2)), (140, (0, 63, 64, 139))])
def test_matches_equal_those_of_all_distances(tolerance, num_classes, ids):
    rng = np.random.default_rng(tolerance)
    labels, classes = rng.choice(ids, (2, 5, 6)).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    outputs = np.stack([np.roll(classes, 1, axis=1), np.roll(labels, 2, axis=0)])
    expected = np.stack([plain_matches(labels, output, num_classes, tolerance) for output in outputs])
    np.testing.assert_array_equal(boundary_matches(labels, outputs, num_classes, tolerance), expected)
    assert 0 < expected[0, :, 1].sum() < expected[0, :, 0].sum() or tolerance > 3


def test_every_pixel_of_a_disk_is_reached_and_no_other():
    """From a pixel in the corner of a wide and of a high image, up to tolerances beyond the diagonal."""
    for height, width in ((9, 31), (31, 9), (1, 40), (40, 1)):
        y, x = np.mgrid[:height, :width]
        for tolerance in (0, 1, 2, 5, 9, 31, 44):
            spread = _dilate(np.where((y == 0) & (x == 0), 5, 0).astype(np.uint32), tolerance)
            np.testing.assert_array_equal(spread, np.where(y**2 + x**2 <= tolerance**2, 5, 0))


def test_the_memory_does_not_depend_on_the_tolerance():
    labels = np.zeros((200, 300), np.uint8)
    labels[:, 150:] = 1
    outputs = np.roll(labels, 20, axis=1)[None]
    peaks, matches = [], []
    for tolerance in (1, 25, 300, 10**6):
        tracemalloc.start()
        matches.append(boundary_matches(labels, outputs, 2, tolerance))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.2 * min(peaks)
    np.testing.assert_array_equal(matches[2], matches[3])
    assert (matches[3] == matches[3][:, :, [0, 0, 2, 2]]).all()  # All pixels match.


def test_void_between_classes_hides_no_boundary():
    """PASCAL VOC draws it five pixels wide, with the boundary in the middle."""
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 10:] = 1
    classes = labels.copy()
    labels[:, 8:13] = 255
    np.testing.assert_array_equal(boundary_matches(labels, classes[None], 2, 3), 20)


def test_pixels_deep_inside_void_are_left_out():
    labels = np.full((40, 40), 255, np.uint8)
    labels[:, :10] = 0
    classes = np.zeros((40, 40), np.uint8)
    classes[:, 30:] = 1
    np.testing.assert_array_equal(boundary_matches(labels, classes[None], 2, 3), 0)
    np.testing.assert_array_equal(boundary_matches(np.full_like(labels, 255), classes[None], 2, 3), 0)
