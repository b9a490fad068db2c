"""Exported files, run: each format by its own runtime, all alike to call."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.export.deployed import Size, fitted, restored
from keras_crosscoop.system.resources import cores

Run = Callable[[np.ndarray], dict[str, np.ndarray]]  # uint8 (1, H, W, 3) -> classes, confidence (1, H, W)


class Exported(NamedTuple):
    """An exported network, loaded; calling it segments an image of any size.

    Attributes:
        run: images, uint8 `(1, H, W, 3)`, of `size` where there is one -> `classes`, `confidence`, `(1, H, W)`.
        size: `(H, W)` that the file is for; None for any.
    """

    run: Run
    size: Size | None = None

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """`classes`, uint8 `(H, W)`, and `confidence`, float32 alike, of an image, uint8 `(H, W, 3)`."""
        if self.size in (None, image.shape[:2]):
            found = self.run(image[None])
        else:
            found = restored(self.run(fitted(image[None], self.size).numpy()), image.shape[:2])
        return {key: np.asarray(found[key])[0] for key in ("classes", "confidence")}


def opened(path: str | os.PathLike) -> Exported:
    """An exported folder or file, by what it holds: a SavedModel, `.tflite` or `.onnx`.

    Raises:
        InputError: it is none of these, or its runtime is missing.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return _saved_model(path)
    kinds = {".tflite": _litert, ".onnx": _onnx}
    if path.suffix not in kinds or not path.is_file():
        raise InputError(f"An exported network is a SavedModel's folder, a .tflite or an .onnx file. Received: {path}")
    return kinds[path.suffix](path)


def _saved_model(path: Path) -> Exported:
    loaded = tf.saved_model.load(str(path))  # which must live as long as its signatures
    segment = loaded.signatures["serving_default"]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return {key: found.numpy() for key, found in segment(image=tf.constant(image)).items()}

    run.loaded = loaded
    return Exported(run)


def _litert(path: Path) -> Exported:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        Interpreter = tf.lite.Interpreter  # noqa: N806 - a class
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that TensorFlow's own has moved to LiteRT
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
    # Else its threads go on spinning for a while after each image, and slow what else the machine does.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Errors alone: it warns of an attribute that TensorFlow's nearest pixel has, by the logger of the whole process,
    # whose severity cannot be asked for: 2, warnings, is what it begins with.
    onnxruntime.set_default_logger_severity(3)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        onnxruntime.set_default_logger_severity(2)
    (described,), names = session.get_inputs(), [output.name for output in session.get_outputs()]

    def run(image: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {described.name: image}), strict=True))

    return Exported(run)
