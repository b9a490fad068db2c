"""The report of several runs, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.metrics import FIGURES
from keras_crosscoop.evaluation.report import charts, examples, groups, panels, tables
from keras_crosscoop.evaluation.report.measured import history
from keras_crosscoop.evaluation.report.reporting import looking
from keras_crosscoop.evaluation.report.writing import write
from keras_crosscoop.images.io import VOID_COLOUR
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run

EXAMPLES = 6


class Compared(NamedTuple):
    """A run, what `evaluate` measured of it, and on what."""

    run: Run
    figures: Mapping[str, Any]
    dataset: Dataset

    @property
    def output(self) -> str:
        """The one that stands for the run: the ensemble, if there is one."""
        return list(self.figures["outputs"])[-1]

    @property
    def scores(self) -> list[float | None]:
        """Mean IoU of each image."""
        return [of_image["mean_iou"][self.output] for of_image in self.figures["per_image"]]


class Row(NamedTuple):
    """An output of a run, measured: its place among the runs, its title, and the figures in which it is the best."""

    run: int
    title: str
    figures: Mapping[str, Any]
    best: set[str]


def write_comparison(runs: Sequence[tuple[Run, Mapping[str, Any], Dataset]], target: Path) -> list[str]:
    """Writes several runs side by side as one HTML page.

    Only runs that were measured on the same images and labels are compared: each group of such has a table, and its
    best. Where there is one group alone, the images are shown on which runs differ most.

    Args:
        runs: each with what `evaluate` measured of it, and on what.
        target: the page.

    Returns:
        Which runs cannot be compared with the first one, and why, one a line.

    Raises:
        InputError: a run's weights or an image of the data set cannot be read, or the page cannot be written.
    """
    compared = [Compared(*run) for run in runs]
    letters = [ascii_uppercase[index % 26] * (index // 26 + 1) for index in range(len(compared))]
    names = [f"{letter}: {each.run.folder.absolute().name}" for letter, each in zip(letters, compared, strict=True)]
    bases = [groups.basis(each.figures) for each in compared]
    together = groups.grouped(bases)
    apart = [
        f"{', '.join(names[index] for index in group)} cannot be compared with {names[0]}: measured on "
        f"{bases[group[0]].difference(bases[0])}"
        for group in together[1:]
    ]
    write(
        "comparison.html",
        target,
        title="Runs compared",
        names=names,
        letters=letters,
        compared=compared,
        differences=tables.differences([each.run.settings for each in compared]),
        groups=[_rows(group, letters, compared) for group in together],
        apart=apart,
        columns=FIGURES,
        series=charts.COLOURS,
        curves=_learning_curves(letters, compared),
        per_class=_per_class(compared),
        best_of=tables.best,
        void=VOID_COLOUR,
        examples=[] if apart else _examples(letters, compared),
    )
    return apart


def _rows(group: Sequence[int], letters: Sequence[str], compared: Sequence[Compared]) -> list[Row]:
    """The rows of a table, the best of each column marked."""
    rows = [
        Row(index, f"{letters[index]} {output}", of_output, set())
        for index in group
        for output, of_output in compared[index].figures["outputs"].items()
    ]
    for figure in FIGURES:
        values = [row.figures[figure.key] for row in rows]
        for number in tables.best(values, more_is_better=figure.more_is_better):
            rows[number].best.add(figure.key)
    return rows


def _per_class(compared: Sequence[Compared]) -> dict[str, list[float | None]]:
    """IoU of every run, by class; None where a run does not know it, too."""
    of_runs = [each.figures["outputs"][each.output]["per_class"] for each in compared]
    names = dict.fromkeys(name for of_run in of_runs for name in of_run)
    return {name: [of_run[name]["iou"] if name in of_run else None for of_run in of_runs] for name in names}


def _learning_curves(letters: Sequence[str], compared: Sequence[Compared]) -> list[charts.Chart]:
    losses, ious = [], []
    for series, (letter, each) in enumerate(zip(letters, compared, strict=True)):
        epochs = history(each.run)
        losses += [
            charts.Curve(f"{letter}, training", "loss", epochs, series),
            charts.Curve(f"{letter}, validation", "val_loss", epochs, series, dashed=True),
        ]
        ious.append(charts.Curve(f"{letter} {each.output}", f"val_{each.output}_mean_iou", epochs, series))
    return charts.learning_curves(losses, ious)


def _examples(letters: Sequence[str], compared: Sequence[Compared]) -> list[examples.Example]:
    first = compared[0]
    names = [f"{letter} {each.output}" for letter, each in zip(letters, compared, strict=True)]
    scores = dict(zip(names, [each.scores for each in compared], strict=True))
    shown = examples.opened(first.dataset, first.figures, _most_different(scores))
    for name, each in zip(names, compared, strict=True):
        inference = Inference(each.run.load(), **looking(each.figures))
        for example in shown:
            probabilities = example.probabilities(inference)[each.output]
            example.panels.append(panels.of_output(name, probabilities, each.run.palette))
    return shown


def _most_different(scores: Mapping[str, Sequence[float | None]]) -> list[examples.Choice]:
    """The images whose scores lie farthest apart."""
    apart = {
        index: max(of_image) - min(of_image)
        for index, of_image in enumerate(zip(*scores.values(), strict=True))
        if None not in of_image
    }
    return [
        examples.Choice(
            f"{100 * apart[index]:.1f} points of mean IoU apart",
            index,
            {panel: of_images[index] for panel, of_images in scores.items()},
        )
        for index in sorted(apart, key=lambda index: -apart[index])[:EXAMPLES]
    ]
