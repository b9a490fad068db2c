"""What is left of an ablation to read: Markdown, CSV, JSON, a page and pictures."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from keras_crosscoop.ablation.ablating import Ablation
from keras_crosscoop.ablation.costs import RowCost, row_costs
from keras_crosscoop.ablation.examples import draw_examples, readable
from keras_crosscoop.ablation.results import Line, lines
from keras_crosscoop.ablation.rows import FULL_METHOD, ROWS, Row
from keras_crosscoop.ablation.tables import as_csv, markdown, tables
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.evaluation import Inference
from keras_crosscoop.evaluation.report.page import write_page, write_text
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run, build
from keras_crosscoop.training import builders

EXAMPLES = "examples.png"


def write_results(
    ablation: Ablation, failed: Mapping[str, str], watch: Callable[[str], object] = lambda doing: None
) -> tuple[list[Line], dict[str, Path], dict[str, str]]:
    """Writes `ablation.md`, `.csv`, `.json`, `.html` and `examples.png` to the ablation's folder.

    Tables are written of all rows that were measured, also where costs or pictures fail.

    Args:
        ablation: some of whose rows were measured.
        failed: why others were not.
        watch: is told what is done.

    Returns:
        What was found, the files, and `failed` with what else failed: "costs of cross", say.

    Raises:
        InputError: rows cannot be compared, or a file cannot be written.
    """
    dataset, ablation = builders.data(ablation.settings), ablation.whole()
    watch("timing")
    costs, uncounted = _costs(ablation, dataset)
    failed = {**failed, **uncounted}
    found = lines(ablation, costs)
    shown = tables(found, ablation.settings)
    files = {kind: ablation.folder / f"ablation.{kind}" for kind in ("csv", "json", "md", "html")}
    write_text(files["csv"], as_csv(found), "table")
    watch("drawing")
    pictured = None
    try:
        pictured = _draw(ablation, dataset)
    except Exception as error:  # the tables are what took hours
        failed["examples"] = describe(error)
    write_text(files["json"], json.dumps(as_json(ablation, found, failed), indent=2) + "\n", "table")
    conditions = _conditions(ablation, found)
    title = f"Ablation on {ablation.settings.data.name}"
    text = f"# {title}\n\n{conditions}\n\n" + "\n".join(map(markdown, shown))
    text += "".join(f"\n{name} failed: {reason}\n" for name, reason in failed.items())
    if pictured:
        files["png"] = pictured
        text += f"\n## Where they differ\n\n![Images, labels and predictions]({pictured.name})\n"
    write_text(files["md"], text, "table")
    picture = f"data:image/png;base64,{b64encode(pictured.read_bytes()).decode()}" if pictured else None
    page = {"title": title, "conditions": conditions, "tables": shown, "failed": failed, "examples": picture}
    write_page("ablation.html", files["html"], **page)
    return found, files, failed


def as_json(ablation: Ablation, found: Sequence[Line], failed: Mapping[str, str]) -> dict[str, Any]:
    """All that was found, as plain values."""
    return {
        "folder": str(ablation.folder),
        "settings": ablation.settings.model_dump(mode="json"),
        "lines": [
            {
                "row": line.row.name,
                "title": line.title,
                "output": line.output,
                "seeds": list(line.seeds),
                "mean_iou": list(line.mean_iou),
                "per_class": {name: list(values) for name, values in line.per_class.items()},
                "cost": line.cost and line.cost._asdict(),
                "published_mean_iou_percent": line.published,
                "gain_of_cross": line.gain and {"output": line.against, **line.gain._asdict()},
            }
            for line in found
        ],
        "failed": dict(failed),
    }


def _conditions(ablation: Ablation, found: Sequence[Line]) -> str:
    data, train = ablation.settings.data, ablation.settings.train
    seeds = sorted({seed for line in found for seed in line.seeds})
    return (
        f"All rows alike: {train.epochs} epochs of {data.name} {data.train_split} at batch {train.batch_size}, crops "
        f"of {data.crop_size} pixels, the same ones in the same order for one seed, learning rate "
        f"{train.learning_rate:g}; measured on {data.val_split}. Seeds: {', '.join(map(str, seeds))}. All settings: "
        "config.yaml."
    )


def _costs(ablation: Ablation, dataset: Dataset) -> tuple[dict[str, RowCost], dict[str, str]]:
    """Of one image, or of what the networks see of it at once; and what could not be measured, and why."""
    split = ablation.settings.data.val_split
    crop, window = ablation.settings.evaluation.crop, ablation.settings.evaluation.window
    try:
        image = next((image for image, _ in readable(dataset, dataset.find(split))), None)
    except InputError as error:  # the images that the rows were measured on are gone
        return {}, {"costs": describe(error)}
    if image is None:
        return {}, {"costs": f"No image can be read. Is the data set still there? Received: split {split!r}"}
    whole = (crop, crop) if crop else image.shape[:2]
    size = tuple(min(side, window or side) for side in whole)

    def networks(row: Row) -> list[Segmenter]:
        settings = [each.settings(ablation.settings, 0).model for each in map(ROWS.get, row.joins or (row.name,))]
        shape = (*size, 3)
        return [build(model, len(dataset.classes), pretrained=False, input_shape=shape) for model in settings]

    measured = (row for row in ablation.rows if any(ablation.done(row.name, seed) for seed in ablation.seeds))
    costs, failed = row_costs({row.name: partial(networks, row) for row in measured}, size)
    return costs, {f"costs of {name}": why for name, why in failed.items()}


def _draw(ablation: Ablation, dataset: Dataset) -> Path | None:
    """The sheet of examples, of the first seed with all networks that it shows."""
    singles = ((side, ROWS[f"single_{side}"]) for side in ("top", "bottom"))
    shown = {
        **{f"{side}: {row.titled(ablation.settings)}": (row.name, "single") for side, row in singles},
        "cross, top": (FULL_METHOD, "top"),
        "cross, bottom": (FULL_METHOD, "bottom"),
    }
    rows = {row for row, _ in shown.values()}
    for seed in ablation.seeds:
        if all(ablation.done(row, seed) for row in rows):
            break
    else:
        return None
    window = ablation.settings.evaluation.window
    looks = {row: Inference(Run.open(ablation.run(row, seed)).load(), window=window) for row in sorted(rows)}
    networks = {name: (looks[row], output) for name, (row, output) in shown.items()}
    target = ablation.folder / EXAMPLES
    draw_examples(dataset, ablation.settings.data.val_split, networks, target)
    return target
