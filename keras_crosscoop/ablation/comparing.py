"""Is one network better than another, or is it the images, or the seeds? Both were measured on the same images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_crosscoop.evaluation.metrics import bootstrap, percentile_interval
from keras_crosscoop.metrics import mean_iou


class Gain(NamedTuple):
    """How much more mean IoU the first of two networks has, fractions of 1.

    Attributes:
        mean: over the seeds.
        of_seeds: of each.
        interval: of the mean, had it been other images: 95 %, percentile bootstrap over images.
        spread: standard deviation over seeds; None of a single one.
        exceeds: whether it is more than both, up or down: the interval lies on one side of 0, and the mean is further
            from it than the spread.
            Of two seeds without any difference, the mean would be more than the spread in 39 % of the cases, of three
            in 23 % (Student's t).
    """

    mean: float
    of_seeds: tuple[float, ...]
    interval: tuple[float, float]
    spread: float | None
    exceeds: bool

    @property
    def verdict(self) -> str:
        """Of the first network: "ahead", "behind" or "open"."""
        return ("ahead" if self.mean > 0 else "behind") if self.exceeds else "open"


def gain(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Gain:
    """Compares two networks, image by image and seed by seed.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3. Both networks see each
    resample's images, so what makes images hard for both takes no part.

    Args:
        first: of each seed, the confusion matrices of all images, `(N, C, C)` integers.
        second: of the same seeds and images.
    """
    of_seeds = tuple(mean_iou(a.sum(axis=0)) - mean_iou(b.sum(axis=0)) for a, b in zip(first, second, strict=True))
    resamples = [mean_iou(bootstrap(a)) - mean_iou(bootstrap(b)) for a, b in zip(first, second, strict=True)]
    low, high = percentile_interval(np.mean(resamples, axis=0))
    mean = float(np.mean(of_seeds))
    spread = float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else None
    exceeds = spread is not None and (low > 0 or high < 0) and abs(mean) > spread
    return Gain(mean, tuple(map(float, of_seeds)), (low, high), spread, exceeds)
