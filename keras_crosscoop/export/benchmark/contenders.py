"""The contenders of a benchmark: a run's network as Keras computes it and in each format, exported for this alone."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError, describe, unknown_name
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployment import Size, resize_in
from keras_crosscoop.export.formats import MIN_AGREEMENT, check_options
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.export.parity import live, mean_iou_of
from keras_crosscoop.export.run_export import export
from keras_crosscoop.metrics import Confusion
from keras_crosscoop.runs import Run
from keras_crosscoop.system.devices import share_gpus

CONTENDERS: dict[str, tuple[str, Quantize]] = {  # name -> format and quantisation
    KERAS: (KERAS, "none"),
    "savedmodel": ("savedmodel", "none"),
    "tflite": ("tflite", "none"),
    "tflite-float16": ("tflite", "float16"),
    "tflite-dynamic": ("tflite", "dynamic"),
    "tflite-int8": ("tflite", "int8"),
    "onnx": ("onnx", "none"),
}


class Prepared(NamedTuple):
    """Contenders that are ready to be measured.

    Attributes:
        output: the output of the model that all compute.
        jobs: messages to `worker.main`, by contender.
        parity: `bytes`, `agreement`, `agrees` and `mean_iou` of each, see `benchmark`.
        failed: the reasons of those that could not be exported.
    """

    output: str
    jobs: dict[str, dict[str, str]]
    parity: dict[str, dict[str, Any]]
    failed: dict[str, str]


def available(names: Iterable[str] | None) -> tuple[list[str], dict[str, str]]:
    """Returns the contenders that the installed packages allow, and why the others are left out; None means all.

    Raises:
        InputError: there is no such contender, or packages of one that was named are missing.
    """
    possible, left_out = [], {}
    for name in dict.fromkeys(CONTENDERS if names is None else names):
        if name not in CONTENDERS:
            raise unknown_name("format", name, CONTENDERS)
        try:
            if name != KERAS:
                check_options(*CONTENDERS[name])
            possible.append(name)
        except InputError as error:
            if names is not None:
                raise
            left_out[name] = str(error)
    return possible, left_out


def prepare(
    run: Run,
    dataset: Dataset,
    names: Iterable[str],
    folder: Path,
    pairs: list[Pair],
    *,
    output: str | None,
    size: Size,
    calibration: int,
    progress: Callable[[str, int, int], object],
) -> Prepared:
    """Writes the images of `pairs` and the exports, each in its own folder, to an empty folder; see `benchmark`."""
    share_gpus()
    model = run.load()
    prepared = Prepared(model.chosen(output), {}, {}, {})
    for number, pair in enumerate(pairs):
        np.save(folder / f"{number}.npy", resize_in(dataset.read(*pair)[0][None], size)[0])
    mean_iou = None  # of the live model, which every export is compared with
    for name in names:
        if name == KERAS:
            prepared.jobs[name] = {"format": name, "path": str(run.folder.resolve()), "output": prepared.output}
            continue
        format_name, quantize = CONTENDERS[name]
        try:
            path, figures = export(
                run,
                dataset,
                format_name,
                output=prepared.output,
                size=size,
                quantize=quantize,
                folder=folder / name,
                calibration=calibration,
                images=len(pairs),
                min_agreement=0,
                model=model,
                progress=lambda stage, done, total, name=name: progress(f"{name}: {stage.lower()}", done, total),
            )
        except Exception as error:  # converters fail in many ways; the other formats go on
            prepared.failed[name] = describe(error)
            continue
        prepared.jobs[name] = {"format": format_name, "path": str(path)}
        mean_iou = figures["mean_iou"]["live"]
        prepared.parity[name] = {
            "bytes": figures["bytes"],
            "agreement": figures["agreement"],
            "agrees": figures["agreement"] >= MIN_AGREEMENT[quantize],
            "mean_iou": figures["mean_iou"]["exported"],
        }
    if KERAS in prepared.jobs:
        if not prepared.parity:
            progress("keras: comparing", 0, 1)
            probabilities, confusion = live(model, prepared.output), Confusion(len(run.classes), name="live")
            for image, labels in (dataset.read(*pair) for pair in pairs):
                confusion.update_state(labels[None], probabilities(image).argmax(axis=-1)[None])
            mean_iou = mean_iou_of(confusion)
        size_on_disk = run.weights.stat().st_size
        prepared.parity[KERAS] = {"bytes": size_on_disk, "agreement": 1.0, "agrees": True, "mean_iou": mean_iou}
    for job in prepared.jobs.values():
        job["images"] = str(folder)
    return prepared
