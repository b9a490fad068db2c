"""Likely label errors: regions where a confident, calibrated prediction contradicts the label.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, with
regions in place of samples.
"""

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from keras_crosscoop.evaluation.counts import BINS, Segmentation
from keras_crosscoop.labels import IGNORE_LABEL

REGIONS_PER_IMAGE = 20  # the largest regions are kept
_THINNEST = np.ones((3, 3), bool)  # Thinner regions are boundaries at slightly different positions.
_CONFIDENT = BINS // 2  # the first bin that counts: a probability of about one half


class Region(NamedTuple):
    """Connected pixels with the same label and the same, different prediction."""

    image: str
    box: tuple[int, int, int, int]  # left, top, width and height in pixels
    label: int
    prediction: int
    bins: np.ndarray  # number of pixels in each bin of confidence, integer (BINS,)


def contradicted_regions(image: str, labels: np.ndarray, segmentation: Segmentation) -> list[Region]:
    """Finds the largest regions of an image where the last output is confident and contradicts the labels."""
    classes, bins = segmentation.classes[-1], segmentation.confidence_bins
    contradicted = (classes != labels) & (labels != IGNORE_LABEL) & (bins >= _CONFIDENT)
    contradicted = ndimage.binary_opening(contradicted, _THINNEST)
    pairs = labels.astype(np.int32) * (IGNORE_LABEL + 1) + classes
    regions = []
    for pair in np.unique(pairs[contradicted]):
        components, _ = ndimage.label(contradicted & (pairs == pair))
        for number, (rows, columns) in enumerate(ndimage.find_objects(components), 1):
            inside = bins[rows, columns][components[rows, columns] == number]
            box = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
            label, prediction = divmod(int(pair), IGNORE_LABEL + 1)
            regions.append(Region(image, box, label, prediction, np.bincount(inside, minlength=BINS)))
    return sorted(regions, key=lambda region: region.bins.sum(), reverse=True)[:REGIONS_PER_IMAGE]


def rank_label_errors(
    regions: list[Region], calibration: np.ndarray, classes: tuple[str, ...], count: int
) -> dict[str, Any]:
    """Ranks regions and images by the expected number of wrongly labelled pixels.

    The probability that a contradicted pixel is wrongly labelled is the output's accuracy at its confidence, which the
    calibration of `Counts` gives.

    Returns:
        `{"regions": [{"image", "box", "label", "prediction", "pixels", "wrong"}], "images": [{"image", "wrong"}]}`,
        the most likely errors first; `wrong` is the expected number of wrongly labelled pixels.
    """
    pixels, right, _ = calibration.T
    accuracy = right / np.maximum(pixels, 1)
    accuracy[accuracy <= 0.5] = 0  # Here the label is more likely to be right than the prediction.
    errors, images = [], defaultdict(float)
    for region in regions:
        wrong = float(region.bins @ accuracy)
        if wrong < 1:
            continue
        images[region.image] += wrong
        errors.append(
            {
                "image": region.image,
                "box": list(region.box),
                "label": classes[region.label],
                "prediction": classes[region.prediction],
                "pixels": int(region.bins.sum()),
                "wrong": wrong,
            }
        )
    lists = {"regions": errors, "images": [{"image": image, "wrong": wrong} for image, wrong in images.items()]}
    return {
        name: sorted(entries, key=lambda entry: entry["wrong"], reverse=True)[:count] for name, entries in lists.items()
    }
