"""What the native atrous convolution gains over Keras's dilated `Conv2D`: alone, and in the paper's pair.

    python benchmarks/atrous_convolution.py

The networks are the same graph, once traced with each convolution; 257x257 pixels, batch 2, float32.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from timing import print_ratios

from keras_crosscoop import CrossCoop
from keras_crosscoop.layers import AtrousConv2D


@contextmanager
def keras_convolution() -> Iterator[None]:
    """Whatever is traced inside computes `AtrousConv2D` as Keras computes `Conv2D`."""
    native = AtrousConv2D.convolution_op
    AtrousConv2D.convolution_op = keras.layers.Conv2D.convolution_op
    try:
        yield
    finally:
        AtrousConv2D.convolution_op = native


def layer(kind: type[keras.layers.Conv2D], rate: int) -> Callable[[], np.ndarray]:
    """One 3x3 convolution of ASPP in the full cross network: `(2, 17, 17, 4096) -> (2, 17, 17, 256)`."""
    features = tf.random.normal((2, 17, 17, 4096))
    convolution = kind(256, 3, padding="same", dilation_rate=rate, use_bias=False)
    convolution.build(features.shape)
    traced = tf.function(convolution)
    return lambda: traced(features).numpy()


def network(size: int, batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Inference and a training step of the paper's pair, traced."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, size, size, 3)).astype("uint8")
    labels = random.integers(0, 21, (batch, size, size)).astype("uint8")
    model = CrossCoop(21, weights=None)
    model.compile("sgd")  # Keras's plainest, so that the step is the network's

    def infer() -> object:
        return model.predict_on_batch(images)

    def train() -> object:
        return model.train_on_batch(images, labels)

    infer()
    train()
    return infer, train


def main() -> None:
    """Prints three comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender is timed")
    parser.add_argument("--size", type=int, default=257, help="pixels, height and width, of the networks' input")
    parser.add_argument("--batch", type=int, default=2, help="images in the networks' input")
    arguments = parser.parse_args()

    for rate in (6, 12, 18):
        kinds = {"Keras's Conv2D": keras.layers.Conv2D, "AtrousConv2D": AtrousConv2D}
        contenders = {name: layer(kind, rate) for name, kind in kinds.items()}
        print_ratios(f"3x3 convolution, 17x17, 4096 -> 256, rate {rate}", contenders, arguments.rounds)

    with keras_convolution():
        keras_infer, keras_train = network(arguments.size, arguments.batch)
    infer, train = network(arguments.size, arguments.batch)
    title = f"Xception-65 + ResNet-101, {arguments.size}x{arguments.size}, batch {arguments.batch}"
    names = "graph with Keras's Conv2D", "graph with AtrousConv2D"
    print_ratios(f"{title}, inference", dict(zip(names, (keras_infer, infer), strict=True)), arguments.rounds)
    print_ratios(f"{title}, training step", dict(zip(names, (keras_train, train), strict=True)), arguments.rounds)


if __name__ == "__main__":
    main()
