"""Evaluation of a model on a split."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data import Dataset, OnError, Skipped, load_dataset, readable_errors
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.boundaries import boundary_matches
from keras_crosscoop.evaluation.counts import Counts, Segmentation, segment_and_count
from keras_crosscoop.evaluation.label_errors import contradicted_regions, rank_label_errors
from keras_crosscoop.evaluation.metrics import (
    commonest_class,
    compute_metrics,
    confidence_intervals,
    disagreement,
    image_metrics,
)
from keras_crosscoop.evaluation.pipeline import pipelined
from keras_crosscoop.evaluation.submission import SubmissionWriter
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.system.files import atomic_write

PENDING = 4  # images whose boundaries another thread has yet to count

Progress = Callable[[int, int], object]  # receives the numbers of finished and of all images


def evaluate(
    model: Segmenter,
    dataset: Dataset,
    split: str = "val",
    *,
    center_crop: int | None = None,
    on_error: OnError = "fail",
    boundary_tolerance: int = 3,
    intervals: bool = False,
    label_errors: int = 0,
    submission: SubmissionWriter | None = None,
    confusions_path: Path | None = None,
    progress: Progress = lambda done, images: None,
    **inference_options: Any,
) -> dict[str, Any]:
    """Evaluates all outputs of a model on a split, in one pass over its images.

    A class without labels in the split has None as its metrics, and means leave it out even if it is predicted. So the
    means of all outputs are over the same classes. `boundary_f` is also None for a class without a boundary in the
    labels.

    Args:
        model: A model with the classes of the data set.
        dataset: The data set.
        split: One of its splits.
        center_crop: Size of the centre crop, see `load_dataset`; None for whole images.
        on_error: What to do about an unreadable file, see `load_dataset`.
        boundary_tolerance: Largest distance in pixels between matching boundaries.
        intervals: Whether to compute 95 % intervals by resampling the images.
        label_errors: Number of likely label errors to list; 0 lists none.
        submission: Writes the predictions of the last output to files.
        confusions_path: An `.npz` file to write, with each image's confusion matrices as `confusions` `(N, O, C, C)`,
            and the names of `images`, `outputs` and `classes`.
        progress: Called after each image with the numbers of finished and of all images.
        **inference_options: Options of `Inference`.

    Returns:
        The request (`dataset`, `split`, `crop`, `window`, `overlap`, `scales`, `flip`, `boundary_tolerance`), `images`
        (their number), `skipped` (the errors of skipped images), `seconds_per_image` (the median), and

        - `outputs`: for each output the `METRICS`; `per_class` with `iou`, `accuracy`, `dice` and `boundary_f`; the
          `confusion` matrix in pixels, rows are labels; the `calibration` diagram; `intervals` on request.
        - `commonest_class`: the scores of predicting the commonest class everywhere.
        - `disagreement`: the share of pixels on which two networks differ, and how often each is right on these; None
          for a single network.
        - `per_image`: `image`, and `mean_iou` and `pixel_accuracy` of each output.
        - `label_errors` on request, see `rank_label_errors`.

        For a split without public labels, `outputs` is empty and the other entries of this list are absent.

    Raises:
        InputError: The data set has no such split; the split has no labels and no `submission` is given; `submission`
            or `label_errors` is combined with `center_crop`; or a file cannot be used.

    Example:
        >>> from keras_crosscoop import DeepLabV3Plus, dataset
        >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", decoder_channels=8, weights=None)
        >>> metrics = evaluate(model, dataset("folder", data_dir="MY_DATA"), "val")
        >>> metrics["images"], list(metrics["outputs"])
        (2, ['single'])
    """
    labelled = split not in dataset.unlabelled
    if submission is None and not labelled:
        raise InputError(
            f'The labels of split "{split}" of data set "{dataset.name}" are not public. Write predictions with '
            f"--save-predictions DIR, or name another split. Received: {split!r}"
        )
    if center_crop is not None and (submission is not None or label_errors):
        raise InputError(
            f"Predictions and label errors need whole images. Evaluate without a crop. Received: {center_crop=}"
        )
    inference = Inference(model, **inference_options)
    skipped = Skipped()
    samples = load_dataset(
        dataset, split, center_crop=center_crop, on_error=skipped if on_error == "skip" else on_error
    )
    pairs, outputs = dataset.find(split), model.output_choices
    evaluated, seconds, regions = [], [], []

    def boundary_calls() -> Iterator[Callable[[], tuple[str, Counts]]]:
        """Segments one image after another, and yields a call that adds the counts on its boundaries."""
        streams = image_names(pairs), pairs, samples.as_numpy_iterator()
        for name, (file, _), (image, labels) in zip(*streams, strict=True):
            start = time.perf_counter()
            segmentation, counts = segment_and_count(inference, image, labels)
            seconds.append(time.perf_counter() - start)
            progress(len(seconds), len(pairs))
            if str(file) in skipped.by_image:
                continue  # The file was skipped, and another image was read in its place.
            evaluated.append(name)
            if submission is not None:
                submission.write(file, segmentation.classes[-1])
            if label_errors:
                regions.extend(contradicted_regions(name, labels, segmentation))
            if labelled:
                yield partial(_add_boundaries, name, counts, segmentation, labels, boundary_tolerance)

    total, per_image, confusions = None, [], []
    with readable_errors(), ThreadPoolExecutor(1) as pool:
        for name, counts in pipelined(pool, boundary_calls(), PENDING):
            total = counts if total is None else Counts(*map(np.add, total, counts))
            per_image.append(image_metrics(name, counts.confusion, outputs))
            if intervals or confusions_path is not None:
                confusions.append(counts.confusion)
    metrics = {
        "dataset": dataset.name,
        "split": split,
        "images": len(evaluated),
        "skipped": list(skipped.reasons),
        "crop": center_crop,
        "window": inference.window,
        "overlap": inference.overlap,
        "scales": list(inference.scales),
        "flip": inference.flip,
        "boundary_tolerance": boundary_tolerance,
        "seconds_per_image": float(np.median(seconds)),
        "outputs": {},
    }
    if total is None:
        return metrics
    metrics["outputs"] = compute_metrics(total, outputs, dataset.classes)
    metrics["commonest_class"] = commonest_class(total.confusion[0], dataset.classes)
    metrics["disagreement"] = disagreement(total) if len(model.sides) > 1 else None
    metrics["per_image"] = per_image
    if intervals:
        for output, ends in confidence_intervals(np.stack(confusions), outputs, dataset.classes).items():
            metrics["outputs"][output]["intervals"] = ends
    if confusions_path is not None:
        with atomic_write(confusions_path) as partial_path:
            names = {"images": [image["image"] for image in per_image], "outputs": outputs, "classes": dataset.classes}
            np.savez_compressed(partial_path, confusions=np.stack(confusions), **names)
    if label_errors:
        calibration = total.calibration[-1]
        metrics["label_errors"] = rank_label_errors(regions, calibration, dataset.classes, label_errors)
    return metrics


def _add_boundaries(
    name: str, counts: Counts, segmentation: Segmentation, labels: np.ndarray, tolerance: int
) -> tuple[str, Counts]:
    num_classes = counts.confusion.shape[-1]
    return name, Counts(*counts[:3], boundary_matches(labels, segmentation.classes, num_classes, tolerance))


def image_names(pairs: Sequence[Pair]) -> list[str]:
    """Returns the names of images. If names repeat, returns their paths relative to the common folder."""
    files = [image for image, _ in pairs]
    names = [Path(file.name).name for file in files]
    if len({*names}) == len(names) or not all(isinstance(file, Path) for file in files):
        return names
    root = os.path.commonpath([file.parent for file in files])
    return [file.relative_to(root).as_posix() for file in files]
