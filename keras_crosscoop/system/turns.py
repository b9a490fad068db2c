"""Measurements that take turns, so that other load on the machine affects all contenders equally."""

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
        contenders: Functions of a round that return a measurement.
        rounds: Their arguments.
        failed: Receives the reason of each contender that raises an error. The others continue.

    Returns:
        The measurements of each contender that did not fail, one per round.
    """
    measurements: dict[str, list[Measurement]] = {name: [] for name in contenders}
    for number in rounds:
        for name in list(measurements):
            try:
                measurements[name].append(contenders[name](number))
            except Exception as error:  # the other contenders continue after any error
                failed[name] = str(error) if isinstance(error, WorkerError) else describe(error)
                del measurements[name]
    return measurements
