"""The results of an ablation: the scores of each output of each row, and the full method's gain over it."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, Field

from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.gains import Gain, gain
from keras_crosscoop.ablation.published import BACKBONES, PUBLISHED
from keras_crosscoop.ablation.rows import FULL_METHOD, ROWS, Row, backbone_name
from keras_crosscoop.ablation.study import Ablation
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.run_metrics import METRICS_FILE
from keras_crosscoop.metrics import iou_per_class, mean_iou
from keras_crosscoop.system.json_files import read_json


class Result(NamedTuple):
    """The scores of an output of a row, fractions of 1, one for each seed.

    Attributes:
        row: The row.
        title: The row's title with the names of backbones.
        output: "top", "bottom", "ensemble" or "single".
        seeds: The measured seeds.
        mean_iou: The mean IoU of each seed.
        per_class: For each class, the IoU of each seed; None if no label has the class.
        cost: The row's cost; None if it could not be measured.
        published: The paper's mean IoU in %, if there is one.
        gain: The full method's gain over this output; None for the full method, and if that was not measured.
        compared_with: The output of the full method in that comparison.
    """

    row: Row
    title: str
    output: str
    seeds: tuple[int, ...]
    mean_iou: tuple[float, ...]
    per_class: Mapping[str, tuple[float | None, ...]]
    cost: RowCost | None
    published: float | None
    gain: Gain | None
    compared_with: str


class _Output(BaseModel):
    per_class: Annotated[dict[str, object], Field(min_length=1)]


class _Image(BaseModel):
    image: str


class _Metrics(BaseModel):
    """The entries of a row's `metrics.json` that are needed here."""

    outputs: Annotated[dict[str, _Output], Field(min_length=1)]
    per_image: list[_Image]


class _Counts(NamedTuple):
    """The images and C classes of a run, and for each output the confusion matrices of all images `(N, C, C)`."""

    folder: Path
    images: Sequence[str]
    classes: Sequence[str]
    confusions: Mapping[str, np.ndarray]


def read_results(ablation: Ablation, costs: Mapping[str, RowCost]) -> list[Result]:
    """Reads the results of all rows that were measured with at least one seed.

    Raises:
        InputError: A file is damaged, or a row was measured on other images than the full method.
    """
    base = ablation.settings
    is_paper = tuple(map(backbone_name, (base.model.top, base.model.bottom))) == BACKBONES
    published = PUBLISHED.get(base.data.name, {}) if is_paper else {}
    full = _counts_of_seeds(ablation, FULL_METHOD)
    results = []
    for row in ablation.rows:
        runs = full if row.name == FULL_METHOD else _counts_of_seeds(ablation, row.name)
        if not runs:
            continue
        for output, compared_with in row.outputs.items():
            # The means in `metrics.json` may come from an earlier version; counts do not change.
            totals = np.stack([run.confusions[output].sum(axis=0) for run in runs.values()])
            per_class = zip(next(iter(runs.values())).classes, iou_per_class(totals).T, strict=True)
            results.append(
                Result(
                    row,
                    row.full_title(base),
                    output,
                    tuple(runs),
                    _without_nan(mean_iou(totals)),
                    {name: _without_nan(ious) for name, ious in per_class},
                    costs.get(row.name),
                    published.get((row.name, output)),
                    None if runs is full else _gain(full, compared_with, runs, output),
                    compared_with,
                )
            )
    return results


def _counts_of_seeds(ablation: Ablation, row: str) -> dict[int, _Counts]:
    return {seed: _read(ablation.run(row, seed), ROWS[row]) for seed in ablation.seeds if ablation.is_done(row, seed)}


def _read(run: Path, row: Row) -> _Counts:
    remedy = "Remove the file, and run the same command again to measure the row."
    metrics = read_json(run / METRICS_FILE, _Metrics, "The row's metrics", remedy)
    if not metrics.outputs.keys() >= row.outputs.keys():
        raise InputError(
            f"The row's metrics belong to another network (outputs {', '.join(metrics.outputs)}). {remedy} "
            f"Received: {run / METRICS_FILE}"
        )
    path = run / CONFUSIONS
    try:
        with path.open("rb") as stream, np.load(stream) as file:  # NumPy does not close a damaged file
            confusions = file["confusions"]
        classes = list(next(iter(metrics.outputs.values())).per_class)
        expected = len(metrics.per_image), len(metrics.outputs), len(classes), len(classes)
        if confusions.shape != expected or not np.issubdtype(confusions.dtype, np.integer):
            raise ValueError(f"{confusions.dtype} {confusions.shape} instead of integers {expected}")
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, BadZipFile) as error:
        raise InputError(f"The row's confusion matrices cannot be read ({error}). {remedy} Received: {path}") from error
    by_output = dict(zip(metrics.outputs, np.moveaxis(confusions, 1, 0), strict=True))
    return _Counts(run, [image.image for image in metrics.per_image], classes, by_output)


def _without_nan(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _gain(full: Mapping[int, _Counts], compared_with: str, runs: Mapping[int, _Counts], output: str) -> Gain | None:
    seeds = [seed for seed in runs if seed in full]
    for seed in seeds:
        if (runs[seed].images, runs[seed].classes) != (full[seed].images, full[seed].classes):
            raise InputError(
                "Rows need the same images and classes, but the data set has changed between these two. Remove the "
                f"older one, and run the same command again. Received: {runs[seed].folder}, {full[seed].folder}"
            )
    if not seeds:
        return None
    first = [full[seed].confusions[compared_with] for seed in seeds]
    return gain(first, [runs[seed].confusions[output] for seed in seeds])
