"""Price of each augmentation of training samples, and of Keras's layers for the same changes.

    python benchmarks/augmentation.py CAMVID

CAMVID is a folder in the layout of data set `camvid`. The first table gives the processor time of a training sample of
513 pixels with each setting, and its ratio to the time at default settings. The second table compares single changes of
such a sample with Keras's layers and with TensorFlow's kernel of projective transforms. All take turns.
"""

import argparse
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from timing import medians

from keras_crosscoop import load_dataset
from keras_crosscoop.data import dataset
from keras_crosscoop.data.mixing import mix_samples
from keras_crosscoop.data.photometric import blur_image, jitter
from keras_crosscoop.data.rotation import sample_rotated_crop

CROP = 513
SETTINGS = (
    {"photometric": "none"},
    {"orientation": "any"},
    {"rotation": 10},
    {"photometric": "strong"},
    {"mix": "cutmix"},
    {"mix": "classmix"},
    {"rotation": 10, "orientation": "any", "photometric": "strong", "mix": "classmix"},
    {},
)


def compare_settings(camvid: Path, rounds: int) -> None:
    """Prints the time of a training sample with each setting, over an epoch of CamVid."""
    data = dataset("camvid", camvid)
    count = len(data.pairs("train"))

    def epoch(settings: dict) -> Callable[[], object]:
        stream = load_dataset(data, "train", training=True, crop_size=CROP, **settings)
        return lambda: deque(stream, maxlen=0)

    names = [", ".join(f"{name}: {value}" for name, value in settings.items()) or "defaults" for settings in SETTINGS]
    contenders = {name: epoch(settings) for name, settings in zip(names, SETTINGS, strict=True)}
    times = medians(contenders, rounds, time.process_time)
    print(f"A training sample of {CROP} pixels: processor time, and its ratio to the defaults")
    for name, seconds in times.items():
        print(f"  {name:<72} {1000 * seconds / count:6.2f} ms {seconds / times['defaults']:6.2f} x", flush=True)


def compare_changes(camvid: Path, rounds: int) -> None:
    """Prints the time of changes of a sample, here and in Keras's layers."""
    data = dataset("camvid", camvid)
    image, label = (np.tile(part, (3, 3, 1)[: part.ndim]) for part in data.read(*data.pairs("train")[0]))
    crop = sample_rotated_crop(label.shape, (0, 0.5, 0.5), 8, crop_size=CROP, scale=(1, 1))
    window, window_label = image[crop.rows, crop.columns], label[crop.rows, crop.columns]
    stored, stored_label = tf.Variable(window), tf.Variable(window_label)  # TensorFlow computes constants only once
    image, label = tf.Variable(image[:CROP, :CROP]), tf.Variable(label[:CROP, :CROP])
    second = tf.Variable(image[::-1]), tf.Variable(label[::-1])
    draws, seed, deviation = tf.Variable([0.2, 0.4, 0.6]), tf.Variable([1, 2]), tf.Variable(0.8)
    rotation = keras.layers.RandomRotation((8 / 360, 8 / 360), fill_mode="constant", fill_value=128)
    blur = keras.layers.RandomGaussianBlur(1.0, kernel_size=7, sigma=(0.8, 0.8), value_range=(0, 255))
    hue = keras.layers.RandomHue(0.1, value_range=(0, 255))
    cutmix = keras.layers.CutMix()

    def kernels() -> tuple[tf.Tensor, tf.Tensor]:
        options = {"transforms": [[*crop.matrix, 0.0, 0.0]], "output_shape": [CROP, CROP], "fill_value": 0.0}
        options["fill_mode"] = "CONSTANT"
        transform = tf.raw_ops.ImageProjectiveTransformV3
        return (
            transform(images=tf.cast(stored, tf.float32)[None], interpolation="BILINEAR", **options),
            transform(images=stored_label[None, ..., None], interpolation="NEAREST", **options),
        )

    def batch() -> dict[str, tf.Tensor]:
        return {"images": tf.stack([image, second[0]]), "segmentation_masks": tf.stack([label, second[1]])[..., None]}

    graphs = {
        "  TensorFlow: ImageProjectiveTransformV3": kernels,
        "  Keras: RandomRotation": lambda: rotation({"images": image + 0, "segmentation_masks": label[..., None]}),
        "blur": lambda: blur_image(tf.cast(image, tf.float32), deviation),
        "  Keras: RandomGaussianBlur": lambda: blur(tf.cast(image, tf.float32)),
        "brightness, contrast and saturation; hue costs no more": lambda: jitter(tf.cast(image, tf.float32), draws),
        "  Keras: RandomHue, hue alone": lambda: hue(tf.cast(image, tf.float32)),
        "CutMix": lambda: mix_samples("cutmix", (image + 0, label + 0), second, seed),
        "  Keras: CutMix, a batch of two": lambda: cutmix(batch()),
    }
    contenders = {"rotation of image and label": lambda: crop.cut(window, window_label)}
    contenders |= {name: tf.function(graph, autograph=False) for name, graph in graphs.items()}
    print(f"Single changes of {CROP} pixels: processor time")
    for name, seconds in medians(contenders, rounds, time.process_time).items():
        print(f"  {name:<72} {1000 * seconds:6.2f} ms", flush=True)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    compare_settings(arguments.camvid, arguments.rounds)
    compare_changes(arguments.camvid, 4 * arguments.rounds)


if __name__ == "__main__":
    main()
