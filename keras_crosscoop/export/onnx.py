"""ONNX files, through Keras's exporter."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from keras_crosscoop.export.deployed import Size, fitted, restored, told
from keras_crosscoop.export.folding import CONVOLUTIONS
from keras_crosscoop.export.rewriting import copied, rewritten
from keras_crosscoop.export.unconvertible import gave_up, unconvertible


def write_onnx(network: keras.Model, path: Path, size: Size | None, described: Mapping[str, Any]) -> None:
    """Writes a file: `image`, uint8 `(B, H, W, 3)` of any size -> `classes`, uint8 `(B, H, W)`, `confidence`, float32.

    Args:
        network: of `deployed`.
        path: of the file.
        size: `(H, W)` that images are brought to for the network, and class maps back from; None for as they are.
        described: of JSON; becomes the file's metadata, one property a key.

    Raises:
        InputError: an operation cannot be converted.
    """
    import onnx  # of the extra

    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    seen = image if size is None else _Fitted(size, name="fitted")(image)
    logits = _padded(network)(ops.cast(seen, "float32"))
    model = keras.Model(image, _Told(size, name="told")(logits, image))
    model(ops.zeros((1, 64, 64, 3), "uint8"))  # Keras exports nothing that was never called
    with warnings.catch_warnings(), _silent("tf2onnx"):
        warnings.simplefilter("ignore", FutureWarning)  # of Keras's, about NumPy
        try:
            model.export(path, format="onnx", verbose=False)
        except Exception as error:  # of many kinds, and what it says is all that there is to tell
            raise gave_up("ONNX", error, network) from error
    file = onnx.load(path)
    lacking = [(node.op_type, node.name) for node in file.graph.node if not onnx.defs.has(node.op_type, node.domain)]
    if lacking:  # of which the exporter only says something, and keeps them
        path.unlink()
        raise unconvertible("ONNX", lacking, network)
    onnx.helper.set_model_props(file, {key: _text(value) for key, value in described.items()})
    onnx.save(file, path)


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keeps a library from logging: what it says is told by an error here."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _Fitted(layers.Layer):
    def __init__(self, size: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, image: KerasTensor) -> KerasTensor:
        return fitted(image, self.size)


class _Told(layers.Layer):
    def __init__(self, size: Size | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, logits: dict[str, KerasTensor], image: KerasTensor) -> dict[str, KerasTensor]:
        size = ops.shape(image)[1:3]
        return told(logits, size) if self.size is None else restored(told(logits, self.size), size)


def _padded(network: keras.Model) -> keras.Model:
    """A copy whose dilated convolutions are padded by a layer before them: onnxruntime does not pad those itself."""

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if not isinstance(operation, CONVOLUTIONS) or max(operation.dilation_rate) == 1 or operation.padding != "same":
            return None
        reach = zip(operation.dilation_rate, operation.kernel_size, strict=True)
        edges = tuple(rate * (size // 2) for rate, size in reach)
        padded = layers.ZeroPadding2D(edges, name=f"{operation.name}_pad")(*arguments)
        return copied(operation, padding="valid")(padded)

    return rewritten(network, replace, network.input_shape[1:])
