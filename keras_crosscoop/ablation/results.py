"""What an ablation found: a line for each output of each row, and how far the full method is ahead of it."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, Field

from keras_crosscoop.ablation.ablating import Ablation
from keras_crosscoop.ablation.comparing import Gain, gain
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.published import BACKBONES, PUBLISHED
from keras_crosscoop.ablation.rows import FULL_METHOD, ROWS, Row, backbone_name
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.run_metrics import METRICS_FILE
from keras_crosscoop.metrics import iou_per_class, mean_iou
from keras_crosscoop.system.json_files import read_json


class Line(NamedTuple):
    """An output of a row, measured. Figures are fractions of 1, one a seed.

    Attributes:
        row: which.
        title: of the row.
        output: "top", "bottom", "ensemble" or "single".
        seeds: that it was measured with.
        mean_iou: of each seed.
        per_class: the IoU of each class, of each seed; None where no label has it.
        cost: of the row.
        published: mean IoU in %, where the paper has it.
        gain: of the full method over this line; None of its own lines, and where it was not measured.
        against: the full method's output that is compared.
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
    against: str


class _Output(BaseModel):
    per_class: Annotated[dict[str, object], Field(min_length=1)]


class _Image(BaseModel):
    image: str


class _Figures(BaseModel):
    """Of a row's `metrics.json`, what tables are made of."""

    outputs: Annotated[dict[str, _Output], Field(min_length=1)]
    per_image: list[_Image]


class _Measured(NamedTuple):
    """A run's images, its C classes, and of each output all images' confusion matrices `(N, C, C)`."""

    folder: Path
    images: Sequence[str]
    classes: Sequence[str]
    confusions: Mapping[str, np.ndarray]


def lines(ablation: Ablation, costs: Mapping[str, RowCost]) -> list[Line]:
    """The lines of all rows that were measured with a seed or more.

    Raises:
        InputError: a row was measured on other images than the full method.
    """
    base = ablation.settings
    of_paper = tuple(map(backbone_name, (base.model.top, base.model.bottom))) == BACKBONES
    published = PUBLISHED.get(base.data.name, {}) if of_paper else {}
    full = _measured(ablation, FULL_METHOD)
    found = []
    for row in ablation.rows:
        runs = full if row.name == FULL_METHOD else _measured(ablation, row.name)
        if not runs:
            continue
        for output, against in row.shown.items():
            # From counts, as the gains are: what `metrics.json` says of means may be of an earlier version.
            totals = np.stack([run.confusions[output].sum(axis=0) for run in runs.values()])
            of_classes = zip(next(iter(runs.values())).classes, iou_per_class(totals).T, strict=True)
            found.append(
                Line(
                    row,
                    row.titled(base),
                    output,
                    tuple(runs),
                    _numbers(mean_iou(totals)),
                    {name: _numbers(ious) for name, ious in of_classes},
                    costs.get(row.name),
                    published.get((row.name, output)),
                    None if runs is full else _gain(full, against, runs, output),
                    against,
                )
            )
    return found


def _measured(ablation: Ablation, row: str) -> dict[int, _Measured]:
    """By seed."""
    return {seed: _read(ablation.run(row, seed), ROWS[row]) for seed in ablation.seeds if ablation.done(row, seed)}


def _read(run: Path, row: Row) -> _Measured:
    remedy = "Remove the file, and the same command measures the row anew."
    figures = read_json(run / METRICS_FILE, _Figures, "The row's figures", remedy)
    if not figures.outputs.keys() >= row.shown.keys():
        raise InputError(
            f"The row's figures are of another network (outputs {', '.join(figures.outputs)}). {remedy} "
            f"Received: {run / METRICS_FILE}"
        )
    path = run / CONFUSIONS
    try:
        with path.open("rb") as stream, np.load(stream) as file:  # NumPy leaves a damaged one open
            confusions = file["confusions"]
        classes = list(next(iter(figures.outputs.values())).per_class)
        expected = len(figures.per_image), len(figures.outputs), len(classes), len(classes)
        if confusions.shape != expected or not np.issubdtype(confusions.dtype, np.integer):
            raise ValueError(f"{confusions.dtype} {confusions.shape} instead of integers {expected}")
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, BadZipFile) as error:
        raise InputError(f"The row's confusion matrices cannot be read ({error}). {remedy} Received: {path}") from error
    of_outputs = dict(zip(figures.outputs, np.moveaxis(confusions, 1, 0), strict=True))
    return _Measured(run, [each.image for each in figures.per_image], classes, of_outputs)


def _numbers(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _gain(full: Mapping[int, _Measured], against: str, runs: Mapping[int, _Measured], output: str) -> Gain | None:
    both = [seed for seed in runs if seed in full]
    if not both:
        return None
    for seed in both:
        both_runs = runs[seed], full[seed]
        if len({(*run.images, *run.classes) for run in both_runs}) > 1:
            raise InputError(
                "Rows are compared on the same images and classes, but the data set has changed since. Remove what is "
                f"older, and go on by the same command. Received: {runs[seed].folder}, {full[seed].folder}"
            )
    first = [full[seed].confusions[against] for seed in both]
    return gain(first, [runs[seed].confusions[output] for seed in both])
