"""Time, memory and size of exported networks beside Keras, and the share of the time after the logits.

    python benchmarks/export.py
    python benchmarks/export.py --pair tiny_xception,tiny_resnet --size 129

No data set is needed: the pair, by default the paper's, has random weights, and its batch normalisation the statistics
of random images. The measurement is that of `crosscoop-tf benchmark`: each contender has a process of its own, and they
take turns. The base is `model.predict_on_batch` at batch 1 of the whole pair, which ends with logits; all others
predict classes. ONNX is missing, since its converter needs more memory than most machines have for the paper's pair.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop import CrossCoop
from keras_crosscoop.export import deployment, litert, saved_model
from keras_crosscoop.export.benchmark.timing import measure, summarize
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.layers import batch_norms

CLASSES = 21
METADATA = {"classes": [f"class {number}" for number in range(CLASSES)]}
FORMATS = {  # name -> quantisation
    "SavedModel": "none",
    "TFLite float32": "none",
    "TFLite float16": "float16",
    "TFLite dynamic": "dynamic",
    "TFLite int8": "int8",
}

Jobs = dict[str, dict[str, str]]


def photographs(count: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Images with structure at several scales, uint8 `(size, size, 3)`."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        image = np.full((size, size, 3), 127.0)
        for step in (1, 4, 16, 64):
            coarse = random.normal(0, 40, (-(-size // step), -(-size // step), 3))
            image += coarse.repeat(step, 0).repeat(step, 1)[:size, :size]
        yield np.clip(image, 0, 255).astype(np.uint8)


def build(pair: list[str], size: int, topology: str) -> CrossCoop:
    """Returns the pair, with features of the same order of magnitude in every layer."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = CrossCoop(CLASSES, top=pair[0], bottom=pair[1], topology=topology, weights=None)
    for layer in batch_norms(model):
        layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.3, layer.beta.shape))
        layer.momentum = 0.0  # takes the statistics of the next batch
    model(np.stack([*photographs(2, min(size, 257), seed=1)]).astype("float32"), training=True)
    model.compile()
    return model


def logits_only(logits: Mapping[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """Replaces `predictions` by next to nothing: a network then ends with its logits, at a quarter of the image."""
    largest = tf.reduce_max(sum(logits.values()), axis=-1)
    return {"classes": tf.cast(largest, tf.uint8), "confidence": largest}


def write_saved(model: CrossCoop, output: str, folder: Path) -> dict[str, str]:
    """Writes a SavedModel for images of any size; returns the job of `measure`."""
    saved_model.write_saved_model(deployment_graph(model, output), folder)
    return {"format": "savedmodel", "path": str(folder)}


def write_lite(model: CrossCoop, size: int, quantize: Quantize, path: Path) -> dict[str, str]:
    """Writes a TFLite file of the ensemble; returns the job."""
    shape = size, size
    network = deployment_graph(model, "ensemble", shape)
    litert.write_litert(network, path, shape, quantize, lambda: photographs(4, size, seed=2), METADATA)
    return {"format": "tflite", "path": str(path)}


def write_ensembles(model: CrossCoop, size: int, folder: Path, suffix: str = "") -> Jobs:
    """Writes the ensemble in each of `FORMATS`."""
    return {
        f"{name}{suffix}": write_saved(model, "ensemble", folder / f"saved{suffix}")
        if name == "SavedModel"
        else write_lite(model, size, quantize, folder / f"{quantize}{suffix}.tflite")
        for name, quantize in FORMATS.items()
    }


def measured(jobs: Jobs, folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Returns the figures of `crosscoop-tf benchmark`, by contender."""
    jobs = {name: {**job, "output": None, "images": str(folder)} for name, job in jobs.items()}
    groups, failed = measure(jobs, arguments.images, folder, rounds=arguments.rounds)
    for name, reason in failed.items():
        print(f"  {name} failed. {reason}")
    return summarize(groups)


def print_figures(title: str, jobs: Jobs, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints times, speedups over Keras, memory and file sizes."""
    print(title)
    for name, contender in figures.items():
        path = Path(jobs[name]["path"])
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
        latency = contender["latency"]
        print(
            f"  {name:<32} {1000 * latency['median']:10.1f} ms  p90 {1000 * latency['p90']:10.1f} ms "
            f"{contender['speedup'] or float('nan'):8.2f} x as fast {contender['memory'] / 2**20:8.0f} MiB memory "
            f"{size / 2**20:8.1f} MiB file",
            flush=True,
        )


def print_shares(names: Iterable[str], figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints the share of upsampling, softmax and argmax in each format's time."""
    print("Share of upsampling the logits, softmax and argmax in the ensemble's time")
    for name in names:
        if name in figures and f"{name}, logits" in figures:
            whole, network = (figures[key]["latency"]["median"] for key in (name, f"{name}, logits"))
            times = f"{1000 * whole:.1f} ms, up to the logits {1000 * network:.1f} ms"
            print(f"  {name:<32} {1 - network / whole:6.1%} ({times})", flush=True)


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", type=lambda names: names.split(","), default=["xception65", "resnet101"])
    parser.add_argument("--size", type=int, default=513, help="pixels, height and width")
    parser.add_argument("--rounds", type=int, default=30, help="number of images to time each contender on")
    parser.add_argument("--images", type=int, default=5, help="number of different images")
    arguments = parser.parse_args()
    size = arguments.size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, image in enumerate(photographs(arguments.images, size)):
            np.save(folder / f"{number}.npy", image)
        model = build(arguments.pair, size, "cross")
        model.save(folder / "pair.keras")
        jobs: Jobs = {KERAS: {"format": KERAS, "path": str(folder / "pair.keras")}}
        whole = write_ensembles(model, size, folder)
        with mock.patch.object(deployment, "predictions", logits_only):
            logits = write_ensembles(model, size, folder, ", logits")
        jobs |= whole
        alone = {"SavedModel, top alone": write_saved(model, "top", folder / "top")}
        del model
        unpaired = build(arguments.pair, size, "none")
        alone["SavedModel, topology none"] = write_saved(unpaired, "ensemble", folder / "none")
        alone["SavedModel, topology none, top alone"] = write_saved(unpaired, "top", folder / "none_top")
        del unpaired
        title = f"{' + '.join(arguments.pair)}, {size}x{size}, batch 1"
        print_figures(f"{title}, ensemble", jobs, measured(jobs, folder, arguments))
        jobs = {KERAS: jobs[KERAS], "SavedModel": jobs["SavedModel"], **alone}
        print_figures(f"{title}, one output against the pair in Keras", jobs, measured(jobs, folder, arguments))
        shares: dict[str, dict[str, Any]] = {}
        for name in whole:
            both = {f"{name}, logits": logits[f"{name}, logits"], name: whole[name]}
            shares |= measured(both, folder, arguments)
        print_shares(whole, shares)


if __name__ == "__main__":
    main()
