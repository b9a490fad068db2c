"""What was measured of a run: its figures, and how training went."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.evaluating import evaluate, write_json
from keras_crosscoop.evaluation.report.stored import Epoch, Figures, as_dict
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run
from keras_crosscoop.system.json_files import describe, read_json

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
    remedy = "It was edited, or another version wrote it. Remove the file, and they are measured anew."
    figures = read_json(path, Figures, "The run's figures", remedy)
    classes, outputs = list(next(iter(figures.outputs.values())).per_class), list(figures.outputs)
    if classes != list(run.classes) or outputs != list(run.outputs):
        raise InputError(
            f"The run's figures are of another network (outputs {', '.join(outputs)}, classes {', '.join(classes)}). "
            f"{remedy} Received: {path}"
        )
    return as_dict(figures)


def history(run: Run) -> History:
    """The rows of a run's `history.csv`, none if there is no such file.

    Raises:
        InputError: it holds something else than numbers.
    """
    try:
        with run.history.open(newline="", encoding="utf-8") as file:
            rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file, restkey="?")]
        return [as_dict(Epoch.model_validate(row)) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The run's history cannot be read ({describe(error)}). Remove the file: reports then show no curves. "
            f"Received: {run.history}"
        ) from error
