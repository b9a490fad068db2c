"""The tables of an ablation, as text for Markdown, HTML and the terminal, and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.ablation.gains import Gain
from keras_crosscoop.ablation.published import REFERENCES
from keras_crosscoop.ablation.results import Result
from keras_crosscoop.ablation.rows import TABLES
from keras_crosscoop.config import Settings
from keras_crosscoop.evaluation.metrics import best_indices
from keras_crosscoop.evaluation.report.page import percent

PAPER = "paper, mIoU"  # of Xception-65 and ResNet-101
_COSTS = ("parameters, M", "GFLOPs", "ms")
_ABOUT_COSTS = (
    "Parameters, operations and time are for the whole row and one validation image; rows were timed in turns."
)


class Table(NamedTuple):
    """A table of strings, with a title above it and a note below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()  # (row, column) of the best values of their columns
    note: str = ""


def tables(results: Sequence[Result], settings: Settings) -> list[Table]:
    """Returns the paper's tables with their measured rows, and the table of gains."""
    name = settings.data.name
    methods = [result for result in results if result.row.name in TABLES["table1"]]
    connections = [result for result in results if result.row.name in (*TABLES["table5"], "cross_reduced")]
    all_tables = [_methods(methods, name, settings)] if methods else []
    all_tables += [_connections(connections, name, settings)] if connections else []
    all_tables += [_gains(results)] if any(result.gain for result in results) else []
    return all_tables + ([_references(name)] if name in REFERENCES else [])


def _methods(results: Sequence[Result], name: str, settings: Settings) -> Table:
    classes = list(results[0].per_class)
    means = [[_mean(result.per_class[label]) for result in results] for label in classes]
    cells = [
        [result.title, result.output, *map(percent, ious)]
        for result, ious in zip(results, zip(*means, strict=True), strict=True)
    ]
    number = {"voc2012": "Table 1", "cityscapes": "Table 3"}.get(name, "In the format of Table 1")
    table = _scores(
        results,
        f"{number}: IoU in % of each method and class on {name} {settings.data.val_split}",
        ["method", "output", *classes],
        cells,
        f"Means over {_seeds(results)}; ± is the standard deviation of mIoU. The CSV has the standard deviations "
        "of classes. Bold: the best value of a column.",
    )
    best = ((row, column) for column, ious in enumerate(means, start=2) for row in best_indices(ious))
    return table._replace(best=table.best.union(best))


def _connections(results: Sequence[Result], name: str, settings: Settings) -> Table:
    cells = []
    for result in results:
        sites = result.row.settings(settings, seed=0).model.sites
        ticks = ["✓" if site in sites else "" for site in ("backbone", "aspp_output")]
        cells.append([result.title, *ticks, result.output])
    return _scores(
        results,
        f"{'Table 5' if name == 'voc2012' else 'In the format of Table 5'}: effect of the connections on {name}",
        ["network", "Connection 1", "Connection 2", "output"],
        cells,
        f"Mean mIoU in % over {_seeds(results)}. Connection 1 is after the backbone, Connection 2 after ASPP. Bold: "
        "the best value.",
    )


def _scores(
    results: Sequence[Result], title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], note: str
) -> Table:
    """Returns a table of these columns, then the mean IoU, the paper's if it has any, and the costs."""
    has_published = any(result.published for result in results)
    rows = []
    for first, result in zip(cells, results, strict=True):
        published = ["" if result.published is None else f"{result.published:g}"] if has_published else []
        rows.append([*first, mean_and_spread(result.mean_iou), *published, *cost_texts(result)])
    best = frozenset((row, len(columns)) for row in best_indices([_mean(result.mean_iou) for result in results]))
    headings = [*columns, "mIoU", *([PAPER] if has_published else []), *_COSTS]
    return Table(title, headings, rows, best, f"{note} {_ABOUT_COSTS}")


