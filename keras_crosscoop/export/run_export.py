"""Exports a run: writes to a temporary folder, compares with the live model, and only then renames the folder."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import evenly_spread
from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.export.deployment import Size, deployment_graph, resize_in
from keras_crosscoop.export.formats import DYNAMIC, MIN_AGREEMENT, Format, check_options
from keras_crosscoop.export.litert import Quantize, write_litert
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.parity import DisagreementError, live, parity
from keras_crosscoop.export.runtimes import load_exported
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.export.serving_files import check_name, write_server_files, write_warmup
from keras_crosscoop.images.reading import DEFAULT_READING
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import atomic_folder


def export(
    run: Run,
    dataset: Dataset,
    name: str,
    *,
    output: str | None = None,
    size: Size | str | None = None,
    quantize: Quantize = "none",
    folder: Path | None = None,
    calibration: int = 100,
    images: int = 20,
    min_agreement: float | None = None,
    model: Segmenter | None = None,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> tuple[Path, dict[str, Any]]:
    """Exports a run's network, if the predictions agree with the live model's on images of the data set.

    Args:
        run: A trained run.
        dataset: A data set with the run's classes. Its validation split is used for the comparison, its training split
            for the calibration of quantisation.
        name: The format: "savedmodel", "tflite" or "onnx".
        output: "top", "bottom", "ensemble" or "single"; by default the ensemble, if there is one.
        size: Input size `(H, W)` of the network, or "dynamic" for any; by default "dynamic", for "tflite" the size of
            the data set's first image.
        quantize: "none" or, for "tflite", "float16", "dynamic" or "int8".
        folder: The folder of the exports; by default the format's folder inside the run.
        calibration: Number of training images that calibrate "int8".
        images: Number of validation images to compare.
        min_agreement: The minimum share of pixels with the live model's class; by default from `MIN_AGREEMENT`.
        model: The run's model, if it is already loaded.
        progress: Called with (stage, done, total).

    Returns:
        The SavedModel's folder or the file, and the content of `parity.json` beside it: the options of the export, its
        size in `bytes`, and the results of `parity`.

    Raises:
        InputError: Options contradict each other, the run has no weights, the folder cannot be written, or the network
            cannot be converted. No files are left.
        DisagreementError: Too few pixels get the live model's class. No files are left.

    Example:
        >>> from keras_crosscoop import dataset
        >>> from keras_crosscoop.runs import Run
        >>> run = Run.open("saved_models/street_scenes-1")  # doctest: +SKIP
        >>> path, figures = export(run, dataset("street_scenes"), "tflite", quantize="int8")  # doctest: +SKIP
        >>> figures["agreement"]  # doctest: +SKIP
        0.9931
    """
    export_format = check_options(name, quantize, size)
    if name == "savedmodel":
        check_name(run.folder.resolve().name)
    run.check_classes(dataset)
    pairs = dataset.pairs(run.settings.data.val_split, headers=False)
    if size in (None, DYNAMIC):
        size = None if export_format.any_size else dataset.read(*pairs[0])[0].shape[:2]
    model = run.load() if model is None else model
    output = model.resolve_output(output)
    pairs = evenly_spread(pairs, images)
    options = {
        "format": name,
        "output": output,
        "size": size,
        "quantize": quantize,
        "package": version("keras-crosscoop"),
        "tensorflow": tf.__version__,
    }
    target = _target(export_format, folder or run.folder / export_format.folder, options)
    with atomic_folder(target) as temporary:
        path = temporary / export_format.file
        progress("Converting", 0, 1)
        try:
            network = deployment_graph(model, output, size if export_format.file else None)
            _write(network, path, options, run, dataset, calibration)
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"The network cannot be written ({reason(error)}). Received: {temporary.parent}"
            ) from error
        try:
            agreement = parity(
                load_exported(path),
                live(model, output, size),
                (dataset.read(*pair) for pair in pairs),
                len(run.classes),
                lambda done: progress("Comparing", done, len(pairs)),
            )
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(
                "The networks do not fit into memory at the size of the data set's images. Use a smaller --size. "
                f"Received: --size {size or DYNAMIC}"
            ) from error
        size_on_disk = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        figures = {**options, "bytes": size_on_disk, **agreement}
        least = MIN_AGREEMENT[quantize] if min_agreement is None else min_agreement
        if figures["agreement"] < least:
            raise DisagreementError(
                f"On {len(pairs)} images only {figures['agreement']:.2%} of the pixels get the live model's class, "
                f"less than {least:.2%}, so nothing was exported. Allow it with --min-agreement, or choose another "
                f"--quantize. Received: --format {name} --quantize {quantize}"
            )
        (temporary / "parity.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if name == "savedmodel":
        write_server_files(target.parent, run.folder.resolve().name)
    return target / export_format.file, figures


def _write(
    network: keras.Model, path: Path, options: Mapping[str, Any], run: Run, dataset: Dataset, calibration: int
) -> None:
    size = options["size"]
    palette = [f"#{bytes(colour).hex()}" for colour in run.palette]
    metadata = {"classes": list(run.classes), "palette": palette, **options, "config": config.plain(run.settings)}
    if run.reading != DEFAULT_READING:  # what turns image files into RGB in 0 to 255
        metadata["reading"] = {name: value for name, value in asdict(run.reading).items() if value is not None}
    match options["format"]:
        case "savedmodel":
            write_saved_model(network, path, size, run.reading)
            extra = path / "assets.extra"
            extra.mkdir()
            (extra / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
            first, *_ = dataset.find(run.settings.data.val_split)
            write_warmup(extra, run.folder.resolve().name, dataset.read(*first)[0])
        case "tflite":
            samples = partial(_calibration_images, run, dataset, calibration, size)
            write_litert(network, path, size, options["quantize"], samples, metadata)
        case "onnx":
            write_onnx(network, path, size, metadata)


def _target(export_format: Format, folder: Path, options: Mapping[str, Any]) -> Path:
    """Returns the folder of an export: the next version for a server, or a folder named after the options."""
    if not export_format.file:
        versions = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1)
    size = "x".join(map(str, options["size"])) if options["size"] else DYNAMIC
    numbers = "float32" if options["quantize"] == "none" else options["quantize"]
    return folder / f"{options['output']}-{size}-{numbers}"


def _calibration_images(run: Run, dataset: Dataset, count: int, size: Size) -> Iterator[np.ndarray]:
    """Yields training images of this size, uint8 `(H, W, 3)`."""
    for pair in evenly_spread(dataset.find(run.settings.data.train_split), count):
        yield np.asarray(resize_in(dataset.read(*pair)[0][None], size)[0])
