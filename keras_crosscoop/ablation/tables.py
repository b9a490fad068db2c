"""The paper's tables, of measured lines: as cells, which Markdown and a page show alike, and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.ablation.comparing import Gain
from keras_crosscoop.ablation.published import REFERENCES
from keras_crosscoop.ablation.results import Line
from keras_crosscoop.ablation.rows import TABLES
from keras_crosscoop.config import Settings
from keras_crosscoop.evaluation.metrics import best_indices

PAPER = "paper, mIoU"  # of Xception-65 and ResNet-101
_BY_CLASSES = {"voc2012": "Table 1", "cityscapes": "Table 3"}  # of the paper: one table for each data set

_COSTS = ("parameters, M", "GFLOPs", "ms")
_OF_COSTS = "Parameters, operations and time are the row's, of one validation image; times: all rows in turn."


class Cell(NamedTuple):
    """What a table says at one place, and whether it is the best of its column."""

    text: str
    best: bool = False


class Table(NamedTuple):
    """Rows of cells under a title and above a note."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def tables(lines: Sequence[Line], settings: Settings) -> list[Table]:
    """All that can be made of what was measured, in the paper's order."""
    name = settings.data.name
    found = []
    if of_methods := [line for line in lines if line.row.name in TABLES["table1"]]:
        found.append(_by_classes(of_methods, name, settings))
    if of_parts := [line for line in lines if line.row.name in (*TABLES["table5"], "cross_reduced")]:
        found.append(_by_connections(of_parts, name, settings))
    if any(line.gain for line in lines):
        found.append(_gains(lines))
    if name in REFERENCES:
        found.append(_references(name))
    return found


def _by_classes(lines: Sequence[Line], name: str, settings: Settings) -> Table:
    classes = list(lines[0].per_class)
    columns = {each: [_mean(line.per_class[each]) for line in lines] for each in classes}
    columns["mIoU"] = [_mean(line.mean_iou) for line in lines]
    winners = {column: best_indices(values) for column, values in columns.items()}
    rows = [
        [
            Cell(line.title),
            Cell(line.output),
            *(Cell(_percent(columns[each][index]), index in winners[each]) for each in classes),
            Cell(with_spread(line.mean_iou), index in winners["mIoU"]),
            *_published(line, lines),
            *map(Cell, cost_texts(line)),
        ]
        for index, line in enumerate(lines)
    ]
    number = _BY_CLASSES.get(name, "In the shape of Table 1")
    return Table(
        f"{number}: IoU of methods and classes on {name} {settings.data.val_split}, %",
        ["method", "output", *classes, "mIoU", *_published_column(lines), *_COSTS],
        rows,
        f"Means over {_seeds(lines)}, after ± the standard deviation (of classes: see the CSV). Bold: the best of a "
        f"column. {_OF_COSTS}",
    )


def _by_connections(lines: Sequence[Line], name: str, settings: Settings) -> Table:
    means = [_mean(line.mean_iou) for line in lines]
    winners = best_indices(means)
    number = "Table 5" if name == "voc2012" else "In the shape of Table 5"
    rows = [
        [
            Cell(line.title),
            *(Cell("✓" if site in sites else "") for site in ("backbone", "aspp_output")),
            Cell(line.output),
            Cell(with_spread(line.mean_iou), index in winners),
            *_published(line, lines),
            *map(Cell, cost_texts(line)),
        ]
        for index, line in enumerate(lines)
        for sites in [line.row.settings(settings, seed=0).model.sites]
    ]
    columns = ["network", "Connection 1", "Connection 2", "output", "mIoU", *_published_column(lines), *_COSTS]
    note = (
        f"In %, over {_seeds(lines)}. Connection 1 stands after the backbone, Connection 2 after ASPP. Bold: the best. "
        f"{_OF_COSTS}"
    )
    return Table(f"{number}: what the connections add on {name}", columns, rows, note)


