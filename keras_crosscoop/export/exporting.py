"""From a run to a file for other programs: written aside, compared with the live model, and only then there."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.export.deployed import Size, deployed, fitted
from keras_crosscoop.export.formats import DYNAMIC, MIN_AGREEMENT, Format, check_options
from keras_crosscoop.export.litert import Quantize, write_litert
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.parity import DisagreementError, live, parity
from keras_crosscoop.export.running import opened
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.export.serving_files import check_name, write_server_files, write_warmup
from keras_crosscoop.models import Segmenter
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import atomic_folder

Watch = Callable[[str, int, int], object]  # (what is done, how much of it, of how much)


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
    watch: Watch = lambda what, done, total: None,
) -> tuple[Path, dict[str, Any]]:
    """Exports a run's network, if it proves equal to the live one on images of the run's data set.

    Args:
        run: a trained one.
        dataset: of the run's classes: on its validation split the network is compared, and its training split
            calibrates quantisation.
        name: of the format: "savedmodel", "tflite" or "onnx".
        output: one of the model's; the ensemble by default, where there is one.
        size: `(H, W)` that the network sees every image at; "dynamic", the default where a format can, for as they are.
        quantize: "none" or, of tflite, "float16", "dynamic" or "int8".
        folder: in place of the run's own folder of that format.
        calibration: training images that tell the range of every feature, for "int8".
        images: validation images that are compared.
        min_agreement: the least share of pixels that must get the same class; by default that of `MIN_AGREEMENT`.
        model: the run's, if it is loaded already.
        watch: is told of progress.

    Returns:
        The SavedModel's folder or the file, and what `parity.json` beside it holds: how it was exported, its `bytes`,
        and what `parity` found.

    Raises:
        InputError: options that do not go together, no weights, a place that cannot be written, or a network that
            cannot be converted. Nothing is left then.
        DisagreementError: it sees other things than the live model. Nothing is left.
    """
    form = check_options(name, quantize, size)
    if name == "savedmodel":
        check_name(run.folder.resolve().name)
    run.check_classes(dataset)
    pairs = dataset.pairs(run.settings.data.val_split, headers=False)
    if size in (None, DYNAMIC):
        size = None if form.any_size else dataset.read(*pairs[0])[0].shape[:2]
    model = run.load() if model is None else model
    output = model.chosen(output)
    compared = spread(pairs, images)
    facts = {
        "format": name,
        "output": output,
        "size": size,
        "quantize": quantize,
        "package": version("keras-crosscoop"),
        "tensorflow": tf.__version__,
    }
    target = _target(form, folder or run.folder / form.folder, facts)
    with atomic_folder(target) as aside:
        path = aside / form.file
        watch("Converting", 0, 1)
        try:
            _write(deployed(model, output, size if form.file else None), path, facts, run, dataset, calibration)
        except (OSError, tf.errors.OpError) as error:
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
            raise InputError(f"The network cannot be written ({reason}). Received: {aside.parent}") from error
        try:
            likeness = parity(
                opened(path),
                live(model, output, size),
                (dataset.read(*pair) for pair in compared),
                len(run.classes),
                lambda done: watch("Comparing", done, len(compared)),
            )
        except tf.errors.ResourceExhaustedError as error:
            raise InputError(
                "The memory does not hold what the networks make of the data set's images. Let them see images at a "
                f"smaller --size. Received: --size {size or DYNAMIC}"
            ) from error
        size_on_disk = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
        found = {**facts, "bytes": size_on_disk, **likeness}
        least = MIN_AGREEMENT[quantize] if min_agreement is None else min_agreement
        if found["agreement"] < least:
            raise DisagreementError(
                f"Of {len(compared)} images only {found['agreement']:.2%} of the pixels get the class that the live "
                f"model gives them, less than {least:.2%}; nothing was exported. Allow it with --min-agreement, or "
                f"choose another --quantize. Received: --format {name} --quantize {quantize}"
            )
        (aside / "parity.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if name == "savedmodel":
        write_server_files(target.parent, run.folder.resolve().name)
    return target / form.file, found


def _write(
    network: keras.Model, path: Path, facts: Mapping[str, Any], run: Run, dataset: Dataset, calibration: int
) -> None:
    """Writes a network in a format, with what a file or a server should tell of it."""
    size, described = facts["size"], _described(run, facts)
    match facts["format"]:
        case "savedmodel":
            write_saved_model(network, path, size)
            extra = path / "assets.extra"
            extra.mkdir()
            (extra / "metadata.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
            first, *_ = dataset.find(run.settings.data.val_split)
            image, _ = dataset.read(*first)
            write_warmup(extra, run.folder.resolve().name, image, tf.io.encode_png(image).numpy())
        case "tflite":
            samples = partial(_samples, run, dataset, calibration, size)
            write_litert(network, path, size, facts["quantize"], samples, described)
        case "onnx":
            write_onnx(network, path, size, described)


def _target(form: Format, folder: Path, facts: Mapping[str, Any]) -> Path:
    """The folder of an export: of servers the next version, of files what they are."""
    if not form.file:
        try:
            versions = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
        except OSError as error:
            reason = error.strerror
            raise InputError(f"The folder cannot be read ({reason}). Name another. Received: {folder}") from error
        return folder / str(max(versions, default=0) + 1)
    size = "x".join(map(str, facts["size"])) if facts["size"] else DYNAMIC
    numbers = "float32" if facts["quantize"] == "none" else facts["quantize"]
    return folder / f"{facts['output']}-{size}-{numbers}"


def spread(items: list[Pair], count: int) -> list[Pair]:
    """So many of them, evenly spread."""
    return [items[index] for index in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def _samples(run: Run, dataset: Dataset, count: int, size: Size) -> Iterator[np.ndarray]:
    """Training images at that size, uint8 `(H, W, 3)`."""
    for pair in spread(dataset.find(run.settings.data.train_split), count):
        image, _ = dataset.read(*pair)
        yield fitted(image[None], size)[0].numpy() if image.shape[:2] != size else image


def _described(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a file should tell of itself: its classes in order, their colours, how it was made."""
    colours = [f"#{bytes(colour).hex()}" for colour in run.palette]
    return {"classes": list(run.classes), "palette": colours, **facts, "config": config.plain(run.settings)}
