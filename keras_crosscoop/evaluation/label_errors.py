"""Labels that a network contradicts: where it is confident, and as often right as it is confident, they may be wrong.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021, with
regions in place of samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from keras_crosscoop.evaluation.counts import BINS, Segmented
from keras_crosscoop.labels import IGNORE_LABEL

MOST = 20  # regions an image that are remembered
_THIN = np.ones((3, 3), bool)  # what does not hold it is an outline drawn a little differently
_SURE = BINS // 2  # bins from here on: about half of all probability or more is one class's


@dataclass(frozen=True)
class Region:
    """Connected pixels of one label where one other class is predicted.

    Attributes:
        image: its name.
        box: left, top, width and height, in pixels.
        label: class id.
        prediction: class id.
        bins: pixels in each bin of confidence, `(BINS,)` integers.
    """

    image: str
    box: tuple[int, int, int, int]
    label: int
    prediction: int
    bins: np.ndarray


def label_error_regions(image: str, labels: np.ndarray, found: Segmented) -> list[Region]:
    """The largest regions of an image where its last output, being sure, contradicts the labels."""
    classes = found.classes[-1]
    contradicted = (classes != labels) & (labels != IGNORE_LABEL) & (found.bins >= _SURE)
    contradicted = ndimage.binary_opening(contradicted, _THIN)
    pairs = labels.astype(np.int32) * (IGNORE_LABEL + 1) + classes
    regions = []
    for pair in np.unique(pairs[contradicted]):
        numbered, _ = ndimage.label(contradicted & (pairs == pair))
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
            inside = found.bins[rows, columns][numbered[rows, columns] == number]
            box = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
            label, prediction = divmod(int(pair), IGNORE_LABEL + 1)
            regions.append(Region(image, box, label, prediction, np.bincount(inside, minlength=BINS)))
    return sorted(regions, key=lambda region: region.bins.sum(), reverse=True)[:MOST]


def rank(regions: list[Region], calibration: np.ndarray, classes: tuple[str, ...], count: int) -> dict[str, Any]:
    """The regions and images with the most pixels whose label is probably wrong.

    Args:
        regions: of all images.
        calibration: of the output, see `Counts`: how often it is right when it is so confident.
        classes: their names.
        count: how many of each to list.

    Returns:
        `{"regions": [{"image", "box", "label", "prediction", "pixels", "wrong"}], "images": [{"image", "wrong"}]}`,
        most suspect first; `wrong` is how many pixels are expected to be labelled wrongly.
    """
    pixels, right, _ = calibration.T
    accuracy = right / np.maximum(pixels, 1)
    accuracy[accuracy <= 0.5] = 0  # in doubt the label is right
    listed, of_images = [], {}
    for region in regions:
        wrong = float(region.bins @ accuracy)
        if wrong < 1:
            continue
        of_images[region.image] = of_images.get(region.image, 0.0) + wrong
        listed.append(
            {
                "image": region.image,
                "box": list(region.box),
                "label": classes[region.label],
                "prediction": classes[region.prediction],
                "pixels": int(region.bins.sum()),
                "wrong": wrong,
            }
        )
    images = [{"image": image, "wrong": wrong} for image, wrong in of_images.items()]
    return {
        name: sorted(each, key=lambda suspect: suspect["wrong"], reverse=True)[:count]
        for name, each in (("regions", listed), ("images", images))
    }
