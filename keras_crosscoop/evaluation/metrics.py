"""Metrics of semantic segmentation, computed from pixel counts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.evaluation.counts import CONFIDENCE_UNITS, Counts
from keras_crosscoop.metrics import iou_per_class, mean_iou, mean_over_classes

CONFIDENCE_LEVEL = 0.95
RESAMPLES = 1000


class Metric(NamedTuple):
    """A number that `evaluate` reports for each output on a whole split."""

    key: str
    name: str
    higher_is_better: bool = True


METRICS = (
    Metric("mean_iou", "mean IoU"),
    Metric("pixel_accuracy", "pixel accuracy"),
    Metric("mean_accuracy", "mean class accuracy"),
    Metric("frequency_weighted_iou", "frequency-weighted IoU"),
    Metric("mean_dice", "mean Dice"),
    Metric("mean_boundary_f", "mean boundary F"),
    Metric("calibration_error", "calibration error", higher_is_better=False),
)
CLASS_METRICS = ("iou", "accuracy", "dice", "boundary_f")


def compute_metrics(counts: Counts, outputs: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Computes the metrics of each output, see `evaluate`: fractions of 1, or None if they are undefined."""
    arrays = zip(outputs, counts.confusion, counts.calibration, counts.boundaries, strict=True)
    return {
        output: _output_metrics(confusion, calibration, boundaries, classes)
        for output, confusion, calibration, boundaries in arrays
    }


