"""What an ablation found: a line for each output of each row, and how far the full method is ahead of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.ablation.ablating import Ablation
from keras_crosscoop.ablation.comparing import Gain, gain
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.published import BACKBONES, PUBLISHED
from keras_crosscoop.ablation.rows import Row, backbone_name
from keras_crosscoop.ablation.worker import CONFUSIONS
from keras_crosscoop.evaluation.report.measured import FIGURES

FULL_METHOD = "cross"


class Line(NamedTuple):
    """An output of a row, measured. Figures are fractions of 1, one a seed.

    Attributes:
        row: which.
        title: of the row.
        output: "top", "bottom", "ensemble" or "single".
        seeds: that it was measured with.
        mean_iou: of each seed.
        per_class: the IoU of each class, of each seed; None where it is in neither labels nor predictions.
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


def lines(ablation: Ablation, costs: Mapping[str, RowCost]) -> list[Line]:
    """The lines of all rows that were measured with a seed or more."""
    base = ablation.settings
    of_paper = tuple(map(backbone_name, (base.model.top, base.model.bottom))) == BACKBONES
    published = PUBLISHED.get(base.data.name, {}) if of_paper else {}
    found = []
    for row in ablation.rows:
        seeds = [seed for seed in ablation.seeds if ablation.done(row.name, seed)]
        if not seeds:
            continue
        figures = [_figures(ablation, row.name, seed) for seed in seeds]
        for output, against in row.shown.items():
            of_seeds = [each["outputs"][output] for each in figures]
            found.append(
                Line(
                    row,
                    row.titled(base),
                    output,
                    tuple(seeds),
                    tuple(each["mean_iou"] for each in of_seeds),
                    {
                        name: tuple(each["per_class"][name]["iou"] for each in of_seeds)
                        for name in of_seeds[0]["per_class"]
                    },
                    costs.get(row.name),
                    published.get((row.name, output)),
                    _gain(ablation, row.name, output, against, seeds),
                    against,
                )
            )
    return found


def _figures(ablation: Ablation, row: str, seed: int) -> dict[str, Any]:
    return json.loads((ablation.run(row, seed) / FIGURES).read_text(encoding="utf-8"))


def _gain(ablation: Ablation, row: str, output: str, against: str, seeds: Sequence[int]) -> Gain | None:
    both = [seed for seed in seeds if ablation.done(FULL_METHOD, seed)]
    if row == FULL_METHOD or not both:
        return None
    first = [_confusions(ablation, FULL_METHOD, against, seed) for seed in both]
    return gain(first, [_confusions(ablation, row, output, seed) for seed in both])


def _confusions(ablation: Ablation, row: str, output: str, seed: int) -> np.ndarray:
    """Each image's matrix, `(N, C, C)`."""
    index = list(_figures(ablation, row, seed)["outputs"]).index(output)
    with np.load(ablation.run(row, seed) / CONFUSIONS) as file:
        return file["confusions"][:, index]
