"""ONNX files, through Keras's exporter."""

from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from keras_crosscoop.export.deployed import Size, Told
from keras_crosscoop.export.rewriting import copied, rewritten


def write_onnx(network: keras.Model, path: Path, size: Size | None = None) -> None:
    """Writes a file: `image`, uint8 `(B, H, W, 3)` -> `classes`, uint8 `(B, H, W)`, `confidence`, float32.

    Args:
        network: of `deployed`.
        path: of the file.
        size: `(H, W)`, where it shall be fixed.
    """
    image = keras.Input((*(size or (None, None)), 3), dtype="uint8", name="image")
    outputs = Told(name="told")(_padded(network)(ops.cast(image, "float32")))
    model = keras.Model(image, outputs)
    model(ops.zeros((1, *(size or (64, 64)), 3), "uint8"))  # Keras exports nothing that was never called
    model.export(path, format="onnx", verbose=False)


def _padded(network: keras.Model) -> keras.Model:
    """A copy whose dilated convolutions are padded by a layer before them: onnxruntime does not pad those itself."""

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        rates = getattr(operation, "dilation_rate", (1, 1))
        if max(rates) == 1 or operation.padding != "same":
            return None
        edges = tuple(rate * (size // 2) for rate, size in zip(rates, operation.kernel_size, strict=True))
        padded = layers.ZeroPadding2D(edges, name=f"{operation.name}_pad")(*arguments)
        return copied(operation, padding="valid")(padded)

    return rewritten(network, replace, network.input_shape[1:])
