"""The report of one run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.metrics import METRICS
from keras_crosscoop.evaluation.report.advice import advise
from keras_crosscoop.evaluation.report.charts import Curves, learning_curves, reliability_diagram
from keras_crosscoop.evaluation.report.examples import (
    Choice,
    Example,
    inference_options,
    load_examples,
    representative_images,
)
from keras_crosscoop.evaluation.report.page import write_page
from keras_crosscoop.evaluation.report.panels import AGREEMENT, disagreement_panel, output_panel
from keras_crosscoop.evaluation.run_metrics import read_history
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run


def write_report(
    run: Run, metrics: Mapping[str, Any], model: Segmenter, dataset: Dataset, target: Path | None = None
) -> Path:
    """Writes a run's settings, metrics and examples as a self-contained HTML page.

    Args:
        run: The run.
        metrics: The result of `evaluate`.
        model: The run's model.
        dataset: The data set of the evaluation.
        target: The page; `report.html` in the run's folder by default.

    Returns:
        The path of the page.

    Raises:
        InputError: An image of the data set cannot be read, or the page cannot be written.
    """
    target = target or run.folder / "report.html"
    history, data_check = read_history(run), _read(run.data_check)
    curves = [Curves(name, history, f"{name}_loss", f"val_{name}_mean_iou") for name in metrics["outputs"]]
    write_page(
        "report.html",
        target,
        title=run.folder.absolute().name,
        run=run,
        settings=config.dump(run.settings),
        metrics=metrics,
        sampled=metrics["images"] + len(metrics["skipped"]) == run.settings.evaluation.final_images,
        metric_rows=METRICS,
        curves=learning_curves(curves),
        reliability=reliability_diagram(metrics["outputs"]),
        agreement=AGREEMENT,
        examples=_examples(run, metrics, model, dataset),
        data_check=data_check,
        plan=_read(run.plan),
        timings=_read(run.timings),
        advice=advise(run.settings, metrics, history, data_check),
    )
    return target


def _read(path: Path) -> Any:
    """Returns the content of a JSON file of the run; None if there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _examples(run: Run, metrics: Mapping[str, Any], model: Segmenter, dataset: Dataset) -> list[Example]:
    *_, last_output = metrics["outputs"]
    scores = [image["mean_iou"] for image in metrics["per_image"]]
    selected = representative_images([image_scores[last_output] for image_scores in scores])
    examples = load_examples(dataset, metrics, [Choice(title, index, scores[index]) for title, index in selected])
    inference = Inference(model, **inference_options(metrics))
    for example in examples:
        outputs = example.probabilities(inference)
        example.panels.extend(output_panel(name, output, run.palette) for name, output in outputs.items())
        if len(model.sides) > 1:
            top, bottom = (outputs[side].argmax(axis=-1) for side in model.sides)
            example.panels.append(disagreement_panel(example.subsample(example.labels), top, bottom))
    return examples