def cost_texts(line: Line) -> list[str]:
    """Of the row: millions of parameters, GFLOPs, milliseconds; empty where they were not measured."""
    if (cost := line.cost) is None:
        return [""] * len(_COSTS)
    return [f"{cost.parameters / 1e6:.2f}", f"{cost.flops / 1e9:.2f}", f"{1000 * cost.seconds:.1f}"]


def _gains(lines: Sequence[Line]) -> Table:
    rows = []
    for line in lines:
        if (gain := line.gain) is None:
            continue
        mean, ends, verdict = gain_texts(gain)
        spread = "–" if gain.spread is None else f"{100 * gain.spread:.2f}"
        texts = [f"cross, {line.against}", line.title, line.output, mean, ends, spread, verdict]
        rows.append([Cell(text) for text in texts])
    return Table(
        "Is cross ahead? Points of mean IoU, paired",
        ["of", "over", "output", "gain", "95 % over images", "spread of seeds", "cross is"],
        rows,
        "Each line is compared with the cross network's output of the same backbone, on the same images and with the "
        "same seeds. Interval: bootstrap over images. Spread: standard deviation of the gain over seeds, which tells "
        "little where these are few: without any difference a mean of two seeds is more than it in 39 % of the cases, "
        "of three in 23 %. Ahead, behind: the interval leaves out 0, and the gain is further from it than the spread.",
    )


def gain_texts(gain: Gain) -> tuple[str, str, str]:
    """In points of mean IoU: the gain, its interval, and what they and the seeds' spread say."""
    low, high = (_points(end) for end in gain.interval)
    return _points(gain.mean), f"{low} to {high}", gain.verdict


def _references(name: str) -> Table:
    number = {"voc2012": "Table 2", "cityscapes": "Table 4"}[name]
    rows = [[Cell(method), Cell(f"{value:.1f}")] for method, value in REFERENCES[name].items()]
    return Table(
        f"{number}: other methods, as the paper lists them", ["method", PAPER], rows, "Published, not measured."
    )


def _published_column(lines: Sequence[Line]) -> list[str]:
    return [PAPER] if any(line.published for line in lines) else []


def _published(line: Line, lines: Sequence[Line]) -> list[Cell]:
    return [Cell("" if line.published is None else f"{line.published:g}")] if _published_column(lines) else []


def markdown(table: Table) -> str:
    """As GitHub shows it."""
    cells = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in table.rows]
    rows = [list(table.columns), ["---"] * len(table.columns), *cells]
    text = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return f"## {table.title}\n\n{text}\n" + (f"\n{table.note}\n" if table.note else "")


def as_csv(lines: Sequence[Line]) -> str:
    """One row a line: figures are fractions of 1, empty where there are none."""
    stream = io.StringIO()
    rows = [_flat(line) for line in lines]
    writer = csv.DictWriter(stream, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _flat(line: Line) -> Mapping[str, Any]:
    cost, gain = line.cost, line.gain
    return {
        "row": line.row.name,
        "output": line.output,
        "seeds": len(line.seeds),
        "mean_iou": _mean(line.mean_iou),
        "mean_iou_std": _std(line.mean_iou),
        "parameters": cost and cost.parameters,
        "flops": cost and cost.flops,
        "seconds_per_image": cost and cost.seconds,
        "published_mean_iou": line.published and line.published / 100,
        "gain_of_cross": gain and gain.mean,
        "gain_low": gain and gain.interval[0],
        "gain_high": gain and gain.interval[1],
        "gain_std": gain and gain.spread,
        "gain_exceeds_both": gain and gain.exceeds,
        **{f"{name}_iou": _mean(values) for name, values in line.per_class.items()},
        **{f"{name}_iou_std": _std(values) for name, values in line.per_class.items()},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _std(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.std(there, ddof=1)) if len(there) > 1 else None


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def with_spread(values: Sequence[float]) -> str:
    """The mean over seeds in %, and its standard deviation if there are several."""
    spread = _std(values)
    return _percent(_mean(values)) + (f" ± {100 * spread:.1f}" if spread is not None else "")


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _seeds(lines: Sequence[Line]) -> str:
    counts = sorted({len(line.seeds) for line in lines})
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{many} seed" + ("" if many == "1" else "s")
