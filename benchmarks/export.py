"""What exported networks take beside Keras: their time, memory and size, and what telling classes takes of the time.

    python benchmarks/export.py
    python benchmarks/export.py --pair tiny_xception,tiny_resnet --size 129

No data set is needed: the pair, the paper's by default, has random weights, and its batch normalisation the statistics
of random images. Each contender has a process of its own and as many threads as the machine, and they take turns, one
image each, in one run; those that the memory does not hold at once come after the others, again beside Keras. The base
is `model.predict_on_batch` at batch 1, of the whole pair, which ends with logits; all others tell classes. ONNX is not
here, as its converter takes more memory than most machines have for the paper's pair; of runs, see
`crosscoop-tf benchmark`.
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
from keras_crosscoop.export import litert, saved_model
from keras_crosscoop.export.benchmark.measuring import measure, summarized
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.litert import Quantize
from keras_crosscoop.layers import batch_norms

CLASSES = 21
DESCRIBED = {"classes": [f"class {number}" for number in range(CLASSES)]}
OF_CLASSES = {  # their quantisation
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


def built(pair: list[str], size: int, topology: str) -> CrossCoop:
    """The pair, whose features stay of one order from the first layer to the last."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    model = CrossCoop(CLASSES, top=pair[0], bottom=pair[1], topology=topology, weights=None)
    for layer in batch_norms(model):
        layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(random.normal(0, 0.3, layer.beta.shape))
        layer.momentum = 0.0  # for the statistics of the next batch
    model(np.stack([*photographs(2, min(size, 257), seed=1)]).astype("float32"), training=True)
    model.compile()
    return model


def low(logits: Mapping[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """In place of `told`: next to nothing, so that a network ends with its logits, a quarter of the image's size."""
    largest = tf.reduce_max(sum(logits.values()), axis=-1)
    return {"classes": tf.cast(largest, tf.uint8), "confidence": largest}


def write_saved(model: CrossCoop, output: str, folder: Path) -> dict[str, str]:
    """A SavedModel for images of any size, as a job of the measuring processes."""
    saved_model.write_saved_model(deployed(model, output), folder)
    return {"format": "savedmodel", "path": str(folder)}


def write_lite(model: CrossCoop, size: int, quantize: Quantize, path: Path) -> dict[str, str]:
    """A TFLite file of the ensemble, as a job."""
    shape = size, size
    network = deployed(model, "ensemble", shape)
    litert.write_litert(network, path, shape, quantize, lambda: photographs(4, size, seed=2), DESCRIBED)
    return {"format": "tflite", "path": str(path)}


def write_ensembles(model: CrossCoop, size: int, folder: Path, mark: str) -> Jobs:
    """The ensemble as SavedModel and as TFLite of each kind."""
    return {
        f"{name}{mark}": write_saved(model, "ensemble", folder / f"saved{mark}")
        if name == "SavedModel"
        else write_lite(model, size, quantize, folder / f"{quantize}{mark}.tflite")
        for name, quantize in OF_CLASSES.items()
    }


def measured(jobs: Jobs, folder: Path, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What `crosscoop-tf benchmark` would tell of them."""
    failed: dict[str, str] = {}
    jobs = {name: {**job, "output": None, "images": str(folder)} for name, job in jobs.items()}
    groups = measure(jobs, arguments.images, folder, failed, rounds=arguments.rounds)
    for name, reason in failed.items():
        print(f"  {name} failed. {reason}")
    return summarized(groups)


def print_figures(title: str, jobs: Jobs, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints times, how many times as fast as Keras that is, memory and sizes."""
    print(title)
    for name, figures in found.items():
        path = Path(jobs[name]["path"])
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
        latency = figures["latency"]
        print(
            f"  {name:<32} {1000 * latency['median']:10.1f} ms  p90 {1000 * latency['p90']:10.1f} ms "
            f"{figures['speedup'] or float('nan'):8.2f} x as fast {figures['memory'] / 2**20:8.0f} MiB memory "
            f"{size / 2**20:8.1f} MiB file",
            flush=True,
        )


def print_shares(names: Iterable[str], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints what enlarging logits, softmax and the largest of it take of each format's time."""
    print("Of the ensemble's time, enlarging logits, softmax and argmax take")
    for name in names:
        if name in found and f"{name}, logits" in found:
            whole, network = (found[each]["latency"]["median"] for each in (name, f"{name}, logits"))
            share = 1 - network / whole
            print(
                f"  {name:<32} {share:6.1%} ({1000 * whole:.1f} ms, up to logits {1000 * network:.1f} ms)", flush=True
            )


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", type=lambda names: names.split(","), default=["xception65", "resnet101"])
    parser.add_argument("--size", type=int, default=513, help="pixels, height and width")
    parser.add_argument("--rounds", type=int, default=30, help="how often each contender is timed")
    parser.add_argument("--images", type=int, default=5, help="different ones")
    arguments = parser.parse_args()
    size = arguments.size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, image in enumerate(photographs(arguments.images, size)):
            np.save(folder / f"{number}.npy", image)
        model = built(arguments.pair, size, "cross")
        model.save(folder / "pair.keras")
        jobs: Jobs = {KERAS: {"format": KERAS, "path": str(folder / "pair.keras")}}
        whole = write_ensembles(model, size, folder, "")
        with mock.patch.object(saved_model, "told", low), mock.patch.object(litert, "told", low):
            logits = write_ensembles(model, size, folder, ", logits")
        jobs |= whole
        alone = {"SavedModel, top alone": write_saved(model, "top", folder / "top")}
        del model
        unpaired = built(arguments.pair, size, "none")
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
