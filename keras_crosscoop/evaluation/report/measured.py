"""What was measured of a run: its figures, and how training went."""

import csv
import json
from collections.abc import Callable
from typing import Any

from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.evaluating import evaluate, write_json
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run

History = list[dict[str, float]]  # an epoch's figures; what it did not measure is left out


def measure(
    run: Run, model: Segmenter, dataset: Dataset, watch: Callable[[int, int], object] = lambda done, images: None
) -> dict[str, Any]:
    """Measures a run's network as its settings say, and writes the figures to its `metrics.json`.

    Raises:
        InputError: as of `evaluate`.
    """
    settings = run.settings
    figures = evaluate(
        model,
        dataset,
        settings.data.val_split,
        center_crop=settings.evaluation.crop,
        on_error=settings.data.on_error,
        window=settings.evaluation.window,
        watch=watch,
    )
    write_json(figures, run.folder / "metrics.json")
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
    path = run.folder / "metrics.json"
    if not path.exists():
        measure(run, run.load(), dataset, watch)
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        _, _ = figures["outputs"], figures["per_image"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The run's figures cannot be read, or an earlier version wrote them ({error}). Remove the file, and they "
            f"are measured anew. Received: {path}"
        ) from error
    return figures


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
