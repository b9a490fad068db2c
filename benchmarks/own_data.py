"""Cost of raw folders: masks in colours, the search for the layout and coding, and the look at labels before training.

    python benchmarks/own_data.py

Draws street scenes of 640x480 pixels. Prints the time of training samples at 513 pixels with masks of colours, compared
with masks of ids; the seconds to describe a folder of 10,000 pairs, by part; and the time of the look at the labels of
such a folder before training, compared with its training by the recipe `folder`.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from timing import medians

from keras_crosscoop import config, dataset, load_dataset
from keras_crosscoop.data import Dataset, checks
from keras_crosscoop.data.own import discovery
from keras_crosscoop.data.street_scenes import CLASSES, PALETTE, draw_scene
from keras_crosscoop.images.io import read_label
from keras_crosscoop.images.palettes import palette_table
from keras_crosscoop.runs import build

SIZE = (480, 640)  # H and W
SCENES = 60


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image and the class ids of a scene."""
    return draw_scene(number, *SIZE)


def write(scenes: list[tuple[np.ndarray, np.ndarray]], folder: Path, pairs: int, *, colours: bool) -> Path:
    """Writes JPEG images and PNG masks in the layout `images/a.jpg`, `masks/a.png`, without a split.

    Args:
        scenes: The images and class ids. Further pairs are moved sideways, and get brighter.
        folder: The folder to write.
        pairs: The number of pairs.
        colours: Whether masks hold colours instead of ids.
    """
    table = palette_table(PALETTE)

    def save(number: int) -> None:
        image, ids = scenes[number % len(scenes)]
        turn = number // len(scenes)
        image = np.roll(np.clip(image.astype(np.int16) + 2 * turn % 64, 0, 255).astype(np.uint8), 37 * turn, axis=1)
        ids = np.roll(ids, 37 * turn, axis=1)
        Image.fromarray(image).save(folder / "images" / f"{number:05}.jpg", quality=90)
        Image.fromarray(table[ids] if colours else ids).save(folder / "masks" / f"{number:05}.png")

    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    names = (f"{name} #{bytes(colour).hex()}\n" for name, colour in zip(CLASSES, PALETTE, strict=True))
    (folder / "classes.txt").write_text("".join(names), encoding="utf-8")
    with ThreadPoolExecutor() as pool:
        list(pool.map(save, range(pairs)))
    return folder


def compare_samples(ids: Path, colours: Path, rounds: int) -> None:
    """Compares the processor time of training samples from masks of colours and of ids, and of the mapping alone."""

    def epoch(data: Dataset) -> Callable[[], None]:
        def read() -> None:
            for _ in load_dataset(data, "train", training=True, crop_size=513, batch_size=6):
                pass

        return read

    def mapping(data: Dataset) -> Callable[[], None]:
        masks = [mask for _, mask in data.pairs("train")]
        stored = [read_label(mask, colours=data.coding.by_colour) for mask in masks]
        stored = [pixels if data.coding.by_colour else pixels.astype(np.uint8) for pixels in stored]
        return lambda: [data.coding.classes(pixels, mask) for pixels, mask in zip(stored, masks, strict=True)]

    kinds = {"colours": dataset(colours), "ids": dataset(ids)}
    count = len(kinds["ids"].pairs("train"))
    samples, mapped = (
        medians({kind: work(data) for kind, data in kinds.items()}, rounds, time.process_time)
        for work in (epoch, mapping)
    )
    print("Training samples at 513 pixels, processor time")
    for kind in kinds:
        print(
            f"  masks of {kind:<20} {1000 * samples[kind] / count:6.1f} ms {samples[kind] / samples['ids']:6.2f} x   "
            f"mapping to classes {1000 * mapped[kind] / count:6.2f} ms, {mapped[kind] / samples['ids']:.1%}",
            flush=True,
        )


def time_description(folder: Path) -> None:
    """Prints the seconds and the processor seconds to describe a folder, by part."""
    seconds: dict[str, tuple[float, float]] = {}

    def timed(name: str, call: Callable) -> Callable:
        def run(*arguments: object, **options: object) -> object:
            start, processor = time.perf_counter(), time.process_time()
            result = call(*arguments, **options)
            seconds[name] = time.perf_counter() - start, time.process_time() - processor
            return result

        return run

    parts = ("find_layout", "split_by_groups", "sample_masks", "find_coding", "find_image_reading")
    original = {name: getattr(discovery, name) for name in parts}
    for name, call in original.items():
        setattr(discovery, name, timed(name, call))
    data = timed("all", dataset)(folder)
    for name, call in original.items():
        setattr(discovery, name, call)
    count = sum(len(data.pairs(split, headers=False)) for split in data.splits)
    print(f"Describing a folder of {count:,} pairs")
    for name, (duration, processor) in seconds.items():
        print(f"  {name:<32} {duration:6.1f} s, processor {processor:6.1f} s", flush=True)


def compare_look(folder: Path, rounds: int) -> None:
    """Compares the look at labels before training with the steps of a training by the recipe `folder`."""
    recipe = Path(__file__).parents[1] / "configs" / "folder.yaml"
    settings = config.settings(config.read(recipe), {"data": {"dir": folder}})
    data = dataset(folder)
    batch, size = settings.train.batch_size, settings.data.crop_size
    network = build(settings.model, len(CLASSES), pretrained=False)
    network.compile("sgd")
    network.make_train_function()
    samples = tf.zeros((batch, size, size, 3), tf.uint8), tf.zeros((batch, size, size), tf.uint8)
    batches = iter(tf.data.Dataset.from_tensors(samples).repeat())
    times = medians(
        {
            "look": lambda: checks.survey(data, ("train", "val")),
            "step": lambda: float(network.train_function(batches)["loss"]),
        },
        rounds,
    )
    steps = settings.train.epochs * -(-len(data.pairs("train", headers=False)) // batch)
    share = times["look"] / (steps * times["step"])
    print(
        f"The look at labels takes {times['look']:.1f} s, {share:.3%} of the {steps:,} training steps of "
        f"{1000 * times['step']:.0f} ms"
    )


def main() -> None:
    """Runs all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="own_data-"))
    try:
        with ThreadPoolExecutor() as pool:
            scenes = list(pool.map(draw, range(SCENES)))
        small = [write(scenes, scratch / str(colours), 4 * SCENES, colours=colours) for colours in (False, True)]
        compare_samples(*small, arguments.rounds)
        large = write(scenes, scratch / "large", arguments.pairs, colours=True)
        time_description(large)
        compare_look(large, arguments.rounds)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
