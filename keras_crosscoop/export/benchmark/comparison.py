"""Exports a run's network to every format, and measures speed, size and agreement with the live model."""

import gc
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import evenly_spread
from keras_crosscoop.errors import InputError, describe, unknown_name
from keras_crosscoop.export.benchmark.timing import measure, summarize
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployment import Size, resize_in
from keras_crosscoop.export.formats import MIN_AGREEMENT, check_options
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.export.parity import live, mean_iou_of
from keras_crosscoop.export.run_export import export
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
    """Returns the contenders that the installed packages allow, and the reasons for leaving out the others.

    Raises:
        InputError: There is no such contender, or `names` has one whose packages are missing.
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
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Measures a run's network in Keras and in each format that it can be exported to, side by side.

    Each format has its own process, with as many threads as the machine has cores. The formats take turns: each
    segments one image, then each segments the next. The exports are temporary.

    Args:
        run: A trained run.
        dataset: A data set with the run's classes. Images of its validation split are segmented.
        formats: Names from `CONTENDERS`; by default all that the installed packages allow.
        output: "top", "bottom", "ensemble" or "single"; by default the ensemble, if there is one.
        size: Input size `(H, W)` of every format; by default the size of the first image.
        images: Number of images, evenly spread over the split.
        calibration: Training images for the calibration of "tflite-int8".
        rounds: Number of images that each format segments, which may repeat; by default as many as take a minute, but
            10 to 200.
        progress: Called with (stage, done, total).

    Returns:
        `output`, `size`, `images`, `threads`, versions; `gpu`: whether Keras and SavedModels use a GPU; `formats`, for
        each measured format

        - `latency`: `median` and `p90` of the seconds from an image in memory to class ids in memory;
        - `throughput`: images per second; `rounds`: the number of measured images;
        - `speedup`: Keras's median over the format's; None without Keras;
        - `memory`: the peak memory of its process, minus the memory after the import of all modules;
        - `bytes`: the size of its files, or of the weights for Keras;
        - `agreement`: the share of pixels with the live model's class; `agrees`: whether `export` accepts this share;
        - `mean_iou`: None if no image has labels;

        `fastest` and `smallest`: names; `together`: the groups of formats that took turns, several if not all fitted
        into memory; `failed` and `left_out`: the reason for each other format.

    Raises:
        InputError: There is no such format or output, the run has no weights, or packages of a named format are
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
                jobs[name] = {"format": name, "path": str(run.folder.resolve()), "output": output, "images": temporary}
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
            except Exception as error:  # converters fail in many ways; the other formats continue
                failed[name] = describe(error)
                continue
            jobs[name] = {"format": export_format, "path": str(path), "images": temporary}
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
        gc.collect()  # leaves the memory to the formats
        groups, failed_later = measure(jobs, len(pairs), folder, rounds=rounds, progress=progress)
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
