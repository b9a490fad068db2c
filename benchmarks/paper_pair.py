"""Speedups of the paper's pair, Xception-65 with ResNet-101, by this package's layers and by bfloat16.

    python benchmarks/paper_pair.py

Prints ratios of things that take turns in one run: convolutions by themselves; inference and training steps with
Keras's dilated `Conv2D` and with `AtrousConv2D`, in float32 and in bfloat16; the training step's arithmetic rate beside
that of the machine's matrix product; and two ways to compute layers that read the same channels.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from timing import medians, print_ratios

from keras_crosscoop import CrossCoop
from keras_crosscoop.layers import AtrousConv2D
from keras_crosscoop.models import costs

Work = Callable[[], object]

PAPER_BATCH = 6

BUILD = """
import time, keras, resource, sys
from keras_crosscoop import CrossCoop
start = time.perf_counter()
CrossCoop(21, weights=None)
seconds, mebibytes = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"Building the pair: {seconds:.1f} s, {mebibytes / 1024:.2f} GiB at most, TensorFlow included")
"""


@contextmanager
def keras_convolution() -> Iterator[None]:
    """Within it, `AtrousConv2D` is traced as Keras computes `Conv2D`."""
    native = AtrousConv2D.convolution_op
    AtrousConv2D.convolution_op = keras.layers.Conv2D.convolution_op
    try:
        yield
    finally:
        AtrousConv2D.convolution_op = native


def layer(kind: type[keras.layers.Layer], shape: tuple[int, ...], *arguments: int, rate: int) -> Work:
    """Returns one 3x3 convolution at that dilation rate, without bias."""
    features = tf.random.normal(shape)
    convolution = kind(*arguments, 3, padding="same", dilation_rate=rate, use_bias=False)
    convolution.build(features.shape)
    traced = tf.function(convolution)
    return lambda: traced(features).numpy()


def network(size: int, batch: int, policy: str = "float32") -> tuple[Work, Work]:
    """Returns inference and a training step of the paper's pair, traced."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, size, size, 3)).astype("uint8")
    labels = random.integers(0, 21, (batch, size, size)).astype("uint8")
    keras.config.set_dtype_policy(policy)
    model = CrossCoop(21, weights=None)
    keras.config.set_dtype_policy("float32")
    model.compile("sgd")  # Keras's plainest, so that the step is the network's

    def infer() -> object:
        return model.predict_on_batch(images)

    def train() -> object:
        return model.train_on_batch(images, labels)

    infer()
    train()
    return infer, train


def product(n: int = 4096) -> tuple[Work, int]:
    """Returns a product of two square matrices, and its floating-point operations."""
    left, right = tf.random.normal((n, n)), tf.random.normal((n, n))
    return lambda: tf.matmul(left, right).numpy(), 2 * n**3


def heads(filters: int = 256) -> dict[str, Work]:
    """The two networks' ASPP convolutions at rate 12, apart or as one: forward and backward, `(2, 17, 17, 4096)`.

    With every site crossed both read the same channels, so that one of double width could take the place of two.
    """
    features = tf.random.normal((2, 17, 17, 4096))

    def step(widths: list[int]) -> Work:
        layers = [AtrousConv2D(width, 3, padding="same", dilation_rate=12, use_bias=False) for width in widths]
        for layer in layers:
            layer.build(features.shape)

        @tf.function
        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(features)
                loss = sum(tf.reduce_sum(layer(features) ** 2) for layer in layers)
            return tape.gradient(loss, [features, *(layer.kernel for layer in layers)])

        return lambda: gradients()[0].numpy()

    return {"one convolution of double width": step([2 * filters]), "two convolutions": step([filters, filters])}


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender is timed")
    parser.add_argument("--size", type=int, default=257, help="pixels, height and width, of the networks' input")
    parser.add_argument("--batch", type=int, default=2, help="images in the networks' input")
    arguments = parser.parse_args()
    rounds, size, batch = arguments.rounds, arguments.size, arguments.batch

    subprocess.run([sys.executable, "-c", BUILD], check=True)

    for rate in (6, 12, 18):
        kinds = {"Keras's Conv2D": keras.layers.Conv2D, "AtrousConv2D": AtrousConv2D}
        contenders = {name: layer(kind, (2, 17, 17, 4096), 256, rate=rate) for name, kind in kinds.items()}
        print_ratios(f"3x3 convolution, 17x17, 4096 -> 256, rate {rate}", contenders, rounds)
    depthwise = {f"rate {rate}": layer(keras.layers.DepthwiseConv2D, (2, 17, 17, 1536), rate=rate) for rate in (2, 1)}
    print_ratios("Depthwise 3x3 convolution, 17x17x1536: three of rate 2 are left to space-to-batch", depthwise, rounds)
    print_ratios("Layers that read the same channels", heads(), rounds)

    with keras_convolution():
        keras_infer, keras_train = network(size, batch)
    infer, train = network(size, batch)
    half_infer, half_train = network(size, batch, "mixed_bfloat16")
    names = "Keras's Conv2D, float32", "AtrousConv2D, mixed_bfloat16", "AtrousConv2D, float32"
    title = f"Xception-65 + ResNet-101, {size}x{size}, batch {batch}"
    print_ratios(f"{title}, inference", dict(zip(names, (keras_infer, half_infer, infer), strict=True)), rounds)
    print_ratios(f"{title}, training step", dict(zip(names, (keras_train, half_train, train), strict=True)), rounds)

    del keras_infer, keras_train, infer, half_infer, half_train, train
    _, train = network(size, PAPER_BATCH)
    parts = costs.components(CrossCoop(21, weights=None, input_shape=(size, size, 3)))
    step_flops = 3 * PAPER_BATCH * sum(part.cost.flops for part in parts)  # forward, and twice as many backward
    multiply, product_flops = product()
    times = medians({"step": train, "product": multiply}, rounds)
    step_rate, product_rate = step_flops / times["step"], product_flops / times["product"]
    print(
        f"Arithmetic at batch {PAPER_BATCH}, GFLOP/s: training step {step_rate / 1e9:.0f}, matrix product "
        f"{product_rate / 1e9:.0f}, ratio {step_rate / product_rate:.2f}"
    )


if __name__ == "__main__":
    main()
