"""LiteRT (TensorFlow Lite) files: one fixed size, one signature, float or quantised, with labels attached."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.export.deployed import Size, frozen, told
from keras_crosscoop.export.upsampling import enlarged_last

Quantize = Literal["none", "float16", "dynamic", "int8"]


def write_litert(
    network: keras.Model,
    path: Path,
    size: Size,
    quantize: Quantize = "none",
    calibration: Iterable[np.ndarray] = (),
) -> None:
    """Writes a file whose signature `serving_default` is `image`, uint8 `(1, H, W, 3)` -> `classes`, `confidence`.

    Outputs are addressed by these names: their order is the converter's. Class ids are uint8 `(1, H, W)`, confidences
    float32 alike.

    Args:
        network: of `deployed`, of that size.
        path: of the file.
        size: `(H, W)`.
        quantize: "float16" and "dynamic" (int8) store weights small; "int8" computes so, too.
        calibration: images of that size, uint8 `(H, W, 3)`, that tell the range of every feature, for "int8".

    Raises:
        InputError: the converter refuses an operation, which is named.
    """
    image = tf.TensorSpec([1, *size, 3], tf.uint8, name="image")
    if quantize == "none":
        network = enlarged_last(network)
    core = frozen(lambda image: network(tf.cast(image, tf.float32), training=False), image)
    module = tf.Module()
    module.serve = tf.function(lambda image: told(core(image)[0]), input_signature=[image], autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.representative_dataset = lambda: ([sample[None]] for sample in calibration)
        try:
            path.write_bytes(converter.convert())
        except (tf.lite.python.convert_phase.ConverterError, RuntimeError, ValueError) as error:
            raise InputError("") from error


def attach(path: Path, classes: Mapping[str, str], **facts: Any) -> None:
    """Appends `labels.txt`, a class a line, and `metadata.json` to a LiteRT file, as its metadata tools do.

    The file stays a model, and is a zip file as well: `unzip -p model.tflite labels.txt`.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{name}\n" for name in classes))
        archive.writestr("metadata.json", json.dumps({"classes": classes, **facts}, indent=2) + "\n")
