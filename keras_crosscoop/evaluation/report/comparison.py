"""The report of several runs, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.metrics import METRICS, best_indices
from keras_crosscoop.evaluation.report.charts import Chart, Curve, learning_curves
from keras_crosscoop.evaluation.report.examples import Choice, Example, inference_options, load_examples
from keras_crosscoop.evaluation.report.page import write_page
from keras_crosscoop.evaluation.report.panels import output_panel
from keras_crosscoop.evaluation.run_metrics import read_history
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run

EXAMPLES = 6


class EvaluatedRun(NamedTuple):
    """A run, the result of its evaluation, and the data set."""

    run: Run
    metrics: Mapping[str, Any]
    dataset: Dataset

    @property
    def output(self) -> str:
        """The name of the last output: the ensemble, if there are two networks."""
        return list(self.metrics["outputs"])[-1]


class Basis(NamedTuple):
    """The data and settings of an evaluation. Two evaluations are comparable if these are equal."""

    dataset: str
    split: str
    crop: int | None
    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: tuple[int, ...]  # pixels of each class, which differ between data sets with the same names
    tolerance: float  # of boundaries, in pixels


class TableRow(NamedTuple):
    """The metrics of one output of a run, with the keys of those that are the best in the table."""

    run: int
    title: str
    metrics: Mapping[str, Any]
    best: set[str]


def write_comparison(runs: Sequence[tuple[Run, Mapping[str, Any], Dataset]], target: Path) -> list[str]:
    """Writes several runs side by side as a self-contained HTML page.

    Only runs that were evaluated on the same images and labels are comparable. Each group of them has a table and best
    values of its own. If all runs are comparable, the page shows the images on which they differ most.

    Args:
        runs: Each run with the result of `evaluate` and the data set.
        target: The page.

    Returns:
        The runs that are not comparable with the first one, and why: one sentence for each group.

    Raises:
        InputError: A run's weights or an image of the data set cannot be read, or the page cannot be written.
    """
    runs = [EvaluatedRun(*run) for run in runs]
    letters = [ascii_uppercase[index % 26] * (index // 26 + 1) for index in range(len(runs))]
    names = [f"{letter}: {run.run.folder.absolute().name}" for letter, run in zip(letters, runs, strict=True)]
    groups: dict[Basis, list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(_basis(run.metrics), []).append(index)
    first, *others = groups
    incomparable = [
        f"{', '.join(names[index] for index in groups[basis])} cannot be compared with {names[0]}: evaluated on "
        f"{_difference(basis, first)}"
        for basis in others
    ]
    write_page(
        "comparison.html",
        target,
        title="Comparison of runs",
        names=names,
        letters=letters,
        runs=runs,
        different_settings=_different_settings([run.run.settings for run in runs]),
        tables=[_table(group, letters, runs) for group in groups.values()],
        incomparable=incomparable,
        columns=METRICS,
        curves=_learning_curves(letters, runs),
        class_ious=_class_ious(runs),
        best_indices=best_indices,
        examples=[] if incomparable else _examples(letters, runs),
    )
    return incomparable


def _basis(metrics: Mapping[str, Any]) -> Basis:
    output = next(iter(metrics["outputs"].values()))
    return Basis(
        metrics["dataset"],
        metrics["split"],
        metrics["crop"],
        tuple(output["per_class"]),
        tuple(image["image"] for image in metrics["per_image"]),
        tuple(map(sum, output["confusion"])),
        metrics["boundary_tolerance"],
    )


def _difference(basis: Basis, first: Basis) -> str:
    if basis.dataset != first.dataset:
        return f"data set {basis.dataset} instead of {first.dataset}"
    if basis.classes != first.classes:
        counts = len(basis.classes), len(first.classes)
        return "other classes" if counts[0] == counts[1] else f"{counts[0]} classes instead of {counts[1]}"
    crops = ["whole images" if each.crop is None else f"a centre crop of {each.crop} pixels" for each in (basis, first)]
    differences = []
    if basis.split != first.split:
        differences.append(f"split {basis.split} instead of {first.split}")
    if basis.crop != first.crop:
        differences.append(" instead of ".join(crops))
    if not differences and basis.images != first.images:
        differences.append("other images")
    elif not differences and basis.labels != first.labels:
        differences.append("images or labels that have changed since")
    if basis.tolerance != first.tolerance:
        differences.append(f"boundaries within {basis.tolerance:g} pixels instead of {first.tolerance:g}")
    return " and ".join(differences)


def _different_settings(runs: Sequence[Settings]) -> dict[str, list[Any]]:
    """Returns the values of the settings that differ between runs, by dotted name."""
    settings = [_flatten(run.model_dump(mode="json")) for run in runs]
    names = dict.fromkeys(name for values in settings for name in values)
    rows = {name: [values.get(name) for values in settings] for name in names}
    return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _table(group: Sequence[int], letters: Sequence[str], runs: Sequence[EvaluatedRun]) -> list[TableRow]:
    rows = [
        TableRow(index, f"{letters[index]} {output}", metrics, set())
        for index in group
        for output, metrics in runs[index].metrics["outputs"].items()
    ]
    for metric in METRICS:
        values = [row.metrics[metric.key] for row in rows]
        for number in best_indices(values, higher_is_better=metric.higher_is_better):
            rows[number].best.add(metric.key)
    return rows


def _class_ious(runs: Sequence[EvaluatedRun]) -> dict[str, list[float | None]]:
    """Returns the IoU of every run by class; None also where a run has no such class."""
    metrics = [run.metrics["outputs"][run.output]["per_class"] for run in runs]
    names = dict.fromkeys(name for per_class in metrics for name in per_class)
    return {name: [per_class.get(name, {"iou": None})["iou"] for per_class in metrics] for name in names}


def _learning_curves(letters: Sequence[str], runs: Sequence[EvaluatedRun]) -> list[Chart]:
    losses, ious = [], []
    for series, (letter, run) in enumerate(zip(letters, runs, strict=True)):
        history = read_history(run.run)
        losses.append(Curve(f"{letter}, training", "loss", history, series))
        losses.append(Curve(f"{letter}, validation", "val_loss", history, series, dashed=True))
        ious.append(Curve(f"{letter} {run.output}", f"val_{run.output}_mean_iou", history, series))
    return learning_curves(losses, ious)


def _examples(letters: Sequence[str], runs: Sequence[EvaluatedRun]) -> list[Example]:
    names = [f"{letter} {run.output}" for letter, run in zip(letters, runs, strict=True)]
    scores = zip(*([image["mean_iou"][run.output] for image in run.metrics["per_image"]] for run in runs), strict=True)
    ranges = [
        (max(values) - min(values), index, dict(zip(names, values, strict=True)))
        for index, values in enumerate(scores)
        if None not in values
    ]
    ranges.sort(key=lambda entry: -entry[0])
    choices = [
        Choice(f"{100 * points:.1f} points of mean IoU between the runs", index, values)
        for points, index, values in ranges[:EXAMPLES]
    ]
    examples = load_examples(runs[0].dataset, runs[0].metrics, choices)
    for name, run in zip(names, runs, strict=True):
        inference = Inference(run.run.load(), **inference_options(run.metrics))
        for example in examples:
            example.panels.append(output_panel(name, example.probabilities(inference)[run.output], run.run.palette))
    return examples
