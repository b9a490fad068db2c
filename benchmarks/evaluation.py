"""Time of an evaluation beyond the networks' own, and its memory on large images.

    python benchmarks/evaluation.py

Prints the share of forward passes alone in the time of `evaluate` on the same images, taking turns, and the memory of
processes that segment one image of Cityscapes' size with the paper's pair and random weights.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from training import PAIRS

from keras_crosscoop import CrossCoop, dataset, load_dataset
from keras_crosscoop.evaluation import Inference, evaluate

CLASSES = 19
SIZES = {"whole": None, "window 769": 769}


def pictures(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Writes a data set of JPEGs with structure, labelled in patches."""
    random = np.random.default_rng(0)
    (folder / "classes.txt").write_text("".join(f"class {number}\n" for number in range(CLASSES)))
    for kind in ("images", "masks"):
        (folder / kind / "val").mkdir(parents=True)
    for number in range(count):
        ids = random.integers(0, CLASSES, (size[0] // 24 + 1, size[1] // 24 + 1), np.uint8)
        ids = ids.repeat(24, 0).repeat(24, 1)[: size[0], : size[1]]
        image = np.clip(ids[..., None] * [12, 9, 5] + random.normal(0, 20, (*size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images/val" / f"{number}.jpg", quality=90)
        Image.fromarray(ids).save(folder / "masks/val" / f"{number}.png")
    return folder


def compare(pair: str, count: int, size: tuple[int, int], rounds: int) -> None:
    """Times `evaluate` per image after its start, and the networks alone on images in memory."""
    model = CrossCoop(CLASSES, **PAIRS[pair], weights=None)
    forward = tf.function(lambda image: model(image, training=False), reduce_retracing=True)
    with tempfile.TemporaryDirectory() as folder:
        data = dataset("folder", pictures(Path(folder), count, size))
        images = [tf.cast(image[None], "float32") for image, _ in load_dataset(data, "val")]
        shares = []
        for _ in range(rounds):
            ends = []
            evaluate(model, data, "val", progress=lambda *_: ends.append(time.perf_counter()))  # noqa: B023
            forward(images[0])["top"].numpy()
            start = time.perf_counter()
            for image in images[1:]:
                forward(image)["top"].numpy()
            shares.append((time.perf_counter() - start) / (ends[-1] - ends[0]))
    print(f"{count} images of {size[1]}x{size[0]}, {pair} pair: ", end="")
    print(f"{np.median(shares):.0%} of evaluate's time are the networks'", flush=True)


def look(window: int | None) -> None:
    """Prints the peak memory of one image of Cityscapes' size, in GiB."""
    model = CrossCoop(CLASSES, **PAIRS["paper"], weights=None)
    image = np.random.default_rng(0).integers(0, 256, (1024, 2048, 3), np.uint8)
    for strip in Inference(model, window=window).strips(image):
        strip.numpy()
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30)


def main() -> None:
    """Prints the comparison, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender is timed")
    parser.add_argument("--look", choices=SIZES, help=argparse.SUPPRESS)  # what a process measures
    arguments = parser.parse_args()
    if arguments.look:
        look(SIZES[arguments.look])
        return
    for pair, count in (("light", 60), ("paper", 20)):
        compare(pair, count, (360, 480), arguments.rounds)
    for name in SIZES:
        output = subprocess.run([sys.executable, __file__, "--look", name], capture_output=True, text=True, check=True)
        print(f"The paper's pair on 2048x1024 pixels, {name}: {float(output.stdout):.1f} GiB")


if __name__ == "__main__":
    main()
