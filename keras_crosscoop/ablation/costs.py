"""What each row costs: parameters, operations, and time on this machine, all rows in turn."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import describe
from keras_crosscoop.models import Segmenter, costs
from keras_crosscoop.models.costs import Cost

ROUNDS = 10


class RowCost(NamedTuple):
    """Of a row's networks, of one image.

    Attributes:
        parameters: that are trained.
        flops: of the forward pass, see `models.costs.Cost`.
        seconds: from an image in memory to logits in memory, the median of rounds.
    """

    parameters: int
    flops: int
    seconds: float


def row_costs(
    builders: Mapping[str, Callable[[], list[Segmenter]]], size: tuple[int, int]
) -> tuple[dict[str, RowCost], dict[str, str]]:
    """Costs of rows at one image size.

    Time is taken of all rows in turn, so that a noisy machine slows all of them alike.

    Args:
        builders: of each row what builds its networks, for images of that size.
        size: `(H, W)`.

    Returns:
        The costs, and why those of other rows could not be measured.
    """
    failed: dict[str, str] = {}
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, *size, 3)), tf.float32)
    counted: dict[str, Cost] = {}
    runs: dict[str, Callable[[], None]] = {}
    for name, build in builders.items():
        try:
            networks = build()
            counted[name] = sum((part.cost for network in networks for part in costs.parts(network)), Cost())
            runs[name] = _runner(networks, image)
        except Exception as error:  # whatever it is, the other rows' costs can be had
            failed[name] = describe(error)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(ROUNDS + 1):
        for name, run in list(runs.items()):
            start = time.perf_counter()
            try:
                run()
            except Exception as error:  # such as of memory that does not suffice
                failed[name] = describe(error)
                del runs[name]
                continue
            if number:  # the first one sets things up
                seconds[name].append(time.perf_counter() - start)
    measured = {
        name: RowCost(counted[name].parameters, counted[name].flops, float(np.median(seconds[name]))) for name in runs
    }
    return measured, failed


def _runner(networks: list[Segmenter], image: tf.Tensor) -> Callable[[], None]:
    def predict(image: tf.Tensor) -> list[dict[str, tf.Tensor]]:
        return [network(image, training=False) for network in networks]

    traced = tf.function(predict).get_concrete_function(image)

    def run() -> None:
        tf.nest.map_structure(lambda logits: logits.numpy(), traced(image))

    return run
