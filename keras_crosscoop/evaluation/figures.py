"""Figures of a model on a split, from one integer confusion matrix an output."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_crosscoop.data import Dataset, OnError, Skipped, load_dataset, readable_errors
from keras_crosscoop.files import written
from keras_crosscoop.metrics import iou_per_class
from keras_crosscoop.models import Segmenter


def evaluate(
    model: Segmenter,
    dataset: Dataset,
    split: str = "val",
    *,
    center_crop: int | None = None,
    on_error: OnError = "fail",
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Runs a model over the images of a split, one at a time.

    Args:
        model: compiled.
        dataset: of the model's classes.
        split: one of the data set's.
        center_crop: see `load_dataset`; None for whole images.
        on_error: see `load_dataset`.
        callbacks: for progress.

    Returns:
        `{"dataset", "split", "images", "skipped", "crop", "outputs": {output: figures}}`, where the figures are
        `{"mean_iou", "pixel_accuracy", "per_class": {name: iou}}`, fractions of 1, and `skipped` holds the reasons why
        images were left out. A class in neither labels nor predictions has IoU None and counts in no mean.

    Raises:
        InputError: there is no such split, it has no labels, or a file of it cannot be used.
    """
    dataset.check_labelled(split)
    skipped = Skipped() if on_error == "skip" else on_error
    samples = load_dataset(dataset, split, center_crop=center_crop, batch_size=1, on_error=skipped)
    with readable_errors():
        model.evaluate(samples, verbose=0, callbacks=list(callbacks))
    reasons = [] if skipped == "fail" else list(skipped.reasons)
    return {
        "dataset": dataset.name,
        "split": split,
        "images": int(samples.cardinality()) - len(reasons),
        "skipped": reasons,
        "crop": center_crop,
        "outputs": {name: _figures(matrix, dataset.classes) for name, matrix in model.confusions.items()},
    }


def write_json(figures: dict[str, Any], path: Path) -> None:
    """Writes figures to a file, whole or not at all."""
    with written(path) as partial:
        partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _figures(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    ious = iou_per_class(matrix)
    present = ~np.isnan(ious)
    return {
        "mean_iou": float(ious[present].mean()) if present.any() else None,
        "pixel_accuracy": float(np.trace(matrix) / max(matrix.sum(), 1)),
        "per_class": {
            name: float(iou) if there else None for name, iou, there in zip(classes, ious, present, strict=True)
        },
    }
