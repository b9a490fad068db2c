"""Peak memory and time of a training step with and without recomputed activations (`train.remat`).

    python benchmarks/remat.py

Each kind runs in a process of its own, which holds one network, and they take turns. The network is DeepLabV3+ with
ResNet-50, or the paper's pair by `--paper`, without pretrained weights, on random images.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
import psutil

from keras_crosscoop import CrossCoop, DeepLabV3Plus
from keras_crosscoop.training import SGD

CLASSES = 19


def measure(remat: bool, batch: int, size: int, steps: int, paper: bool) -> tuple[float, float]:
    """Returns the MiB of training beyond the network, and the median seconds of a step."""
    keras.utils.set_random_seed(0)
    if paper:
        network = CrossCoop(CLASSES, top="xception65", bottom="resnet101", weights=None)
    else:
        network = DeepLabV3Plus(CLASSES, backbone="resnet50", weights=None)
    network.compile(SGD(0.01), remat=remat)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (batch, size, size, 3)).astype("uint8")
    labels = random.integers(0, CLASSES, (batch, size, size)).astype("uint8")
    before = psutil.Process().memory_info().rss
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        network.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    return (_highest() - before) / 2**20, statistics.median(times[1:])


def _highest() -> int:
    """Returns the peak memory of this process in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Prints memory and time of both, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--steps", type=int, default=5, help="steps that each process times")
    parser.add_argument("--size", type=int, default=257, help="pixels, height and width")
    parser.add_argument("--batch", type=int, default=4, help="images in a batch")
    parser.add_argument("--paper", action="store_true", help="Xception-65 with ResNet-101")
    parser.add_argument("--kind", choices=("kept", "recomputed"), help=argparse.SUPPRESS)  # what a process measures
    arguments = parser.parse_args()
    if arguments.kind:
        remat = arguments.kind == "recomputed"
        print(*measure(remat, arguments.batch, arguments.size, arguments.steps, arguments.paper))
        return
    times: dict[str, list[list[float]]] = {"kept": [], "recomputed": []}
    for _ in range(arguments.rounds):
        for kind, figures in times.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--kind", kind]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            figures.append([float(figure) for figure in output.split()[-2:]])
    medians = {kind: np.median(figures, 0) for kind, figures in times.items()}
    for kind, (memory, seconds) in medians.items():
        print(f"  activations {kind:<12} {memory:8.0f} MiB {seconds:8.2f} s a step")
    memory, seconds = medians["recomputed"] / medians["kept"]
    print(f"Recomputed: {memory:.2f} of the memory, {seconds:.2f} times as long")


if __name__ == "__main__":
    main()