def cost_texts(result: Result) -> list[str]:
    """Returns millions of parameters, GFLOPs and milliseconds of a row; empty if they were not measured."""
    if (cost := result.cost) is None:
        return [""] * len(_COSTS)
    return [f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}", f"{1000 * cost.seconds:.1f}"]


def _gains(results: Sequence[Result]) -> Table:
    rows = []
    for result in results:
        if (gain := result.gain) is not None:
            mean, interval, verdict = gain_texts(gain)
            names = f"cross, {result.compared_with}", result.title, result.output
            rows.append([*names, mean, interval, percent(gain.spread, 2), verdict])
    return Table(
        "Gain of the cross network over the other rows, in points of mean IoU",
        [
            "gain of",
            "over row",
            "output",
            "gain",
            "95 % interval over images",
            "standard deviation over seeds",
            "verdict",
        ],
        rows,
        note="Each output is compared with the output of cross that has the same backbone, on the same images and with "
        "the same seeds. The interval is a bootstrap interval over images. Cross is ahead or behind if the interval "
        "excludes 0 and the gain is larger than its standard deviation over seeds. A standard deviation over few seeds "
        "is unreliable: if there is no true difference, the mean gain still exceeds it in 39 % of the cases with two "
        "seeds, and in 23 % with three.",
    )


def gain_texts(gain: Gain) -> tuple[str, str, str]:
    """Returns a gain and its interval in points of mean IoU, and its verdict."""
    mean, low, high = (f"{100 * value:+.2f}" for value in (gain.mean, *gain.interval))
    return mean, f"{low} to {high}", gain.verdict


def _references(name: str) -> Table:
    number = {"voc2012": "Table 2", "cityscapes": "Table 4"}[name]
    rows = [[method, f"{value:.1f}"] for method, value in REFERENCES[name].items()]
    return Table(f"{number}: other methods, as listed in the paper", ["method", PAPER], rows, note="Published values.")


def markdown(table: Table) -> str:
    """Returns a table in GitHub's Markdown."""
    rows = [
        [f"**{text}**" if (index, column) in table.best else text for column, text in enumerate(row)]
        for index, row in enumerate(table.rows)
    ]
    lines = [table.columns, ["---"] * len(table.columns), *rows]
    text = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    return f"## {table.title}\n\n{text}" + (f"\n{table.note}\n" if table.note else "")


def as_csv(results: Sequence[Result]) -> str:
    """Returns CSV with one line for each result; values are fractions of 1, or empty if there are none."""
    stream = io.StringIO()
    rows = [_flat(result) for result in results]
    writer = csv.DictWriter(stream, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _flat(result: Result) -> Mapping[str, Any]:
    cost, gain = result.cost, result.gain
    return {
        "row": result.row.name,
        "output": result.output,
        "seeds": len(result.seeds),
        "mean_iou": _mean(result.mean_iou),
        "mean_iou_std": _std(result.mean_iou),
        "parameters": cost and cost.parameters,
        "flops": cost and cost.flops,
        "seconds_per_image": cost and cost.seconds,
        "published_mean_iou": result.published and result.published / 100,
        "gain_of_cross": gain and gain.mean,
        "gain_low": gain and gain.interval[0],
        "gain_high": gain and gain.interval[1],
        "gain_std": gain and gain.spread,
        "gain_is_clear": gain and gain.is_clear,
        **{f"{name}_iou": _mean(values) for name, values in result.per_class.items()},
        **{f"{name}_iou_std": _std(values) for name, values in result.per_class.items()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _std(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def mean_and_spread(values: Sequence[float]) -> str:
    """Returns the mean over seeds in %, with the standard deviation if there are several."""
    spread = _std(values)
    return percent(_mean(values)) + (f" ± {percent(spread)}" if spread is not None else "")


def _seeds(results: Sequence[Result]) -> str:
    counts = sorted({len(result.seeds) for result in results})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seed" + ("" if number == "1" else "s")
