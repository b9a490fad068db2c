"""Writes the results of an ablation as Markdown, CSV, JSON, an HTML page and pictures."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keras_crosscoop.ablation.costs import RowCost, row_costs
from keras_crosscoop.ablation.examples import draw_examples, readable
from keras_crosscoop.ablation.results import Result, read_results
from keras_crosscoop.ablation.rows import FULL_METHOD, ROWS, Row
from keras_crosscoop.ablation.study import Ablation
from keras_crosscoop.ablation.tables import as_csv, markdown, tables
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.evaluation import Inference
from keras_crosscoop.evaluation.report.page import write_page
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run, build
from keras_crosscoop.system.files import write_text


def write_results(
    ablation: Ablation, failed: Mapping[str, str], progress: Callable[[str], object] = lambda stage: None
) -> tuple[list[Result], dict[str, Path], dict[str, str]]:
    """Writes `ablation.md`, `.csv`, `.json`, `.html` and `examples.png` to the ablation's folder.

    The tables hold all measured rows, even if costs or pictures fail.

    Args:
        ablation: A study with at least one measured row.
        failed: The reasons for the rows that failed.
        progress: Called with each stage.

    Returns:
        The results, the files, and `failed` with the reasons for other failures, such as "costs of cross".

    Raises:
        InputError: Rows cannot be compared, or a file cannot be written.
    """
    dataset, ablation = ablation.open_dataset(), ablation.whole()
    progress("timing")
    costs, without_costs = _costs(ablation, dataset)
    failed = {**failed, **without_costs}
    results = read_results(ablation, costs)
    files = {kind: ablation.folder / f"ablation.{kind}" for kind in ("csv", "json", "md", "html")}
    write_text(files["csv"], as_csv(results), "table")
    progress("drawing")
    pictures = None
    try:
        pictures = _draw(ablation, dataset)
    except Exception as error:  # the tables took hours, and the pictures are less important
        failed["examples"] = describe(error)
    write_text(files["json"], json.dumps(as_json(ablation, results, failed), indent=2) + "\n", "table")
    title, conditions = f"Ablation on {ablation.settings.data.name}", _conditions(ablation, results)
    all_tables = tables(results, ablation.settings)
    text = f"# {title}\n\n{conditions}\n\n" + "\n".join(map(markdown, all_tables))
    text += "".join(f"\n{name} failed: {reason}\n" for name, reason in failed.items())
    page = {"title": title, "conditions": conditions, "tables": all_tables, "failed": failed, "examples": None}
    if pictures:
        files["png"] = pictures
        text += f"\n## Images where the networks differ most\n\n![Images, labels and predictions]({pictures.name})\n"
        page["examples"] = f"data:image/png;base64,{b64encode(pictures.read_bytes()).decode()}"
    write_text(files["md"], text, "table")
    write_page("ablation.html", files["html"], **page)
    return results, files, failed


def as_json(ablation: Ablation, results: Sequence[Result], failed: Mapping[str, str]) -> dict[str, Any]:
    """Returns all results as plain values."""
    return {
        "folder": str(ablation.folder),
        "settings": ablation.settings.model_dump(mode="json"),
        "results": [
            {
                "row": result.row.name,
                "title": result.title,
                "output": result.output,
                "seeds": list(result.seeds),
                "mean_iou": list(result.mean_iou),
                "per_class": {name: list(values) for name, values in result.per_class.items()},
                "cost": result.cost and result.cost._asdict(),
                "published_mean_iou_percent": result.published,
                "gain_of_cross": result.gain and {"output": result.compared_with, **result.gain._asdict()},
            }
            for result in results
        ],
        "failed": dict(failed),
    }


def _conditions(ablation: Ablation, results: Sequence[Result]) -> str:
    data, train = ablation.settings.data, ablation.settings.train
    seeds = sorted({seed for result in results for seed in result.seeds})
    return (
        f"Training of every row: {train.epochs} epochs of {data.name} {data.train_split} at batch size "
        f"{train.batch_size}, crops of {data.crop_size} pixels, the same crops in the same order for the same seed, "
        f"learning rate {train.learning_rate:g}. Measured on {data.val_split}. Seeds: {', '.join(map(str, seeds))}. "
        "All settings: config.yaml."
    )


def _costs(ablation: Ablation, dataset: Dataset) -> tuple[dict[str, RowCost], dict[str, str]]:
    """Returns the costs and failures of rows, for an image, or for the crop or window that networks see at once."""
    split = ablation.settings.data.val_split
    crop, window = ablation.settings.evaluation.crop, ablation.settings.evaluation.window
    try:
        image = next((image for image, _ in readable(dataset, dataset.find(split))), None)
    except InputError as error:  # the images of the measurements are missing
        return {}, {"costs": describe(error)}
    if image is None:
        return {}, {"costs": f"No image can be read. Is the data set still there? Received: split {split!r}"}
    whole = (crop, crop) if crop else image.shape[:2]
    size = tuple(min(length, window or length) for length in whole)

    def networks(row: Row) -> list[Segmenter]:
        models = [ROWS[name].settings(ablation.settings, 0).model for name in row.ensemble or (row.name,)]
        shape = (*size, 3)
        return [build(model, len(dataset.classes), pretrained=False, input_shape=shape) for model in models]

    measured = (row for row in ablation.rows if any(ablation.is_done(row.name, seed) for seed in ablation.seeds))
    costs, failed = row_costs({row.name: partial(networks, row) for row in measured}, size)
    return costs, {f"costs of {name}": reason for name, reason in failed.items()}


def _draw(ablation: Ablation, dataset: Dataset) -> Path | None:
    """Draws examples with the first seed for which all networks in them are trained."""
    panels = {
        **{
            f"{side}: {ROWS[f'single_{side}'].full_title(ablation.settings)}": (f"single_{side}", "single")
            for side in ("top", "bottom")
        },
        "cross, top": (FULL_METHOD, "top"),
        "cross, bottom": (FULL_METHOD, "bottom"),
    }
    rows = sorted({row for row, _ in panels.values()})
    seed = next((seed for seed in ablation.seeds if all(ablation.is_done(row, seed) for row in rows)), None)
    if seed is None:
        return None
    window = ablation.settings.evaluation.window
    networks = {row: Inference(Run.open(ablation.run(row, seed)).load(), window=window) for row in rows}
    target = ablation.folder / "examples.png"
    outputs = {name: (networks[row], output) for name, (row, output) in panels.items()}
    draw_examples(dataset, ablation.settings.data.val_split, outputs, target)
    return target
