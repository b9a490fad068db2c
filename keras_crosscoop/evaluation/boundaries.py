"""Counts matching boundary pixels of labels and predictions, for the boundary F-score.

Reference: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
"""

from math import isqrt

import numpy as np
from scipy import ndimage

from keras_crosscoop.labels import IGNORE_LABEL


def boundary_matches(labels: np.ndarray, outputs: np.ndarray, num_classes: int, tolerance: int) -> np.ndarray:
    """Counts the boundary pixels of each class, and the matched ones: integer `(O, C, 4)`.

    Columns: predicted pixels; matched predicted pixels; labelled pixels; matched labelled pixels. A pixel is matched if
    the other map has a boundary pixel of the same class within the tolerance.

    A pixel is on a boundary if one of its four neighbours has another class; the image's edge is not a boundary. Void,
    which many data sets draw between classes, counts as the nearest class within the tolerance. Void pixels farther
    from a class are left out.

    Args:
        labels: Class ids and 255 for void, uint8 `(H, W)`.
        outputs: Predicted class ids of O outputs, uint8 `(O, H, W)`.
        num_classes: C.
        tolerance: Largest Euclidean distance of a match, in pixels.

    Example:
        >>> labels = np.array([[0, 0, 1, 1]], np.uint8)
        >>> shifted = np.array([[[0, 1, 1, 1]]], np.uint8)
        >>> boundary_matches(labels, shifted, num_classes=2, tolerance=0)[0]
        array([[1, 0, 1, 0],
               [1, 0, 1, 0]])
        >>> boundary_matches(labels, shifted, num_classes=2, tolerance=1)[0]
        array([[1, 1, 1, 1],
               [1, 1, 1, 1]])
    """
    matches = np.zeros((len(outputs), num_classes, 4), np.int64)
    void, counted = labels == IGNORE_LABEL, True
    if void.all():
        return matches
    if void.any():
        depth, nearest = ndimage.distance_transform_edt(void, return_indices=True)
        labels, counted = labels[tuple(nearest)], depth <= tolerance
    # A pixel holds a set of classes, one bit for each, so that all classes are dilated at once.
    integer = np.uint32 if num_classes <= 32 else np.uint64
    label_boundary = _boundary(labels) & counted
    boundaries = [_boundary(classes) & counted for classes in outputs]
    for first in range(0, num_classes, integer(0).itemsize * 8):
        bits = _class_bits(first, num_classes, integer)
        near_labels = _dilate(np.where(label_boundary, bits[labels], integer(0)), tolerance)
        for output_matches, classes, boundary in zip(matches, outputs, boundaries, strict=True):
            near_output = _dilate(np.where(boundary, bits[classes], integer(0)), tolerance)
            output_matches[:, :2] += _count_matches(classes[boundary], near_labels[boundary], bits, num_classes)
            output_matches[:, 2:] += _count_matches(
                labels[label_boundary], near_output[label_boundary], bits, num_classes
            )
    return matches


def _count_matches(ids: np.ndarray, near: np.ndarray, bits: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts for each class that has a bit its pixels, and its pixels with the same class nearby: `(C, 2)`."""
    own = bits[ids]
    return np.stack([np.bincount(ids[kept != 0], minlength=num_classes) for kept in (own, own & near)], axis=1)


def _boundary(ids: np.ndarray) -> np.ndarray:
    boundary = np.zeros(ids.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = ids[one] != ids[other]
        boundary[one] |= differs
        boundary[other] |= differs
    return boundary


def _class_bits(first: int, num_classes: int, integer: type[np.unsignedinteger]) -> np.ndarray:
    """Returns the bit of each class id, `(256,)`: 0 for ids before `first`, and for ids beyond the integer's bits."""
    bits = np.zeros(IGNORE_LABEL + 1, integer)
    count = min(num_classes - first, integer(0).itemsize * 8)
    bits[first : first + count] = integer(1) << np.arange(count, dtype=integer)
    return bits


def _dilate(bits: np.ndarray, radius: int) -> np.ndarray:
    """Combines the bits of all pixels in a disk around each pixel.

    Processes the disk's rows from the top, where the disk is narrowest, to the middle, so that one array can be widened
    step by step.
    """
    height, width = bits.shape
    dilated, row, reach = np.zeros_like(bits), bits.copy(), 0
    for step in range(min(radius, height - 1), -1, -1):
        while reach < min(isqrt(radius**2 - step**2), width - 1):
            reach += 1
            row[:, reach:] |= bits[:, :-reach]
            row[:, :-reach] |= bits[:, reach:]
        dilated[step:] |= row[: height - step]
        dilated[: height - step] |= row[step:]
    return dilated
