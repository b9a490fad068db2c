"""Cost of the training step, optimizers, two devices, logging, checkpoints and determinism, against plain Keras.

    python benchmarks/training.py

Prints ratios of things that take turns in one run. The network is the light pair of the recipe `camvid`, or another by
`--pair`, without pretrained weights, on random images that lie ready in memory.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from timing import medians, print_ratios

from keras_crosscoop import CrossCoop
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.training import SGD, AdamW
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.checkpoint_manager import CheckpointManager
from keras_crosscoop.training.strategy import strategy

Work = Callable[[], object]
PAIRS = {
    "light": {"top": "mobilenet_v2", "bottom": {"name": "mobilenet", "alpha": 0.75}, "decoder_channels": 64},
    "tiny": {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 32},
    "paper": {"top": "xception65", "bottom": "resnet101"},
}
CLASSES = 12
PROCESSES = 5  # of each kind, for what is set once a process


class ByKeras(CrossCoop):
    """The same model with Keras's own training step; like ours it does not count classes."""

    train_step = keras.Model.train_step

    def compute_metrics(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Returns the losses without the metrics of classes."""
        return self.mean_losses()


def model(pair: str, kind: type[CrossCoop] = CrossCoop, *, synchronized: bool = False) -> CrossCoop:
    """Builds the pair, compiled as for `crosscoop-tf fit`."""
    network = kind(CLASSES, **PAIRS[pair], weights=None)
    for layer in batch_norms(network):
        layer.synchronized = synchronized
    network.compile(SGD(0.01))
    network.make_train_function()
    return network


def samples(batch: int, size: int) -> Iterator[Any]:
    """Repeats the same batch for ever, with its share for each replica."""
    random = np.random.default_rng(0)

    def load(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = batch // context.num_replicas_in_sync
        images = random.integers(0, 256, (share, size, size, 3)).astype("uint8")
        labels = random.integers(0, CLASSES, (share, size, size)).astype("uint8")
        return tf.data.Dataset.from_tensors((images, labels)).repeat()

    return iter(tf.distribute.get_strategy().distribute_datasets_from_function(load))


def step(network: CrossCoop, batches: Iterator[Any]) -> Work:
    """Returns a function that runs a training step and waits for its end."""
    return lambda: float(network.train_function(batches)["loss"])


def compare_steps(pair: str, batch: int, size: int, rounds: int) -> None:
    """Compares our step and Keras's."""
    batches = samples(batch, size)
    contenders = {"our step": step(model(pair), batches), "Keras's step": step(model(pair, ByKeras), batches)}
    print_ratios("A training step", contenders, rounds)


def compare_optimizers(pair: str, rounds: int) -> None:
    """Compares the updates of all weights, ours and Keras's."""
    weights = model(pair).trainable_variables
    gradients = [tf.random.normal(weight.shape) for weight in weights]

    def update(optimizer: keras.optimizers.Optimizer) -> Work:
        optimizer.build(weights)
        return tf.function(lambda: optimizer.apply(gradients, weights))

    keras_own = keras.optimizers.AdamW(1e-4), keras.optimizers.SGD(1e-4, momentum=0.9, weight_decay=1e-4)
    contenders = dict(zip(("Keras's AdamW", "Keras's SGD"), map(update, keras_own), strict=True))
    contenders |= {"AdamW with averages": update(AdamW(1e-4, ema_decay=0.99)), "AdamW": update(AdamW(1e-4))}
    contenders |= {"SGD with averages": update(SGD(1e-4, ema_decay=0.99)), "SGD": update(SGD(1e-4))}
    print_ratios(f"An update of {len(weights)} variables", contenders, rounds)


def compare_devices(pair: str, batch: int, size: int, rounds: int) -> None:
    """Compares one device with two, which share the same cores and the same batch."""
    contenders = {}
    with strategy("mirrored").scope():
        for kind, synchronized in (("each its own", False), ("synchronised", True)):
            work = step(model(pair, synchronized=synchronized), samples(batch, size))
            contenders[f"two devices, batch normalisation {kind}"] = work
    contenders["one device"] = step(model(pair), samples(batch, size))
    print_ratios("A training step", contenders, rounds)


def compare_upkeep(pair: str, batch: int, size: int, rounds: int) -> None:
    """Times the work of `fit` around each step, and a checkpoint."""
    network, batches = model(pair), samples(batch, size)
    plain = step(network, batches)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointFiles(Path(folder) / "checkpoints")
        manager = CheckpointManager(network, checkpoints, [], writes=True, files=lambda step: [])
        callbacks = keras.callbacks.CallbackList([manager], model=network)

        def kept() -> None:
            callbacks.on_train_batch_begin(0)
            losses = network.train_function(batches)
            callbacks.on_train_batch_end(0, losses)
            manager.after_step(0, 1, float(losses["loss"]))

        print_ratios("Logging", {"step of the training loop": kept, "step alone": plain}, rounds)
        times = medians({"checkpoint": manager.save, "step": plain}, rounds)
        print(
            f"A checkpoint takes {1000 * times['checkpoint']:.0f} ms, {times['checkpoint'] / times['step']:.2f} steps"
        )


def compare_determinism() -> None:
    """Compares processes with and without determinism, which take turns and get the same arguments as this one."""
    times: dict[str, list[float]] = {"deterministic": [], "not": []}
    for _ in range(PROCESSES):
        for kind, seconds in times.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--step", kind]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            seconds.append(float(output.split()[-1]))
    medians_of = {kind: float(np.median(seconds)) for kind, seconds in times.items()}
    print(f"A deterministic step takes {medians_of['deterministic'] / medians_of['not']:.3f} times as long")


def main() -> None:
    """Prints the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=PAIRS, default="light", help="of backbones")
    parser.add_argument("--rounds", type=int, default=20, help="how often each contender is timed")
    parser.add_argument("--size", type=int, default=256, help="pixels, height and width")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch")
    parser.add_argument("--step", choices=("deterministic", "not"), help=argparse.SUPPRESS)  # what a process times
    arguments = parser.parse_args()
    common = arguments.pair, arguments.batch, arguments.size, arguments.rounds
    if arguments.step:
        if arguments.step == "deterministic":
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(0)
        print(
            medians({"step": step(model(arguments.pair), samples(arguments.batch, arguments.size))}, arguments.rounds)[
                "step"
            ]
        )
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    compare_optimizers(arguments.pair, 10 * arguments.rounds)
    compare_steps(*common)
    compare_devices(*common)
    compare_upkeep(*common)
    compare_determinism()


if __name__ == "__main__":
    main()
