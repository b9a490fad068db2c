"""How well the outlines of classes are met, within a few pixels.

Reference: Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013.
"""

from math import isqrt

import numpy as np
from scipy import ndimage

from keras_crosscoop.labels import VOID

_BITS = 64  # classes in an integer, a bit each


def boundary_matches(labels: np.ndarray, classes: np.ndarray, num_classes: int, tolerance: int) -> np.ndarray:
    """Pixels on the outlines of each class, and how many lie near one of the same class, integers `(C, 4)`.

    Columns: predicted; of these, at most `tolerance` pixels from a true one; true; of these, from a predicted one. A
    pixel is on an outline if one of its four neighbours is of another class; the image's edge is none. Void, which many
    data sets draw between classes, is taken for the nearest class as far as the tolerance reaches into it, and deeper
    inside nothing counts.

    Args:
        labels: true class ids and 255 for void, uint8 `(H, W)`.
        classes: predicted ones, uint8 `(H, W)`.
        num_classes: C.
        tolerance: pixels, as the crow flies.
    """
    matches = np.zeros((num_classes, 4), np.int64)
    void = labels == VOID
    if void.all():
        return matches
    known = True
    if void.any():
        depth, nearest = ndimage.distance_transform_edt(void, return_indices=True)
        labels, known = labels[tuple(nearest)], depth <= tolerance
    edges, true_edges = _edges(classes) & known, _edges(labels) & known
    for first in range(0, num_classes, _BITS):
        of_part = slice(first, first + _BITS)
        for column, ids, on_edge, others, on_others in (
            (0, classes, edges, labels, true_edges),
            (2, labels, true_edges, classes, edges),
        ):
            near = _spread(_bits(others, on_others, first), tolerance)
            place = on_edge & (ids >= first) & (ids < first + _BITS)
            found, bit = ids[place], (ids[place] - first).astype(np.uint64)
            matched = found[(near[place] >> bit) & np.uint64(1) == 1]
            matches[of_part, column] = np.bincount(found, minlength=num_classes)[of_part]
            matches[of_part, column + 1] = np.bincount(matched, minlength=num_classes)[of_part]
    return matches


def _edges(ids: np.ndarray) -> np.ndarray:
    on_edge = np.zeros(ids.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = ids[one] != ids[other]
        on_edge[one] |= differ
        on_edge[other] |= differ
    return on_edge


def _bits(ids: np.ndarray, on_edge: np.ndarray, first: int) -> np.ndarray:
    """A bit for the class of each pixel on an edge, of 64 classes."""
    table = np.zeros(VOID + 1, np.uint64)
    some = np.arange(first, min(first + _BITS, VOID))
    table[some] = np.uint64(1) << (some - first).astype(np.uint64)
    return np.where(on_edge, table[ids], np.uint64(0))


def _spread(bits: np.ndarray, distance: int) -> np.ndarray:
    """The bits of all pixels in a disk around each, joined: first along rows, then of rows above and below."""
    wide = [bits]
    for step in range(1, distance + 1):
        row = wide[-1].copy()
        row[:, step:] |= bits[:, :-step]
        row[:, :-step] |= bits[:, step:]
        wide.append(row)
    disk = wide[-1].copy()
    for step in range(1, distance + 1):
        row = wide[isqrt(distance**2 - step**2)]
        disk[step:] |= row[:-step]
        disk[:-step] |= row[step:]
    return disk
