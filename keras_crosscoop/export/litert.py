"""LiteRT (TensorFlow Lite) files: one fixed size, one signature, float or quantised, with labels attached."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.convert_phase import ConverterError

from keras_crosscoop.errors import InputError
from keras_crosscoop.export.deployed import Size, told
from keras_crosscoop.export.unconvertible import gave_up, unconvertible
from keras_crosscoop.export.upsampling import enlarged_last
from keras_crosscoop.keras_internals import saved_model_outputs

Quantize = Literal["none", "float16", "dynamic", "int8"]


def write_litert(
    network: keras.Model,
    path: Path,
    size: Size,
    quantize: Quantize,
    samples: Callable[[], Iterable[np.ndarray]],
    described: Mapping[str, Any],
) -> None:
    """Writes a file whose signature `serving_default` is `image`, uint8 `(1, H, W, 3)` -> `classes`, `confidence`.

    Class ids are uint8 `(1, H, W)`, confidences float32 alike. Outputs go by these names: their order is the
    converter's. What describes the file is appended as `labels.txt`, a class a line, and `metadata.json`, in the way of
    TensorFlow Lite's metadata: the file is a zip file, too.

    Args:
        network: of `deployed`, of that size.
        path: of the file.
        size: `(H, W)`.
        quantize: "float16" and "dynamic" (8 bits) store weights small; "int8" also computes with 8 bits, up to logits.
        samples: gives images of that size, uint8 `(H, W, 3)`, that tell the range of every feature, for "int8".
        described: of JSON; its `classes` are the labels.

    Raises:
        InputError: an operation cannot be converted; it is named, with its layer.
    """
    if quantize == "none":  # the products that this saves would be rounded to 8 bits one by one
        network = enlarged_last(network)
    with tempfile.TemporaryDirectory() as folder:
        exact = _save(network, size, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            content = _in_8_bits(converter, samples, exact) if quantize == "int8" else converter.convert()
        except InputError:  # of a sample
            raise
        except Exception as error:  # of many kinds, and what it says is all that there is to tell
            raise _complaint(error, network) from error
        path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{name}\n" for name in described["classes"]))
        archive.writestr("metadata.json", json.dumps(described, indent=2) + "\n")


def _save(network: keras.Model, size: Size, folder: str) -> list[str]:
    """Writes the SavedModel that is converted, and gives the names of all operations that tell classes of logits."""
    image = tf.TensorSpec([1, *size, 3], tf.uint8, name="image")
    core = tf.function(
        lambda image: network(tf.cast(image, tf.float32), training=False), input_signature=[image], autograph=False
    )

    @tf.function(input_signature=[image], autograph=False)
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = core(image)
        with tf.name_scope("told"):
            return told(logits, size)

    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    operations = serve.get_concrete_function().graph.get_operations()
    return [operation.name for operation in operations] + saved_model_outputs(2)


def _in_8_bits(
    converter: tf.lite.TFLiteConverter, samples: Callable[[], Iterable[np.ndarray]], exact: list[str]
) -> bytes:
    """The network with 8 bits a number, but for operations whose names are `exact`.

    These enlarge logits and tell classes of them: in 8 bits they would take twice as long, as few of them have kernels,
    and probabilities would have steps of 1/256. The two steps are those of `tf.lite.experimental.QuantizationDebugger`,
    which makes another network in between, three times as large.
    """
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples())
    converter._experimental_calibrate_only = True
    return mlir_quantize(converter.convert(), denylisted_nodes=exact)


def _complaint(error: Exception, network: keras.Model) -> InputError:
    found = [
        (each.operator.name.removeprefix("tf."), each.location.call[0].name if each.location.call else "")
        for each in (error.errors if isinstance(error, ConverterError) else ())
        if each.operator.name
    ]
    return unconvertible("TensorFlow Lite", found, network) if found else gave_up("TensorFlow Lite", error, network)