def _output_metrics(
    confusion: np.ndarray, calibration: np.ndarray, boundaries: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    iou, correct, labelled = iou_per_class(confusion), np.diagonal(confusion), confusion.sum(axis=1)
    accuracy = _ratio(correct, labelled)
    dice = np.where(labelled > 0, _ratio(2 * correct, labelled + confusion.sum(axis=0)), np.nan)
    boundary_f = _f_scores(boundaries)
    pixels, right, confidences = calibration.T / [[1], [1], [CONFIDENCE_UNITS]]
    total = confusion.sum()
    return {
        "mean_iou": _number(mean_over_classes(iou)),
        "pixel_accuracy": _number(_ratio(correct.sum(), total)),
        "mean_accuracy": _number(mean_over_classes(accuracy)),
        "frequency_weighted_iou": _number(_ratio(np.nansum(labelled * iou), total)),
        "mean_dice": _number(mean_over_classes(dice)),
        "mean_boundary_f": _number(mean_over_classes(boundary_f)),
        "calibration_error": _number(_ratio(np.abs(right - confidences).sum(), total)),
        "per_class": {
            name: dict(zip(CLASS_METRICS, map(_number, values), strict=True))
            for name, *values in zip(classes, iou, accuracy, dice, boundary_f, strict=True)
        },
        "confusion": confusion.tolist(),
        "calibration": {
            "pixels": pixels.astype(int).tolist(),
            "confidence": [_number(value) for value in _ratio(confidences, pixels)],
            "accuracy": [_number(value) for value in _ratio(right, pixels)],
        },
    }


def commonest_class(confusion: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Computes the scores of a network that predicts the commonest class of the labels everywhere.

    Args:
        confusion: Pixels by label (rows) and prediction (columns), integer `(C, C)`.
        classes: C names.

    Returns:
        The `class`, its `mean_iou` and its `pixel_accuracy`.

    Example:
        >>> commonest_class(np.array([[6, 2], [1, 1]]), ["road", "car"])
        {'class': 'road', 'mean_iou': 0.4, 'pixel_accuracy': 0.8}
    """
    labelled = confusion.sum(axis=1)
    commonest = int(labelled.argmax())
    share = _ratio(labelled[commonest], labelled.sum())
    return {
        "class": classes[commonest],
        "mean_iou": _number(share / max(np.count_nonzero(labelled), 1)),  # the IoU of all other classes is 0
        "pixel_accuracy": _number(share),
    }


def disagreement(counts: Counts) -> dict[str, float | None]:
    """Computes the share of pixels on which two networks differ, and how often each is right on these pixels."""
    different, top, bottom, ensemble = counts.disagreement.tolist()
    return {
        "share": _number(_ratio(different, counts.confusion[0].sum())),
        "top_right": _number(_ratio(top, different)),
        "bottom_right": _number(_ratio(bottom, different)),
        "neither_right": _number(_ratio(different - top - bottom, different)),
        "ensemble_right": _number(_ratio(ensemble, different)),
    }


def image_metrics(name: str, confusion: np.ndarray, outputs: Sequence[str]) -> dict[str, Any]:
    """Computes the metrics of a single image from its confusion matrices `(O, C, C)`."""
    accuracy = _ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))
    return {
        "image": name,
        "mean_iou": dict(zip(outputs, map(_number, mean_iou(confusion)), strict=True)),
        "pixel_accuracy": dict(zip(outputs, map(_number, accuracy), strict=True)),
    }


def confidence_intervals(
    confusions: np.ndarray, outputs: Sequence[str], classes: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Computes 95 % intervals of metrics by the percentile bootstrap over images.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Args:
        confusions: Confusion matrices of N images, integer `(N, O, C, C)`.
        outputs: O names.
        classes: C names.
        seed: Seed of the resamples.

    Returns:
        For each output the lower and upper end for `mean_iou`, `pixel_accuracy` and, in `per_class`, the IoU of each
        class; None if no resample has a label of the class.
    """
    intervals = {}
    for index, output in enumerate(outputs):
        resamples = bootstrap(confusions[:, index], seed=seed)
        ious = iou_per_class(resamples)
        accuracy = _ratio(np.trace(resamples, axis1=1, axis2=2), resamples.sum(axis=(1, 2)))
        intervals[output] = {
            "mean_iou": percentile_interval(mean_over_classes(ious)),
            "pixel_accuracy": percentile_interval(accuracy),
            "per_class": dict(zip(classes, map(percentile_interval, ious.T), strict=True)),
        }
    return intervals


def bootstrap(confusions: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Sums the confusion matrices of resampled images: `(N, C, C) -> (RESAMPLES, C, C)`.

    The same seed draws the same images.
    """
    images = len(confusions)
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.tensordot(draws.astype("float64"), confusions, axes=1)


def percentile_interval(values: np.ndarray) -> list[float] | None:
    """Returns the 95 % percentile interval of the values that are not NaN; None if there are none."""
    values = values[~np.isnan(values)]
    tail = (1 - CONFIDENCE_LEVEL) / 2
    return np.quantile(values, [tail, 1 - tail]).tolist() if len(values) else None


def best_and_worst(metrics: Mapping[str, Any], count: int) -> tuple[list[dict], list[dict]]:
    """Selects the images with the highest and with the lowest mean IoU of the last output.

    Args:
        metrics: The result of `evaluate`.
        count: The number of images in each list.

    Returns:
        Two lists of entries of `metrics["per_image"]`: best first, and worst first.

    Example:
        >>> images = [{"image": name, "mean_iou": {"single": iou}} for name, iou in [("a", 0.5), ("b", 0.9)]]
        >>> best, worst = best_and_worst({"outputs": {"single": {}}, "per_image": images}, 1)
        >>> best[0]["image"], worst[0]["image"]
        ('b', 'a')
    """
    output = list(metrics["outputs"])[-1]
    measured = [image for image in metrics["per_image"] if image["mean_iou"][output] is not None]
    ranked = sorted(measured, key=lambda image: image["mean_iou"][output])
    return ranked[::-1][:count], ranked[:count]


def best_indices(values: Sequence[float | None], *, higher_is_better: bool = True) -> set[int]:
    """Returns the indices of the best values, rounded to a tenth of a percent; none if all values are equal."""
    rounded = {index: round(value, 3) for index, value in enumerate(values) if value is not None}
    if len(set(rounded.values())) < 2:
        return set()
    best = (max if higher_is_better else min)(rounded.values())
    return {index for index, value in rounded.items() if value == best}


def _f_scores(boundaries: np.ndarray) -> np.ndarray:
    predicted, predicted_matched, labelled, labelled_matched = boundaries.T
    precision = np.nan_to_num(_ratio(predicted_matched, predicted))
    recall = np.nan_to_num(_ratio(labelled_matched, labelled))
    scores = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(labelled > 0, scores, np.nan)


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Divides; NaN where `whole` is 0."""
    part, whole = np.asarray(part, "float64"), np.asarray(whole, "float64")
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
