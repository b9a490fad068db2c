"""Figures from counts: what is told of a model on a split."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.evaluation.counts import CERTAIN, Counts
from keras_crosscoop.metrics import iou_per_class, mean_iou, mean_over_classes

LEVEL = 0.95  # of the intervals
RESAMPLES = 1000


class Figure(NamedTuple):
    """One number that is told of an output: its key, its name, and whether more of it is better."""

    key: str
    name: str
    more_is_better: bool = True


FIGURES = (  # of a whole split
    Figure("mean_iou", "mean IoU"),
    Figure("pixel_accuracy", "pixel accuracy"),
    Figure("mean_accuracy", "mean class accuracy"),
    Figure("frequency_weighted_iou", "IoU weighted by frequency"),
    Figure("mean_dice", "mean Dice"),
    Figure("mean_boundary_f", "mean boundary F"),
    Figure("calibration_error", "calibration error", more_is_better=False),
)


def figures(counts: Counts, outputs: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The figures of each output, see `evaluate`; fractions of 1, None where there is nothing to measure."""
    return {
        output: _of_output(*of_output, classes)
        for output, *of_output in zip(outputs, counts.confusion, counts.calibration, counts.boundaries, strict=True)
    }


def _of_output(
    confusion: np.ndarray, calibration: np.ndarray, boundaries: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    iou, correct, labelled = iou_per_class(confusion), np.diagonal(confusion), confusion.sum(axis=1)
    of_classes = {
        "iou": iou,
        "accuracy": _ratio(correct, labelled),
        "dice": np.where(labelled > 0, _ratio(2 * correct, labelled + confusion.sum(axis=0)), np.nan),
        "boundary_f": _f_scores(boundaries),
    }
    pixels, right, confidences = calibration.T / [[1], [1], [CERTAIN]]
    total = confusion.sum()
    return {
        "mean_iou": _number(mean_over_classes(iou)),
        "pixel_accuracy": _number(_ratio(correct.sum(), total)),
        "mean_accuracy": _number(mean_over_classes(of_classes["accuracy"])),
        "frequency_weighted_iou": _number(_ratio(np.nansum(labelled * iou), total)),
        "mean_dice": _number(mean_over_classes(of_classes["dice"])),
        "mean_boundary_f": _number(mean_over_classes(of_classes["boundary_f"])),
        "calibration_error": _number(_ratio(np.abs(right - confidences).sum(), total)),
        "per_class": {
            name: {figure: _number(values[index]) for figure, values in of_classes.items()}
            for index, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
        "calibration": {
            "pixels": pixels.astype(int).tolist(),
            "confidence": [_number(value) for value in _ratio(confidences, pixels)],
            "accuracy": [_number(value) for value in _ratio(right, pixels)],
        },
    }


def disagreement(counts: Counts) -> dict[str, float | None]:
    """Where two networks differ: the share of such pixels, and who is right there, as shares of those."""
    differ, top, bottom, ensemble = counts.disagreement.tolist()
    shares = {
        "share": _ratio(differ, counts.confusion[0].sum()),
        "top_right": _ratio(top, differ),
        "bottom_right": _ratio(bottom, differ),
        "neither_right": _ratio(differ - top - bottom, differ),
        "ensemble_right": _ratio(ensemble, differ),
    }
    return {name: _number(share) for name, share in shares.items()}


def of_image(name: str, counts: Counts, outputs: Sequence[str]) -> dict[str, Any]:
    """What is told of a single image."""
    confusions = dict(zip(outputs, counts.confusion, strict=True))
    return {
        "image": name,
        "mean_iou": {output: _number(mean_iou(matrix)) for output, matrix in confusions.items()},
        "pixel_accuracy": {
            output: _number(_ratio(np.trace(matrix), matrix.sum())) for output, matrix in confusions.items()
        },
    }


def intervals(
    of_images: Sequence[np.ndarray], outputs: Sequence[str], classes: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """How far figures would move with other images: percentile intervals of the bootstrap over images.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Args:
        of_images: each image's confusion matrices, `(O, C, C)` integers.
        outputs: O names.
        classes: C names.
        seed: of the resamples.

    Returns:
        For each output the lower and the upper end of `mean_iou`, `pixel_accuracy` and, in `per_class`, of each IoU;
        None where a class occurs in no resample's labels.
    """
    found = {}
    for index, output in enumerate(outputs):
        sums = resampled(np.stack([of_image[index] for of_image in of_images]), seed=seed)
        ious = iou_per_class(sums)
        accuracies = _ratio(np.trace(sums, axis1=1, axis2=2), sums.sum(axis=(1, 2)))
        found[output] = {
            "mean_iou": interval(mean_over_classes(ious)),
            "pixel_accuracy": interval(accuracies),
            "per_class": {name: interval(ious[:, number]) for number, name in enumerate(classes)},
        }
    return found


def best_and_worst(figures: Mapping[str, Any], count: int) -> tuple[list[dict], list[dict]]:
    """Of what `evaluate` gave, so many images of the greatest and of the least mean IoU of the last output."""
    *_, output = figures["outputs"]
    measured = [image for image in figures["per_image"] if image["mean_iou"][output] is not None]
    ranked = sorted(measured, key=lambda image: image["mean_iou"][output])
    return ranked[::-1][:count], ranked[:count]


def resampled(of_images: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Sums of resampled images' confusion matrices, `(N, C, C) -> (RESAMPLES, C, C)`; a seed means the same images."""
    images = len(of_images)
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.tensordot(draws.astype("float64"), of_images, axes=1)


def interval(values: np.ndarray) -> list[float] | None:
    """The percentile interval of what resamples gave, NaN left out; None where there is nothing else."""
    there = values[~np.isnan(values)]
    return np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist() if len(there) else None


def _f_scores(boundaries: np.ndarray) -> np.ndarray:
    predicted, met, true, found = boundaries.T
    precision, recall = np.nan_to_num(_ratio(met, predicted)), np.nan_to_num(_ratio(found, true))
    scores = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(true > 0, scores, np.nan)


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, "float64"), np.asarray(whole, "float64")
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
