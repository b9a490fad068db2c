"""What was measured of a run: its figures, and how training went."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.evaluating import evaluate, write_json
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run

History = list[dict[str, float]]  # an epoch's figures; what it did not measure is left out


FIGURES = "metrics.json"  # of a run's folder


def measure(folder: Path, settings: Settings, model: Segmenter, dataset: Dataset, **options: Any) -> dict[str, Any]:
    """Measures a network as settings say, and writes the figures to `metrics.json` in a run's folder.

    Args:
        folder: of the run.
        settings: of the run.
        model: the network.
        dataset: what it is measured on.
        **options: more of `evaluate`.

    Raises:
        InputError: as of `evaluate`.
    """
    figures = evaluate(
        model,
        dataset,
        settings.data.val_split,
        center_crop=settings.evaluation.crop,
        on_error=settings.data.on_error,
        window=settings.evaluation.window,
        **options,
    )
    write_json(figures, folder / FIGURES)
    return figures


def measured(
    run: Run, dataset: Dataset, watch: Callable[[int, int], object] = lambda done, images: None
) -> dict[str, Any]:
    """The figures in a run's `metrics.json`; if training was stopped before them, they are measured and written.

    Args:
        run: with weights.
        dataset: what the run is measured on.
        watch: is told of progress, see `evaluate`.

    Raises:
        InputError: the file cannot be read; or the run has no weights, or the data set cannot be used.
    """
    path = run.folder / FIGURES
    if not path.exists():
        measure(run.folder, run.settings, run.load(), dataset, watch=watch)
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        outputs, _ = figures["outputs"], figures["per_image"]
        if any(map(_counts_absent_classes, outputs.values())):
            raise ValueError("its means are also over classes that no label has")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The run's figures cannot be read, or an earlier version wrote them ({error}). Remove the file, and they "
            f"are measured anew. Received: {path}"
        ) from error
    return figures


def _counts_absent_classes(of_output: dict[str, Any]) -> bool:
    """Whether a class that only predictions have was given an IoU of 0, as earlier versions did."""
    of_classes = zip(of_output["per_class"].values(), of_output["confusion"], strict=True)
    return any(of_class["iou"] is not None and not any(row) for of_class, row in of_classes)


def history(run: Run) -> History:
    """The rows of a run's `history.csv`, none if there is no such file.

    Raises:
        InputError: it holds something else than numbers.
    """
    try:
        with run.history.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"The run's history cannot be read ({error}). Received: {run.history}") from error
