"""Measures, writes and reads the metrics of a run, and reads its history."""

import csv
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    create_model,
    model_validator,
)

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.evaluation.evaluator import Progress, evaluate
from keras_crosscoop.evaluation.metrics import CLASS_METRICS, METRICS
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run
from keras_crosscoop.system.json_files import read_json, write_json

METRICS_FILE = "metrics.json"  # in a run's folder

History = list[dict[str, float]]  # one dictionary for each epoch, with the values that were measured in it


def evaluate_run(
    folder: Path, settings: Settings, model: Segmenter, dataset: Dataset, **options: Any
) -> dict[str, Any]:
    """Calls `evaluate` on the validation split with a run's settings and further options; writes `metrics.json`."""
    split = settings.data.val_split
    metrics = evaluate(
        model,
        dataset.sample(split, settings.evaluation.final_images),
        split,
        center_crop=settings.evaluation.crop,
        on_error=settings.data.on_error,
        window=settings.evaluation.window,
        **options,
    )
    write_json(metrics, folder / METRICS_FILE)
    return metrics


def read_metrics(run: Run, dataset: Dataset, progress: Progress = lambda done, images: None) -> dict[str, Any]:
    """Reads a run's `metrics.json`. Evaluates the run first if training stopped before the file was written.

    Raises:
        InputError: The file cannot be read; or it is missing and the run has no weights or the data set is unusable.
    """
    path = run.folder / METRICS_FILE
    if not path.exists():
        evaluate_run(run.folder, run.settings, run.load(), dataset, progress=progress)
    remedy = "The file was edited, or another version wrote it. Remove it to evaluate the run again."
    metrics = read_json(path, _Metrics, "The run's metrics", remedy)
    classes, outputs = list(next(iter(metrics.outputs.values())).per_class), list(metrics.outputs)
    if classes != list(run.classes) or outputs != list(run.outputs):
        raise InputError(
            f"The run's metrics belong to another network (outputs {', '.join(outputs)}, classes "
            f"{', '.join(classes)}). {remedy} Received: {path}"
        )
    return metrics.model_dump(exclude_unset=True)


def read_history(run: Run) -> History:
    """Reads a run's `history.csv`; returns an empty list if there is no such file.

    Raises:
        InputError: The file cannot be read, or holds values that are not numbers.
    """
    try:
        with run.history.open(newline="", encoding="utf-8") as file:
            rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file, restkey="?")]
        return [_Epoch.model_validate(row).model_dump() for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"The run's history cannot be read ({describe(error)}). Remove the file to get a report without learning "
            f"curves. Received: {run.history}"
        ) from error


class _Epoch(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    epoch: PositiveInt


# The structure of `metrics.json`, which `evaluate` describes.


_Fraction = Annotated[float, Field(ge=0, le=1 + 1e-9)]  # 1 plus rounding errors
_Interval = Annotated[list[_Fraction], Field(min_length=2, max_length=2)]
_Counts = list[NonNegativeInt]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)  # A later version may add entries.


def _fractions(name: str, keys: tuple[str, ...], base: type[BaseModel] = _Part) -> type[BaseModel]:
    return create_model(name, __base__=base, **dict.fromkeys(keys, (_Fraction | None, ...)))


class _Calibration(_Part):
    pixels: Annotated[_Counts, Field(min_length=1)]
    confidence: list[_Fraction | None]
    accuracy: list[_Fraction | None]

    @model_validator(mode="after")
    def _same_bins(self) -> "_Calibration":
        empty = [[value is None for value in values] for values in (self.confidence, self.accuracy)]
        if empty[0] != empty[1] or len(empty[0]) != len(self.pixels):
            raise ValueError("its lists have different bins")
        return self


class _Intervals(_Part):
    mean_iou: _Interval | None
    pixel_accuracy: _Interval | None
    per_class: dict[str, _Interval | None]


class _Output(_fractions("_Means", tuple(metric.key for metric in METRICS))):
    per_class: Annotated[dict[str, _fractions("_ClassMetrics", CLASS_METRICS)], Field(min_length=1)]
    confusion: list[_Counts]
    calibration: _Calibration
    intervals: _Intervals | None = None

    @model_validator(mode="after")
    def _one_row_per_class(self) -> "_Output":
        if {len(self.confusion), *map(len, self.confusion)} != {len(self.per_class)}:
            raise ValueError("the confusion matrix must have a row and a column for each class")
        return self


class _Image(_Part):
    image: str
    mean_iou: dict[str, _Fraction | None]
    pixel_accuracy: dict[str, _Fraction | None]


_DISAGREEMENT = ("share", "top_right", "bottom_right", "neither_right", "ensemble_right")


class _Metrics(_Part):
    dataset: str
    split: str
    images: NonNegativeInt
    skipped: list[str]
    crop: PositiveInt | None
    window: PositiveInt | None
    overlap: Annotated[float, Field(ge=0, lt=1)]
    scales: Annotated[list[PositiveFloat], Field(min_length=1)]
    flip: bool
    boundary_tolerance: NonNegativeFloat
    seconds_per_image: PositiveFloat
    outputs: Annotated[dict[str, _Output], Field(min_length=1)]
    disagreement: _fractions("_Disagreement", _DISAGREEMENT) | None
    per_image: list[_Image]

    @model_validator(mode="after")
    def _same_classes_and_outputs(self) -> "_Metrics":
        if len({tuple(output.per_class) for output in self.outputs.values()}) > 1:
            raise ValueError("its outputs have different classes")
        outputs = self.outputs.keys()
        if any({*image.mean_iou} != outputs or {*image.pixel_accuracy} != outputs for image in self.per_image):
            raise ValueError("an image has other outputs than the split")
        return self
