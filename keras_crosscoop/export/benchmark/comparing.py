"""A run's network in every format on this machine, side by side: how fast, how large, how close to the live model."""

import gc
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_crosscoop.data import Dataset
from keras_crosscoop.export.benchmark.contenders import available, contenders
from keras_crosscoop.export.benchmark.measuring import measure, summarized
from keras_crosscoop.export.deployed import Size
from keras_crosscoop.export.exporting import Watch, spread
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
    watch: Watch = lambda what, done, total: None,
) -> dict[str, Any]:
    """Measures a run's network as Keras predicts with it and in each format that it can be exported to.

    Each format has a process of its own and as many threads as the machine, and they take turns: one image each, then
    the next. Exports are made for this alone, and go.

    Args:
        run: a trained one.
        dataset: of the run's classes: images of its validation split are segmented.
        formats: of `contenders.FORMATS`; by default all that are possible with what is installed.
        output: one of the model's; the ensemble by default, where there is one.
        size: `(H, W)` that every format sees every image at; by default that of the first.
        images: how many, evenly spread.
        calibration: training images that tell "tflite-int8" the range of every feature.
        rounds: images that each format segments, the same again if need be; by default as many as a minute allows, 10
            to 200.
        patience: seconds that a process may take to load, or for an image.
        watch: is told of progress.

    Returns:
        `output`, `size`, `images`, `threads`, versions; `gpu`: whether there is one, for Keras and SavedModels;
        `formats`, of each that was measured

        - `latency`: `median` and `p90` of the seconds from an image in memory to class ids in memory;
        - `throughput`: images a second; `rounds`: how many were measured;
        - `speedup`: how many times as fast as Keras it is, by medians; None without Keras;
        - `memory`: the most bytes that its process had, less those it had when all modules were imported;
        - `bytes`: of its files, of Keras those of the weights;
        - `agreement`: the share of pixels that get the live model's class; `agrees`: whether `export` would take it;
        - `mean_iou`: None where no image has labels;

        `fastest` and `smallest` of them; `together`, who took turns with whom: several lists where the memory did not
        hold all; `failed` and `left_out`: the reason of each other format.

    Raises:
        InputError: there is no such format or output, the run has no weights, or `formats` names what cannot be had
            with what is installed.
    """
    names, left_out = available(formats)
    run.check_classes(dataset)
    pairs = spread(dataset.pairs(run.settings.data.val_split, headers=False), images)
    size = size or dataset.read(*pairs[0])[0].shape[:2]
    with tempfile.TemporaryDirectory(prefix="crosscoop-benchmark-") as temporary:
        folder = Path(temporary)
        made = contenders(
            run, dataset, names, folder, pairs, output=output, size=size, calibration=calibration, watch=watch
        )
        gc.collect()  # the memory is for the formats
        groups = measure(made.jobs, len(pairs), folder, made.failed, rounds=rounds, patience=patience, watch=watch)
    found = {name: {**timed, **made.likeness[name]} for name, timed in summarized(groups).items()}
    return {
        "output": made.output,
        "size": list(size),
        "images": len(pairs),
        "threads": cores(),
        "gpu": bool(tf.config.list_physical_devices("GPU")),
        "package": version("keras-crosscoop"),
        "tensorflow": tf.__version__,
        "formats": found,
        "fastest": min(found, key=lambda name: found[name]["latency"]["median"], default=None),
        "smallest": min(found, key=lambda name: found[name]["bytes"], default=None),
        "together": [list(group) for group in groups],
        "failed": made.failed,
        "left_out": left_out,
    }
