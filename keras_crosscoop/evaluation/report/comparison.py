"""The report of several runs, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.metrics import METRICS, best_indices
from keras_crosscoop.evaluation.report.charts import Curves, learning_curves
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


def write_comparison(runs: Sequence[tuple[Run, Mapping[str, Any], Dataset]], target: Path) -> list[str]:
    """Writes several runs side by side as a self-contained HTML page.

    Only runs that were evaluated on the same images and labels are comparable. Each comparable group has its own table
    and best values. If all runs are comparable, the page shows the images on which they differ most.

    Args:
        runs: Each run with the result of `evaluate` and the data set.
        target: The page.

    Returns:
        For each group that is not comparable with the first run, a sentence with the reason.

    Raises:
        InputError: A run's weights or an image of the data set cannot be read, or the page cannot be written.
    """
    runs = [EvaluatedRun(*run) for run in runs]
    letters = [ascii_uppercase[index % 26] * (index // 26 + 1) for index in range(len(runs))]
    names = [f"{letter}: {run.run.folder.absolute().name}" for letter, run in zip(letters, runs, strict=True)]
    bases = [_basis(run.metrics) for run in runs]
    groups = [[index for index, other in enumerate(bases) if other == basis] for basis in bases]
    groups = [group for index, group in enumerate(groups) if group[0] == index]
    incomparable = [
        f"{', '.join(names[index] for index in group)} cannot be compared with {names[0]}: evaluated on "
        f"{_difference(bases[group[0]], bases[0])}"
        for group in groups[1:]
    ]
    curves = [
        Curves(letter, read_history(run.run), "loss", f"val_{run.output}_mean_iou")
        for letter, run in zip(letters, runs, strict=True)
    ]
    write_page(
        "comparison.html",
        target,
        title="Comparison of runs",
        names=names,
        letters=letters,
        runs=runs,
        different_settings=_different_settings([run.run.settings for run in runs]),
        tables=[_table(group, letters, runs) for group in groups],
        incomparable=incomparable,
        columns=METRICS,
        curves=learning_curves(curves),
        class_ious=_class_ious(runs),
        best_indices=best_indices,
        examples=[] if incomparable else _examples(letters, runs),
    )
    return incomparable


def _basis(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the properties of an evaluation that must be equal for a comparison, by name."""
    output = next(iter(metrics["outputs"].values()))
    return {
        "data set": metrics["dataset"],
        "split": metrics["split"],
        "images": f"cropped to {metrics['crop']} pixels" if metrics["crop"] else "uncropped",
        "boundary tolerance": metrics["boundary_tolerance"],
        "other classes": list(output["per_class"]),
        "other images": [image["image"] for image in metrics["per_image"]],
        "changed images or labels": [sum(row) for row in output["confusion"]],  # pixels of each class
    }


def _difference(basis: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    different = [name for name in basis if basis[name] != first[name]]
    named = [name for name in different if not isinstance(basis[name], list)]
    return " and ".join(f"{name} {basis[name]} instead of {first[name]}" for name in named) or different[0]


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


def _table(group: Sequence[int], letters: Sequence[str], runs: Sequence[EvaluatedRun]) -> dict[str, Any]:
    """Returns the rows of a table, as (title, metrics, run), and the rows with the best value of each metric."""
    rows = [
        (f"{letters[index]} {output}", metrics, runs[index])
        for index in group
        for output, metrics in runs[index].metrics["outputs"].items()
    ]
    best = {
        key: best_indices([metrics[key] for _, metrics, _ in rows], higher_is_better=higher)
        for key, _, higher in METRICS
    }
    return {"rows": rows, "best": best}


def _class_ious(runs: Sequence[EvaluatedRun]) -> dict[str, list[float | None]]:
    """Returns the IoU of every run by class; None if a run does not have the class."""
    metrics = [run.metrics["outputs"][run.output]["per_class"] for run in runs]
    names = dict.fromkeys(name for per_class in metrics for name in per_class)
    return {name: [per_class.get(name, {"iou": None})["iou"] for per_class in metrics] for name in names}


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
