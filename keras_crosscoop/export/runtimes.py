"""Runtimes of exported networks: TensorFlow, LiteRT and onnxruntime, with the same interface."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.export.deployment import Size, resize_back, resize_in
from keras_crosscoop.system.resources import cores


class Exported(NamedTuple):
    """An exported network, loaded by its runtime. Calling it segments an image of any size.

    Attributes:
        run: A function: images, uint8 `(1, H, W, 3)` -> `classes`, uint8, and `confidence`, float32, both `(1, H, W)`.
        size: The fixed input size `(H, W)` of the file; None for any size.

    Example:
        >>> import numpy as np
        >>> dark = Exported(lambda image: {"classes": image.max(-1) < 128, "confidence": np.ones(image.shape[:3])})
        >>> dark(np.uint8([[[9, 9, 9], [200, 0, 0]]]))["classes"]
        array([[ True, False]])
    """

    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    size: Size | None = None

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `classes`, uint8 `(H, W)`, and `confidence`, float32 `(H, W)`, of an image, uint8 `(H, W, 3)`."""
        if self.size in (None, image.shape[:2]):
            predicted = self.run(image[None])
        else:
            predicted = resize_back(self.run(resize_in(image[None], self.size).numpy()), image.shape[:2])
        return {name: np.asarray(predicted[name])[0] for name in ("classes", "confidence")}


def load_exported(path: str | os.PathLike) -> Exported:
    """Loads an exported network.

    Args:
        path: The folder of a SavedModel, or a `.tflite` or `.onnx` file.

    Raises:
        InputError: There is no such file or folder, or the runtime is not installed.

    Example:
        >>> load_exported("model.pt")
        Traceback (most recent call last):
        ...
        keras_crosscoop.errors.InputError: An exported network is the folder of a SavedModel, a .tflite file or an
        .onnx file. Received: model.pt
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return _saved_model(path)
    runtimes = {".tflite": _litert, ".onnx": _onnx}
    if path.suffix not in runtimes or not path.is_file():
        raise InputError(
            f"An exported network is the folder of a SavedModel, a .tflite file or an .onnx file. Received: {path}"
        )
    return runtimes[path.suffix](path)


def _saved_model(path: Path) -> Exported:
    loaded = tf.saved_model.load(str(path))
    segment = loaded.signatures["serving_default"]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in segment(image=tf.constant(image)).items()}

    run.loaded = loaded  # must live as long as its signatures
    return Exported(run)


def _litert(path: Path) -> Exported:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        Interpreter = tf.lite.Interpreter  # noqa: N806 - a class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # TensorFlow's own is deprecated
        interpreter = Interpreter(str(path), num_threads=cores())
    segment = interpreter.get_signature_runner("serving_default")
    _, height, width, _ = segment.get_input_details()["image"]["shape"].tolist()
    return Exported(lambda image: segment(image=image), (height, width))


def _onnx(path: Path) -> Exported:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(
            f'ONNX files are run by onnxruntime: pip install "keras-crosscoop[onnx]". Received: {path}'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    # By default its threads spin for a while after each image, which slows down other work.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Hides a warning about TensorFlow's nearest-neighbour resizing. The logger belongs to the whole process, and its
    # level cannot be read: 2 (warnings) is the default, 3 is errors.
    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        onnxruntime.set_default_logger_severity(2)
    names = [output.name for output in session.get_outputs()]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    return Exported(run)
