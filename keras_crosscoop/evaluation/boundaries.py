"""How well the outlines of classes are met, within a few pixels.

Reference: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
"""

from math import isqrt

import numpy as np
from scipy import ndimage

from keras_crosscoop.labels import IGNORE_LABEL


def boundary_matches(labels: np.ndarray, outputs: np.ndarray, num_classes: int, tolerance: int) -> np.ndarray:
    """Pixels on the outlines of each class, and how many lie near one of the same class, integers `(O, C, 4)`.

    Columns: predicted; of these, at most `tolerance` pixels from a true one; true; of these, from a predicted one. A
    pixel is on an outline if one of its four neighbours is of another class; the image's edge is none. Void, which many
    data sets draw between classes, is taken for the nearest class as far as the tolerance reaches into it, and deeper
    inside nothing counts.

    Args:
        labels: true class ids and 255 for void, uint8 `(H, W)`.
        outputs: predicted ones of several outputs, uint8 `(O, H, W)`.
        num_classes: C.
        tolerance: pixels, as the crow flies.
    """
    matches = np.zeros((len(outputs), num_classes, 4), np.int64)
    void, known = labels == IGNORE_LABEL, True
    if void.all():
        return matches
    if void.any():
        depth, nearest = ndimage.distance_transform_edt(void, return_indices=True)
        labels, known = labels[tuple(nearest)], depth <= tolerance
    integer = np.uint32 if num_classes <= 32 else np.uint64
    true_edges, edges = _edges(labels) & known, [_edges(classes) & known for classes in outputs]
    for first in range(0, num_classes, integer(0).itemsize * 8):
        table = _bits(first, num_classes, integer)
        near_truth = _spread(np.where(true_edges, table[labels], integer(0)), tolerance)
        for of_output, classes, on_edge in zip(matches, outputs, edges, strict=True):
            near = _spread(np.where(on_edge, table[classes], integer(0)), tolerance)
            of_output[:, :2] += _met(classes[on_edge], near_truth[on_edge], table, num_classes)
            of_output[:, 2:] += _met(labels[true_edges], near[true_edges], table, num_classes)
    return matches


def _met(ids: np.ndarray, near: np.ndarray, table: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels of each class that has a bit, and those near which there is the same class, `(C, 2)`."""
    bits = table[ids]
    return np.stack([np.bincount(ids[which != 0], minlength=num_classes) for which in (bits, bits & near)], axis=1)


def _edges(ids: np.ndarray) -> np.ndarray:
    on_edge = np.zeros(ids.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = ids[one] != ids[other]
        on_edge[one] |= differ
        on_edge[other] |= differ
    return on_edge


def _bits(first: int, num_classes: int, integer: type[np.unsignedinteger]) -> np.ndarray:
    """A bit for each class from the first one on, as many as an integer has; `(256,)`."""
    table = np.zeros(IGNORE_LABEL + 1, integer)
    count = min(num_classes - first, integer(0).itemsize * 8)
    table[first : first + count] = integer(1) << np.arange(count, dtype=integer)
    return table


def _spread(bits: np.ndarray, distance: int) -> np.ndarray:
    """The bits of all pixels in a disk around each, joined: of rows above and below, each as wide as the disk there.

    From the disk's top, where it is narrowest, to its middle, so that one array widens along the rows.
    """
    height, width = bits.shape
    disk, row, reach = np.zeros_like(bits), bits.copy(), 0
    for step in range(min(distance, height - 1), -1, -1):
        while reach < min(isqrt(distance**2 - step**2), width - 1):
            reach += 1
            row[:, reach:] |= bits[:, :-reach]
            row[:, :-reach] |= bits[:, reach:]
        disk[step:] |= row[: height - step]
        disk[: height - step] |= row[step:]
    return disk
