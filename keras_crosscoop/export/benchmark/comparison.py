"""A run's network in every format on this machine: how fast, how large, how close to the live model."""

import gc
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError, describe, unknown_name
from keras_crosscoop.export.benchmark.timing import measure, summarize
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployment import Size, resize_in
from keras_crosscoop.export.formats import MIN_AGREEMENT, check_options
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.export.parity import live, mean_iou_of
from keras_crosscoop.export.run_export import evenly_spread, export
from keras_crosscoop.metrics import Confusion
from keras_crosscoop.runs import Run
from keras_crosscoop.system.devices import share_gpus
from keras_crosscoop.system.resources import cores

CONTENDERS: dict[str, tuple[str, Quantize]] = {  # name -> format and quantisation
    KERAS: (KERAS, "none"),
    "savedmodel": ("savedmodel", "none"),
    "tflite": ("tflite", "none"),
    "tflite-float16": ("tflite", "float16"),
    "tflite-dynamic": ("tflite", "dynamic"),
    "tflite-int8": ("tflite", "int8"),
    "onnx": ("onnx", "none"),
}


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


def benchmark(
    run: Run,
    dataset: Dataset,
    formats: Iterable[str] | None = None,
    *,
    output: str | None = None,
    size: Size | None = None,
    images: int = 20,
    calibration: int = 100,
    rounds: int | None = None,
    patience: float = 600,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Measures a run's network in Keras and in each format that it can be exported to, side by side.

    Each format has a process of its own and as many threads as the machine. The formats take turns: one image each,
    then the next. The exports are temporary.

    Args:
        run: a trained run.
        dataset: a data set with the run's classes. Images of its validation split are segmented.
        formats: names from `CONTENDERS`; by default all that the installed packages allow.
        output: "top", "bottom", "ensemble" or "single"; the ensemble by default, where there is one.
        size: input size `(H, W)` of every format; by default the size of the first image.
        images: number of images, evenly spread over the split.
        calibration: training images for the calibration of "tflite-int8".
        rounds: images that each format segments, starting over if need be; by default as many as take a minute, 10 to
            200.
        patience: seconds that a process may take to load, or for an image.
        progress: is called with progress: stage, done, total.

    Returns:
        `output`, `size`, `images`, `threads`, versions; `gpu`: whether Keras and SavedModels use one; `formats`, for
        each measured format

        - `latency`: `median` and `p90` of the seconds from an image in memory to class ids in memory;
        - `throughput`: images a second; `rounds`: the images measured;
        - `speedup`: Keras's median over the format's; None without Keras;
        - `memory`: the peak memory of its process, less the memory once all modules were imported;
        - `bytes`: the size of its files, for Keras of the weights;
        - `agreement`: the share of pixels with the live model's class; `agrees`: whether `export` accepts that;
        - `mean_iou`: None where no image has labels;

        `fastest` and `smallest`: names; `together`: the groups of formats that took turns, several where the memory did
        not hold all; `failed` and `left_out`: the reason of each other format.

    Raises:
        InputError: there is no such format or output, the run has no weights, or packages of a named format are
            missing.
    """
    names, left_out = available(formats)
    run.check_classes(dataset)
    pairs = evenly_spread(dataset.pairs(run.settings.data.val_split, headers=False), images)
    size = size or dataset.read(*pairs[0])[0].shape[:2]
    share_gpus()
    model = run.load()
    output = model.resolve_output(output)
    jobs, agreements, failed, live_mean_iou = {}, {}, {}, None
    with tempfile.TemporaryDirectory(prefix="crosscoop-benchmark-") as temporary:
        folder = Path(temporary)
        for number, pair in enumerate(pairs):
            np.save(folder / f"{number}.npy", resize_in(dataset.read(*pair)[0][None], size)[0])
        for name in names:
            if name == KERAS:
                jobs[name] = {"format": name, "path": str(run.folder.resolve()), "output": output}
                continue
            export_format, quantize = CONTENDERS[name]
            try:
                path, parity = export(
                    run,
                    dataset,
                    export_format,
                    output=output,
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
                failed[name] = describe(error)
                continue
            jobs[name] = {"format": export_format, "path": str(path)}
            live_mean_iou = parity["mean_iou"]["live"]
            agreements[name] = {
                "bytes": parity["bytes"],
                "agreement": parity["agreement"],
                "agrees": parity["agreement"] >= MIN_AGREEMENT[quantize],
                "mean_iou": parity["mean_iou"]["exported"],
            }
        if KERAS in jobs:
            if not agreements:
                progress("keras: comparing", 0, 1)
                probabilities, confusion = live(model, output), Confusion(len(run.classes), name="live")
                for image, labels in (dataset.read(*pair) for pair in pairs):
                    confusion.update_state(labels[None], probabilities(image).argmax(axis=-1)[None])
                live_mean_iou = mean_iou_of(confusion)
            size_on_disk = run.weights.stat().st_size
            agreements[KERAS] = {"bytes": size_on_disk, "agreement": 1.0, "agrees": True, "mean_iou": live_mean_iou}
        del model
        gc.collect()  # the memory is for the formats
        jobs = {name: {**job, "images": str(folder)} for name, job in jobs.items()}
        groups, failed_later = measure(jobs, len(pairs), folder, rounds=rounds, patience=patience, progress=progress)
    figures = {name: {**timing, **agreements[name]} for name, timing in summarize(groups).items()}
    return {
        "output": output,
        "size": list(size),
        "images": len(pairs),
        "threads": cores(),
        "gpu": bool(tf.config.list_physical_devices("GPU")),
        "package": version("keras-crosscoop"),
        "tensorflow": tf.__version__,
        "formats": figures,
        "fastest": min(figures, key=lambda name: figures[name]["latency"]["median"], default=None),
        "smallest": min(figures, key=lambda name: figures[name]["bytes"], default=None),
        "together": [list(group) for group in groups],
        "failed": {**failed, **failed_later},
        "left_out": left_out,
    }
