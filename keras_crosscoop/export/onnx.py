"""ONNX files, through Keras's exporter."""

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from keras_crosscoop.export.deployment import Size, segment
from keras_crosscoop.export.folding import CONVOLUTIONS
from keras_crosscoop.export.rewriting import copy_of, rewrite
from keras_crosscoop.export.unsupported_operations import conversion_failure, unsupported_operations


def write_onnx(network: keras.Model, path: Path, size: Size | None, metadata: Mapping[str, Any]) -> None:
    """Writes a file: `image`, uint8 `(B, H, W, 3)` of any size -> `classes`, uint8 `(B, H, W)`, `confidence`, float32.

    With a `size`, `(H, W)`, images are resized to it for the network, a `deployment_graph`, and class maps back from
    it. Metadata are JSON values, which become properties of the file.

    Raises:
        InputError: An operation cannot be converted.
    """
    import onnx  # from the extra

    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    model = keras.Model(image, _Segmentation(_with_explicit_padding(network), size, name="segmentation")(image))
    model(ops.zeros((1, 64, 64, 3), "uint8"))  # Keras exports only models that have been called
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # from Keras, about NumPy
        logger.setLevel(logging.CRITICAL + 1)  # it logs nothing that the errors below do not contain
        try:
            model.export(path, format="onnx", verbose=False)
        except Exception as error:  # of many types
            raise conversion_failure("ONNX", error, network) from error
        finally:
            logger.setLevel(level)
    file = onnx.load(path)
    unknown = [(node.op_type, node.name) for node in file.graph.node if not onnx.defs.has(node.op_type, node.domain)]
    if unknown:  # the exporter writes operations that ONNX does not have
        path.unlink()
        raise unsupported_operations("ONNX", unknown, network)
    properties = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(file, properties)
    onnx.save(file, path)


class _Segmentation(layers.Layer):
    """Computes classes and confidence from pixels, in a layer because some steps are not Keras operations."""

    def __init__(self, network: keras.Model, size: Size | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network, self.size = network, size

    def call(self, image: KerasTensor) -> dict[str, KerasTensor]:
        return segment(lambda resized: self.network(ops.cast(resized, "float32")), image, self.size)


def _with_explicit_padding(network: keras.Model) -> keras.Model:
    """Returns a copy with a padding layer before each dilated convolution, which onnxruntime would pad wrongly."""

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if not isinstance(operation, CONVOLUTIONS) or max(operation.dilation_rate) == 1 or operation.padding != "same":
            return None
        reach = zip(operation.dilation_rate, operation.kernel_size, strict=True)
        edges = tuple(rate * (size // 2) for rate, size in reach)
        padded = layers.ZeroPadding2D(edges, name=f"{operation.name}_pad")(*arguments)
        return copy_of(operation, padding="valid")(padded)

    return rewrite(network, replace)
