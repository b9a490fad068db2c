"""Measurements that take turns, so that a noisy machine slows all contenders alike."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from keras_crosscoop.errors import describe
from keras_crosscoop.system.processes import WorkerError

Round, Measurement = TypeVar("Round"), TypeVar("Measurement")


def take_turns(
    contenders: Mapping[str, Callable[[Round], Measurement]], rounds: Iterable[Round], failed: dict[str, str]
) -> dict[str, list[Measurement]]:
    """Calls each contender for the first round, then each for the second, and so on.

    Args:
        contenders: functions of a round that return a measurement.
        rounds: their arguments.
        failed: gets the reason of each contender that raises an error; the others go on without it.

    Returns:
        The measurements of each contender that did not fail, one a round.
    """
    measurements: dict[str, list[Measurement]] = {name: [] for name in contenders}
    for number in rounds:
        for name in list(measurements):
            try:
                measurements[name].append(contenders[name](number))
            except Exception as error:  # whatever it is, the other contenders go on
                failed[name] = str(error) if isinstance(error, WorkerError) else describe(error)
                del measurements[name]
    return measurements
