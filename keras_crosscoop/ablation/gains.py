"""Gains in mean IoU, and their uncertainty over images and seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_crosscoop.evaluation.metrics import bootstrap, percentile_interval
from keras_crosscoop.metrics import mean_iou


class Gain(NamedTuple):
    """The difference in mean IoU between two networks on the same images, as fractions of 1.

    Attributes:
        mean: The mean over the seeds.
        of_seeds: The gain of each seed.
        interval: 95 % confidence interval of the mean, over resampled images (percentile bootstrap).
        spread: Standard deviation over seeds; None for a single seed.
        is_clear: Whether the interval excludes 0 and the absolute mean is larger than the spread. Without a true
            difference, this mean exceeds the spread in 39 % of cases with two seeds, and in 23 % with three
            (Student's t).
    """

    mean: float
    of_seeds: tuple[float, ...]
    interval: tuple[float, float]
    spread: float | None
    is_clear: bool

    @property
    def verdict(self) -> str:
        """The position of the first network: "ahead", "behind" or "unclear"."""
        return ("ahead" if self.mean > 0 else "behind") if self.is_clear else "unclear"


def gain(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Gain:
    """Computes the gain of a network over another one, from paired images and seeds.

    Each bootstrap resample holds the same images for both networks, so images that are hard for both cancel out.

    Args:
        first: For each seed, the confusion matrices of all images, integers `(N, C, C)`.
        second: The same for the other network, with the same seeds and images.

    Example:
        >>> import numpy as np
        >>> good, bad = np.array([[[9, 1], [1, 9]]] * 8), np.array([[[6, 4], [4, 6]]] * 8)
        >>> gain([good, good], [bad, bad]).verdict
        'ahead'

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    pairs = list(zip(first, second, strict=True))
    of_seeds = [float(mean_iou(a.sum(axis=0)) - mean_iou(b.sum(axis=0))) for a, b in pairs]
    low, high = percentile_interval(
        np.mean([mean_iou(bootstrap(a)) - mean_iou(bootstrap(b)) for a, b in pairs], axis=0)
    )
    mean = float(np.mean(of_seeds))
    spread = float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else None
    is_clear = spread is not None and (low > 0 or high < 0) and abs(mean) > spread
    return Gain(mean, tuple(of_seeds), (low, high), spread, is_clear)
