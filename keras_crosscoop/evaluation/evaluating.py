"""A model, measured on a split."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data import Dataset, OnError, Skipped, load_dataset, readable_errors
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import label_errors, metrics
from keras_crosscoop.evaluation.counts import Counts, counts, segmented
from keras_crosscoop.evaluation.submission import Predictions
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.system.files import atomic_write

_BEHIND = 4  # images whose boundaries wait for being counted


def evaluate(
    model: Segmenter,
    dataset: Dataset,
    split: str = "val",
    *,
    center_crop: int | None = None,
    on_error: OnError = "fail",
    boundary_tolerance: int = 3,
    intervals: bool = False,
    list_suspects: int = 0,
    predictions: Predictions | None = None,
    confusions: Path | None = None,
    watch: Callable[[int, int], object] = lambda done, images: None,
    **looking: Any,
) -> dict[str, Any]:
    """Measures every output of a model on a split, all in one pass over its images.

    Args:
        model: of the data set's classes.
        dataset: what to measure on.
        split: one of the data set's.
        center_crop: see `load_dataset`; None for whole images.
        on_error: see `load_dataset`.
        boundary_tolerance: how many pixels off an outline may lie.
        intervals: whether to resample the images for intervals of the figures.
        list_suspects: how many regions and images to list whose labels are probably wrong.
        predictions: writes what was predicted to files.
        confusions: an `.npz` file for each image's confusion matrices, `confusions` `(N, O, C, C)`: models are compared
            by them, image by image.
        watch: is told of progress.
        **looking: options of `Inference`.

    Returns:
        What was measured, and how: `dataset`, `split`, `images`, `skipped` (reasons why images were left out), `crop`,
        `window`, `overlap`, `scales`, `flip`, `boundary_tolerance`, `seconds_per_image` (the median), and

        - `outputs`: of each, `mean_iou`, `pixel_accuracy`, `mean_accuracy` (over classes), `frequency_weighted_iou`,
          `mean_dice`, `mean_boundary_f`, `calibration_error` (expected, 15 bins); `per_class` with `iou`, `accuracy`,
          `dice` and `boundary_f` of each; the `confusion` matrix in pixels, row the label; the `calibration` diagram;
          `intervals` on request. A class that no label of the split has is None, and counts in no mean, whatever an
          output predicts: means are over the same classes for all outputs. Likewise a class without outline in the
          labels for `boundary_f`, and in `per_image` a class that the image's own labels lack.
        - `disagreement` of two networks: the share of pixels, and which of them is right there.
        - `per_image`: `image`, and `mean_iou` and `pixel_accuracy` of each output.
        - `label_errors` on request, see `label_errors.rank`.

        Of a split whose labels its makers keep, only how many images there were.

    Raises:
        InputError: there is no such split, it has no labels and no predictions are asked for, predictions or
            label_errors are asked for of crops, or a file cannot be used.
    """
    inference = Inference(model, **looking)
    if predictions is None and split in dataset.unlabelled:
        raise InputError(
            f'The labels of split "{split}" of data set "{dataset.name}" are kept by its makers. Write predictions for '
            f"them by --save-predictions DIR, or name another split. Received: {split!r}"
        )
    if center_crop is not None and (predictions is not None or list_suspects):
        raise InputError(
            f"Predictions and suspect labels are of whole images. Measure without a crop. Received: {center_crop=}"
        )
    skipped = Skipped() if on_error == "skip" else on_error
    samples = load_dataset(dataset, split, center_crop=center_crop, on_error=skipped)
    pairs, outputs = dataset.find(split), model.output_choices
    images, regions, seconds = 0, [], []
    tally = _Tally(outputs, keep=intervals or confusions is not None)
    with readable_errors(), ThreadPoolExecutor(1) as beside:
        behind: deque = deque()
        streams = names_of(pairs), pairs, samples.as_numpy_iterator()
        for name, (file, _), (image, labels) in zip(*streams, strict=True):
            start = time.perf_counter()
            found, counted = segmented(inference, image, labels)
            seconds.append(time.perf_counter() - start)
            watch(len(seconds), len(pairs))
            if isinstance(skipped, Skipped) and str(file) in skipped.by_image:
                continue  # another sample stands in for it
            images += 1
            if predictions is not None:
                predictions.write(file, found.classes[-1])
            if split in dataset.unlabelled:
                continue
            if list_suspects:
                regions += label_errors.label_error_regions(name, labels, found)
            behind.append((name, beside.submit(counts, found, labels, counted, boundary_tolerance)))
            while len(behind) > _BEHIND:
                tally.add(*behind.popleft())
        for each in behind:
            tally.add(*each)
    told = {
        "dataset": dataset.name,
        "split": split,
        "images": images,
        "skipped": list(skipped.reasons) if isinstance(skipped, Skipped) else [],
        "crop": center_crop,
        "window": inference.window,
        "overlap": inference.overlap,
        "scales": list(inference.scales),
        "flip": inference.flip,
        "boundary_tolerance": boundary_tolerance,
        "seconds_per_image": float(np.median(seconds)),
        "outputs": {},
    }
    if tally.total is None:
        return told
    told["outputs"] = metrics.figures(tally.total, outputs, dataset.classes)
    told["disagreement"] = metrics.disagreement(tally.total) if len(model.sides) > 1 else None
    told["per_image"] = tally.per_image
    if intervals:
        for output, ends in metrics.intervals(tally.confusions, outputs, dataset.classes).items():
            told["outputs"][output]["intervals"] = ends
    if confusions is not None:
        with atomic_write(confusions) as partial:
            np.savez_compressed(partial, confusions=np.stack(tally.confusions))
    if list_suspects:
        told["label_errors"] = label_errors.rank(regions, tally.total.calibration[-1], dataset.classes, list_suspects)
    return told


def names_of(pairs: Sequence[Pair]) -> list[str]:
    """What images are called: their names, or where two have one, their paths below the folder that holds them all."""
    files = [image for image, _ in pairs]
    names = [Path(file.name).name for file in files]
    if len({*names}) == len(names) or not all(isinstance(file, Path) for file in files):
        return names
    root = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(root).as_posix() for file in files]


class _Tally:
    """What images add up to, and what is told of each."""

    def __init__(self, outputs: tuple[str, ...], *, keep: bool) -> None:
        self.outputs = outputs
        self.keep = keep  # each image's confusion matrices
        self.total: Counts | None = None
        self.per_image: list[dict[str, Any]] = []
        self.confusions: list[np.ndarray] = []

    def add(self, name: str, counted: Future[Counts]) -> None:
        of_image = counted.result()
        self.total = of_image if self.total is None else self.total + of_image
        self.per_image.append(metrics.of_image(name, of_image, self.outputs))
        if self.keep:
            self.confusions.append(of_image.confusion)


def write_json(figures: dict[str, Any], path: Path) -> None:
    """Writes figures to a file, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
