"""The worker process of a contender in a benchmark: loads a network, then segments an image for each message."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from keras_crosscoop.errors import describe
from keras_crosscoop.export.runtimes import load_exported
from keras_crosscoop.runs import load
from keras_crosscoop.system.devices import share_gpus
from keras_crosscoop.system.processes import connect
from keras_crosscoop.system.resources import cores

KERAS = "keras"  # the format of the live model
_RUNTIMES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime"}


def main() -> None:
    """Loads the network of the first message, then segments the image of each later message, an image's number.

    The first message holds `images`, a folder of `0.npy` and so on, uint8 `(H, W, 3)`, the `format`, and the network's
    `path`: an exported network, or, for Keras, a run folder or `.keras` file with the `output` to compute. If that is
    None, Keras computes all logits and no classes.

    It replies to each message with `seconds`, from an image in memory to class ids in memory (None after loading),
    `resident`, the peak memory of the process in bytes, and `memory`, the part of it after the import of all modules.
    """
    messages, send = connect()
    try:
        job = next(messages)
        tf.config.threading.set_intra_op_parallelism_threads(cores())  # as for the other runtimes
        share_gpus()
        runtime = _RUNTIMES.get(Path(job["path"]).suffix)
        if runtime and importlib.util.find_spec(runtime.split(".")[0]):
            importlib.import_module(runtime)
        imports = peak_memory()
        segment = _segmenter(job)
        send(seconds=None, resident=peak_memory(), memory=peak_memory() - imports)
        for number in messages:
            image = np.load(Path(job["images"], f"{number}.npy"))
            start = time.perf_counter()
            segment(image)
            seconds = time.perf_counter() - start
            send(seconds=seconds, resident=peak_memory(), memory=peak_memory() - imports)
    except Exception as error:  # the other contenders continue after any error
        send(error=describe(error))


def peak_memory() -> int:
    """Returns the peak memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose `getrusage` counts the memory of the parent process, too
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows, which has no module `resource`
        return memory.peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _segmenter(job: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from an image, uint8 `(H, W, 3)`, to class ids `(H, W)`."""
    if job["format"] != KERAS:
        exported = load_exported(job["path"])
        return lambda image: exported(image)["classes"]
    model = load(job["path"])
    if job["output"] is None:
        return lambda image: model.predict_on_batch(image[None])

    def segment(image: np.ndarray) -> np.ndarray:
        scores = model.scores(model.predict_on_batch(image[None]), job["output"])
        return keras.ops.convert_to_numpy(keras.ops.argmax(scores, axis=-1))[0].astype("uint8")

    return segment
