"""What an ablation found: a line for each output of each row, and how far the full method is ahead of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_crosscoop.ablation.ablating import Ablation
from keras_crosscoop.ablation.comparing import Gain, gain
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.published import BACKBONES, PUBLISHED
from keras_crosscoop.ablation.rows import FULL_METHOD, Row, backbone_name
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.report.measured import FIGURES
from keras_crosscoop.metrics import iou_per_class, mean_iou


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
    return {seed: _read(ablation.run(row, seed)) for seed in ablation.seeds if ablation.done(row, seed)}


def _read(run: Path) -> _Measured:
    figures = json.loads((run / FIGURES).read_text(encoding="utf-8"))
    with np.load(run / CONFUSIONS) as file:
        of_outputs = np.moveaxis(file["confusions"], 1, 0)
    images = [of_image["image"] for of_image in figures["per_image"]]
    classes = list(next(iter(figures["outputs"].values()))["per_class"])
    return _Measured(run, images, classes, dict(zip(figures["outputs"], of_outputs, strict=True)))


def _numbers(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _gain(full: Mapping[int, _Measured], against: str, runs: Mapping[int, _Measured], output: str) -> Gain | None:
    both = [seed for seed in runs if seed in full]
    if not both:
        return None
    for seed in both:
        if runs[seed].images != full[seed].images:
            raise InputError(
                "Rows are compared on the same images, but the data set has changed since. Remove what is older, and "
                f"go on by the same command. Received: {runs[seed].folder}, {full[seed].folder}"
            )
    first = [full[seed].confusions[against] for seed in both]
    return gain(first, [runs[seed].confusions[output] for seed in both])
