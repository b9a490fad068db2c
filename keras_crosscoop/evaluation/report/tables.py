"""Figures as a page shows them: rows of cells."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

from keras_crosscoop.config import Settings


def best(values: Sequence[float | None], *, more_is_better: bool = True) -> set[int]:
    """Which of them are best, to the tenth of a percent that is shown; none where all are equal."""
    shown = {index: round(value, 3) for index, value in enumerate(values) if value is not None}
    if len(set(shown.values())) < 2:
        return set()
    limit = (max if more_is_better else min)(shown.values())
    return {index for index, value in shown.items() if value == limit}


class Cell(NamedTuple):
    """Of a confusion matrix: its share of the row, 0 to 1, its pixels, and its colours."""

    share: float | None
    pixels: int
    background: str
    ink: str


def confusion(matrix: Sequence[Sequence[int]]) -> list[list[Cell]]:
    """Rows of cells, coloured by the share of the row's class that was taken for the column's."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = mpl.colormaps["magma_r"](shares)  # its lightness falls evenly, so it also reads in grey
    return [
        [
            Cell(
                float(share) if row.any() else None,
                int(pixels),
                mpl.colors.to_hex(colour) if pixels else "#ffffff",
                "#ffffff" if share > 0.5 else "#000000",
            )
            for pixels, share, colour in zip(row, of_row, of_colour, strict=True)
        ]
        for row, of_row, of_colour in zip(counts, shares, colours, strict=True)
    ]


def differences(runs: Sequence[Settings]) -> dict[str, list[Any]]:
    """The settings that are not the same in all runs, by their dotted name."""
    flat = [_flat(settings.model_dump(mode="json")) for settings in runs]
    names = dict.fromkeys(name for of_run in flat for name in of_run)
    rows = {name: [of_run.get(name) for of_run in flat] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat
