"""What a format's own process does in a benchmark: it loads, then segments the image of each number that it is told."""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
import tensorflow as tf

from keras_crosscoop.errors import describe
from keras_crosscoop.export.running import opened
from keras_crosscoop.runs import load
from keras_crosscoop.system.devices import share_gpus
from keras_crosscoop.system.processes import replier
from keras_crosscoop.system.resources import cores

KERAS = "keras"
_RUNTIMES = {".tflite": "ai_edge_litert.interpreter", ".onnx": "onnxruntime"}


def main() -> None:
    """Reads a job, a line of JSON, from stdin, loads, and replies; then replies to each line, an image's number.

    A job says where its `images` are (a folder of `0.npy` and so on, uint8 `(H, W, 3)`), which network to load (`path`:
    an exported one, or, with the `output` of it that is wanted, a run's folder or a `.keras` file) and how: `format`.
    Without such an output Keras predicts all logits, and nothing is made of them.

    A reply, a line of JSON on stdout, tells the `seconds` from an image in memory to class ids in memory; `resident`,
    the most bytes of memory that the process has had; and `memory`, those beyond what it had when all that it imports
    was there. Or it tells of an `error`, in one line; that is the last one.
    """
    reply = replier()
    try:
        job = json.loads(sys.stdin.readline())
        tf.config.threading.set_intra_op_parallelism_threads(cores())  # as many as other runtimes get
        share_gpus()
        runtime = _RUNTIMES.get(Path(job["path"]).suffix)
        if runtime and importlib.util.find_spec(runtime.split(".")[0]):
            importlib.import_module(runtime)
        imports = peak_memory()
        segment = _segmenting(job)
        reply(seconds=None, resident=peak_memory(), memory=peak_memory() - imports)
        for number in sys.stdin:
            image = np.load(Path(job["images"]) / f"{int(number)}.npy")
            start = time.perf_counter()
            segment(image)
            seconds = time.perf_counter() - start
            reply(seconds=seconds, resident=peak_memory(), memory=peak_memory() - imports)
    except Exception as error:  # whatever it is, others go on
        reply(error=describe(error))


def peak_memory() -> int:
    """The most bytes of memory that this process has had so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose `getrusage` counts what the process had that started this one
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows, which has no module `resource`
        return memory.peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _segmenting(job: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What makes class ids `(H, W)` of an image, uint8 `(H, W, 3)`."""
    if job["format"] != KERAS:
        exported = opened(Path(job["path"]))
        return lambda image: exported(image)["classes"]
    model = load(job["path"])
    if job["output"] is None:
        return lambda image: model.predict_on_batch(image[None])

    def segment(image: np.ndarray) -> np.ndarray:
        scores = model.scores(model.predict_on_batch(image[None]), job["output"])
        return keras.ops.convert_to_numpy(keras.ops.argmax(scores, axis=-1))[0].astype("uint8")

    return segment
