"""The cost of each row: parameters, operations, and inference time on this machine."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import describe
from keras_crosscoop.models import Segmenter, costs
from keras_crosscoop.models.costs import Cost
from keras_crosscoop.system.turns import take_turns

ROUNDS = 10


class RowCost(NamedTuple):
    """The cost of a row's networks for one image."""

    parameters: int  # trainable ones
    flops: int  # of the forward pass, see `models.costs.Cost`
    seconds: float  # median time from an image in memory to logits in memory


def row_costs(
    builders: Mapping[str, Callable[[], list[Segmenter]]], size: tuple[int, int]
) -> tuple[dict[str, RowCost], dict[str, str]]:
    """Measures the costs of rows at one image size; the rows take turns.

    Args:
        builders: For each row, a function that builds its networks for this size.
        size: `(H, W)`.

    Returns:
        The costs, and for each other row the reason why its costs could not be measured.
    """
    failed: dict[str, str] = {}
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, *size, 3)), tf.float32)
    static: dict[str, Cost] = {}
    timers: dict[str, Callable[[int], float]] = {}
    for name, build in builders.items():
        try:
            networks = build()
            static[name] = sum((part.cost for network in networks for part in costs.components(network)), Cost())
            timers[name] = _timer(networks, image)
        except Exception as error:  # the other rows continue after any error
            failed[name] = describe(error)
    seconds = take_turns(timers, range(ROUNDS + 1), failed)
    medians = {name: float(np.median(times[1:])) for name, times in seconds.items()}  # the first round is a warm-up
    return {name: RowCost(static[name].parameters, static[name].flops, medians[name]) for name in medians}, failed


def _timer(networks: list[Segmenter], image: tf.Tensor) -> Callable[[int], float]:
    """Returns a function that measures the seconds of one prediction."""
    predict = tf.function(lambda image: [network(image, training=False) for network in networks])
    predict = predict.get_concrete_function(image)

    def seconds(_: int) -> float:
        start = time.perf_counter()
        tf.nest.map_structure(lambda logits: logits.numpy(), predict(image))
        return time.perf_counter() - start

    return seconds
