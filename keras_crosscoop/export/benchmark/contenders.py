"""What takes part in a benchmark: a run's network in each format, made for this alone, and what it still sees."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError, describe, unknown_name
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployed import Size, fitted
from keras_crosscoop.export.exporting import export
from keras_crosscoop.export.formats import MIN_AGREEMENT, check_options
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.export.parity import Live, live, parity
from keras_crosscoop.export.running import Exported
from keras_crosscoop.runs import Run
from keras_crosscoop.system.devices import share_gpus

FORMATS: dict[str, tuple[str, Quantize]] = {  # of `export`, but for Keras
    KERAS: (KERAS, "none"),
    "savedmodel": ("savedmodel", "none"),
    "tflite": ("tflite", "none"),
    "tflite-float16": ("tflite", "float16"),
    "tflite-dynamic": ("tflite", "dynamic"),
    "tflite-int8": ("tflite", "int8"),
    "onnx": ("onnx", "none"),
}


class Contenders(NamedTuple):
    """Formats that can be measured.

    Attributes:
        output: that of the model which all of them tell the classes of.
        jobs: of `worker.main`, by formats.
        likeness: of each of these its `bytes`, `agreement` with the live model, whether `export` would take that
            (`agrees`), and `mean_iou`.
        failed: the reasons of those that could not be made.
    """

    output: str
    jobs: dict[str, dict[str, str]]
    likeness: dict[str, dict[str, Any]]
    failed: dict[str, str]


def available(formats: Iterable[str] | None) -> tuple[list[str], dict[str, str]]:
    """The formats that can be had with what is installed, and why others cannot; all are asked for by None.

    Raises:
        InputError: there is no such format, or one that is asked for by name cannot be had.
    """
    names, left_out = [], {}
    for name in dict.fromkeys(FORMATS if formats is None else formats):
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
        try:
            if name != KERAS:
                check_options(*FORMATS[name])
            names.append(name)
        except InputError as error:
            if formats is not None:
                raise
            left_out[name] = str(error)
    return names, left_out


def contenders(
    run: Run,
    dataset: Dataset,
    names: Iterable[str],
    folder: Path,
    pairs: list[Pair],
    *,
    output: str | None,
    size: Size,
    calibration: int,
    watch: Callable[[str, int, int], object],
) -> Contenders:
    """Writes images and exports to a folder, each export in one of its own.

    Args:
        run: see `comparing.benchmark`, as of the others.
        dataset: see there.
        names: of `FORMATS`.
        folder: an empty one.
        pairs: files of images and labels.
        output: see there.
        size: `(H, W)`.
        calibration: see there.
        watch: see there.
    """
    share_gpus()
    model = run.load()
    made = Contenders(model.chosen(output), {}, {}, {})
    mean_iou = None  # of the live model
    for number, pair in enumerate(pairs):
        np.save(folder / f"{number}.npy", fitted(dataset.read(*pair)[0][None], size)[0])
    for name in names:
        if name == KERAS:
            made.jobs[name] = {"format": name, "path": str(run.folder.resolve()), "output": made.output}
            continue
        form, quantize = FORMATS[name]
        try:
            path, found = export(
                run,
                dataset,
                form,
                output=made.output,
                size=size,
                quantize=quantize,
                folder=folder / name,
                calibration=calibration,
                images=len(pairs),
                min_agreement=0,
                model=model,
                watch=lambda what, done, total, name=name: watch(f"{name}: {what.lower()}", done, total),
            )
        except Exception as error:  # converters fail in many ways; the other formats go on
            made.failed[name] = describe(error)
            continue
        made.jobs[name] = {"format": form, "path": str(path)}
        made.likeness[name] = {
            "bytes": found["bytes"],
            "agreement": found["agreement"],
            "agrees": found["agreement"] >= MIN_AGREEMENT[quantize],
            "mean_iou": found["mean_iou"]["exported"],
        }
        mean_iou = found["mean_iou"]["live"]
    if KERAS in made.jobs:
        if not made.likeness:
            watch("keras: comparing", 0, 1)
            samples = (dataset.read(*pair) for pair in pairs)
            mean_iou = _mean_iou(live(model, made.output, size), samples, len(run.classes))
        of_keras = {"bytes": run.weights.stat().st_size, "agreement": 1.0, "agrees": True, "mean_iou": mean_iou}
        made.likeness[KERAS] = of_keras
    for job in made.jobs.values():
        job["images"] = str(folder)
    return made


def _mean_iou(live: Live, samples: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int) -> float | None:
    """That of the live model, by itself."""

    def segment(images: np.ndarray) -> dict[str, np.ndarray]:
        probabilities = live(images[0])[None]
        return {"classes": probabilities.argmax(axis=-1).astype("uint8"), "confidence": probabilities.max(axis=-1)}

    return parity(Exported(segment), live, samples, num_classes)["mean_iou"]["live"]
