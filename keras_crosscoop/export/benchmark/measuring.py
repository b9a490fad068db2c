"""Latency, throughput and memory of formats that take turns, as many at a time as the memory holds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.export.benchmark.turns import Reply, Worker, WorkerError, alternate
from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.system.resources import free_memory

Group = Mapping[str, Sequence[Reply]]  # of each format in it, one reply an image

WARM_UP = 3  # images: the first sets things up, and some runtimes optimise once they have seen it
_SECONDS, _ROUNDS = 60, (10, 200)  # that measuring takes where nobody says how often


def measure(
    jobs: Mapping[str, Mapping[str, Any]],
    images: int,
    folder: Path,
    failed: dict[str, str],
    *,
    rounds: int | None = None,
    patience: float = 600,
    watch: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> list[Group]:
    """Has each format segment the images in turn with the others, `rounds` images in all.

    Where free memory is less than the largest process so far takes, those that are loaded are measured and unloaded,
    and the others come after them, again in turn with Keras.

    Args:
        jobs: of `worker.main`, by the names of formats.
        images: how many there are; they come again where there are fewer than rounds.
        folder: for what processes print to stderr.
        failed: gets the reason of each format that fails; the others go on.
        rounds: see above; by default as many as a minute allows, 10 to 200.
        patience: see `Worker`.
        watch: is told of progress.
    """
    waiting = list(jobs)
    groups: list[Group] = []
    while waiting:
        again = [KERAS] if KERAS in jobs and KERAS not in (*waiting, *failed) else []
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            seconds, largest = 0.0, 0
            for name in [*again, *waiting]:
                if set(workers) - set(again) and largest > free_memory():
                    break
                watch(f"{name}: loading", len(jobs) - len(waiting), len(jobs))
                if name in waiting:
                    waiting.remove(name)
                worker = stack.enter_context(Worker(jobs[name], folder / f"{name}.stderr", patience))
                try:
                    worker.load()
                    replies = [worker.segment(number % images) for number in range(WARM_UP)]
                except WorkerError as error:
                    failed[name] = str(error)
                    continue
                workers[name] = worker
                seconds += replies[-1]["seconds"]
                largest = max(largest, replies[-1]["resident"])
            turns = rounds or int(np.clip(_SECONDS / max(seconds, 1e-9), *_ROUNDS))
            numbers = (number % images for number in range(turns))
            segmenting = {name: worker.segment for name, worker in workers.items()}
            groups.append(alternate(segmenting, _watched(numbers, turns, watch), failed))
    return [group for group in groups if group]


def _watched(numbers: Iterable[int], total: int, watch: Callable[[str, int, int], object]) -> Iterable[int]:
    for done, number in enumerate(numbers):
        watch("Measuring", done, total)
        yield number


def summarized(groups: Iterable[Group]) -> dict[str, dict[str, Any]]:
    """Of each format its `latency` and so on, see `comparing.benchmark`."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        base = _median(group[KERAS]) if KERAS in group else None
        for name, replies in group.items():
            if name in found:  # Keras, with which others were compared
                continue
            seconds = [reply["seconds"] for reply in replies]
            median = _median(replies)
            found[name] = {
                "latency": {"median": median, "p90": float(np.quantile(seconds, 0.9))},
                "throughput": len(seconds) / sum(seconds),
                "speedup": base and base / median,
                "memory": max(reply["memory"] for reply in replies),
                "rounds": len(replies),
            }
    return found


def _median(replies: Sequence[Reply]) -> float:
    return float(np.median([reply["seconds"] for reply in replies]))
