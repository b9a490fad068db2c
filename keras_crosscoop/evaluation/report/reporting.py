"""The report of one run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.metrics import FIGURES
from keras_crosscoop.evaluation.report import charts, examples, panels, tables
from keras_crosscoop.evaluation.report.measured import History, history
from keras_crosscoop.evaluation.report.writing import write
from keras_crosscoop.images.io import VOID_COLOUR
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run


def write_report(
    run: Run, figures: Mapping[str, Any], model: Segmenter, dataset: Dataset, target: Path | None = None
) -> Path:
    """Writes a run's settings, figures and examples as one HTML page.

    Args:
        run: what was trained.
        figures: what `evaluate` measured of it.
        model: the run's network.
        dataset: what it was measured on.
        target: the page; `report.html` in the run's folder by default.

    Returns:
        The page.

    Raises:
        InputError: an image of the data set cannot be read, or the page cannot be written.
    """
    target = target or run.folder / "report.html"
    write(
        "report.html",
        target,
        title=run.folder.absolute().name,
        run=run,
        settings=config.dump(run.settings),
        figures=figures,
        rows=FIGURES,
        series=charts.COLOURS,
        curves=_learning_curves(history(run), figures),
        confusions={name: tables.confusion(output["confusion"]) for name, output in figures["outputs"].items()},
        calibration=charts.calibration({name: each["calibration"] for name, each in figures["outputs"].items()}),
        agreement=panels.AGREEMENT,
        void=VOID_COLOUR,
        examples=_examples(run, figures, model, dataset),
    )
    return target


def looking(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `Inference` that a run was measured with."""
    return {option: figures[option] for option in ("window", "overlap", "scales", "flip")}


def _learning_curves(epochs: History, figures: Mapping[str, Any]) -> list[charts.Chart]:
    outputs = list(figures["outputs"])
    losses, ious = [], []
    for series, output in enumerate(outputs):
        losses += [
            charts.Curve(f"{output}, training", f"{output}_loss", epochs, series),
            charts.Curve(f"{output}, validation", f"val_{output}_loss", epochs, series, dashed=True),
        ]
        ious.append(charts.Curve(output, f"val_{output}_mean_iou", epochs, series))
    return charts.learning_curves(losses, ious)


def _examples(run: Run, figures: Mapping[str, Any], model: Segmenter, dataset: Dataset) -> list[examples.Example]:
    *_, last = figures["outputs"]
    scores = [of_image["mean_iou"] for of_image in figures["per_image"]]
    places = examples.spread([of_image[last] for of_image in scores])
    shown = examples.opened(dataset, figures, [examples.Choice(title, at, scores[at]) for title, at in places])
    inference = Inference(model, **looking(figures))
    for example in shown:
        found = example.probabilities(inference)
        example.panels.extend(panels.of_output(name, values, run.palette) for name, values in found.items())
        if len(model.sides) > 1:
            classes = (found[side].argmax(axis=-1) for side in model.sides)
            example.panels.append(panels.of_disagreement(example.sampled(example.labels), *classes))
    return shown
