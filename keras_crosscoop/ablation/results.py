"""The results of an ablation: the scores of each output of each row, and the full method's gain over it."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.gains import Gain, gain
from keras_crosscoop.ablation.published import BACKBONES, PUBLISHED
from keras_crosscoop.ablation.rows import FULL_METHOD, Row, backbone_name
from keras_crosscoop.ablation.study import Ablation
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.errors import InputError
from keras_crosscoop.metrics import iou_per_class, mean_iou


class Result(NamedTuple):
    """The scores of an output of a row, fractions of 1, one for each measured seed."""

    row: Row
    title: str  # with the names of the backbones
    output: str  # "top", "bottom", "ensemble" or "single"
    seeds: tuple[int, ...]
    mean_iou: tuple[float, ...]
    per_class: Mapping[str, tuple[float | None, ...]]  # IoU by class; None if no label has the class
    cost: RowCost | None  # None if it could not be measured
    published: float | None  # the paper's mean IoU in %
    gain: Gain | None  # of the full method over this output; None for the full method, and if that was not measured
    compared_with: str  # the output of the full method in that comparison


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
    return {seed: _read(ablation.run(row, seed)) for seed in ablation.seeds if ablation.is_done(row, seed)}


def _read(run: Path) -> _Counts:
    path = run / CONFUSIONS
    try:
        with path.open("rb") as stream, np.load(stream) as file:  # NumPy does not close a damaged file
            images, classes, outputs = (file[name].tolist() for name in ("images", "classes", "outputs"))
            confusions = np.moveaxis(file["confusions"], 1, 0)
        return _Counts(run, images, classes, dict(zip(outputs, confusions, strict=True)))
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, BadZipFile) as error:
        raise InputError(
            f"The row's confusion matrices cannot be read ({error}). Remove the file, and run the same command again "
            f"to measure the row. Received: {path}"
        ) from error


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
