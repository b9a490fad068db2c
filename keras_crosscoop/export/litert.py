"""LiteRT (TensorFlow Lite) files: one fixed input size, one signature, float or quantised, with class names."""

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
from keras_crosscoop.export.deployment import Size, predictions
from keras_crosscoop.export.unsupported_operations import conversion_failure, unsupported_operations
from keras_crosscoop.export.upsampling import conv_before_upsample
from keras_crosscoop.keras_internals import saved_model_outputs

Quantize = Literal["none", "float16", "dynamic", "int8"]


def write_litert(
    network: keras.Model,
    path: Path,
    size: Size,
    quantize: Quantize,
    samples: Callable[[], Iterable[np.ndarray]],
    metadata: Mapping[str, Any],
) -> None:
    """Writes a file with the signature `serving_default`: `image`, uint8 `(1, H, W, 3)` -> `classes`, `confidence`.

    Class ids are uint8 `(1, H, W)`, confidences float32 `(1, H, W)`. Read outputs by name: the converter reorders
    them. Like other TensorFlow Lite files with metadata, the file is also a zip archive, with `labels.txt`, one class
    per line, and `metadata.json`.

    The quantisations "float16" and "dynamic" (8 bits) store small weights. "int8" also computes with 8 bits, up to
    logits; `samples` returns images, uint8 `(H, W, 3)`, which calibrate the ranges of its features. The network is a
    `deployment_graph` of the same size.

    Raises:
        InputError: An operation cannot be converted. The error names it and its layer.
    """
    if quantize == "none":  # with quantisation, each of the products would be rounded to 8 bits
        network = conv_before_upsample(network)
    with tempfile.TemporaryDirectory() as folder:
        float_operations = _save(network, size, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            content = _int8(converter, samples, float_operations) if quantize == "int8" else converter.convert()
        except InputError:  # from reading a sample
            raise
        except Exception as error:  # of many types
            raise _conversion_error(error, network) from error
        path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "".join(f"{name}\n" for name in metadata["classes"]))
        archive.writestr("metadata.json", json.dumps(metadata, indent=2) + "\n")


def _save(network: keras.Model, size: Size, folder: str) -> list[str]:
    """Writes the SavedModel to convert, and returns the names of all operations after the logits."""
    image = tf.TensorSpec([1, *size, 3], tf.uint8, name="image")
    core = tf.function(
        lambda image: network(tf.cast(image, tf.float32), training=False), input_signature=[image], autograph=False
    )

    @tf.function(input_signature=[image], autograph=False)
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = core(image)
        with tf.name_scope("predictions"):
            return predictions(logits, size)

    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    operations = serve.get_concrete_function().graph.get_operations()
    return [operation.name for operation in operations] + saved_model_outputs(2)


def _int8(
    converter: tf.lite.TFLiteConverter, samples: Callable[[], Iterable[np.ndarray]], float_operations: list[str]
) -> bytes:
    """Converts the network to 8-bit integers, except for the named operations.

    These upsample logits and choose classes. In 8 bits they would take twice as long, because few of them have integer
    kernels, and probabilities would have steps of 1/256. `tf.lite.experimental.QuantizationDebugger` makes the same two
    calls, but also builds a network three times as large between them.
    """
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples())
    converter._experimental_calibrate_only = True
    return mlir_quantize(converter.convert(), denylisted_nodes=float_operations)


def _conversion_error(error: Exception, network: keras.Model) -> InputError:
    operations = [
        (cause.operator.name.removeprefix("tf."), cause.location.call[0].name if cause.location.call else "")
        for cause in (error.errors if isinstance(error, ConverterError) else ())
        if cause.operator.name
    ]
    if operations:
        return unsupported_operations("TensorFlow Lite", operations, network)
    return conversion_failure("TensorFlow Lite", error, network)
