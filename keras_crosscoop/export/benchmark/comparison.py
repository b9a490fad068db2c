"""A run's network in every format on this machine: how fast, how large, how close to the live model."""

import gc
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_crosscoop.data import Dataset
from keras_crosscoop.export.benchmark.contenders import available, prepare
from keras_crosscoop.export.benchmark.timing import measure, summarize
from keras_crosscoop.export.deployment import Size
from keras_crosscoop.export.run_export import evenly_spread
from keras_crosscoop.runs import Run
from keras_crosscoop.system.resources import cores


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
    with tempfile.TemporaryDirectory(prefix="crosscoop-benchmark-") as temporary:
        folder = Path(temporary)
        prepared = prepare(
            run, dataset, names, folder, pairs, output=output, size=size, calibration=calibration, progress=progress
        )
        gc.collect()  # the memory is for the formats
        groups, failed = measure(prepared.jobs, len(pairs), folder, rounds=rounds, patience=patience, progress=progress)
    figures = {name: {**timing, **prepared.parity[name]} for name, timing in summarize(groups).items()}
    return {
        "output": prepared.output,
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
        "failed": {**prepared.failed, **failed},
        "left_out": left_out,
    }
