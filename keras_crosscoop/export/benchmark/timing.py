"""Latency, throughput and memory of contenders that take turns, as many at a time as fit into memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.export.benchmark.worker import KERAS
from keras_crosscoop.system.processes import Worker, WorkerError
from keras_crosscoop.system.resources import free_memory
from keras_crosscoop.system.turns import take_turns

Group = Mapping[str, Sequence[dict[str, Any]]]  # contenders that took turns -> replies of `worker.main`, one an image

_PROGRAM = "from keras_crosscoop.export.benchmark.worker import main; main()"
WARM_UP = 3  # images: runtimes initialise at the first, and some optimise after it
_SECONDS, _ROUNDS = 60, (10, 200)  # by default
_PATIENCE = 600  # maximum seconds for loading, and for an image


def measure(
    jobs: Mapping[str, Mapping[str, Any]],
    images: int,
    folder: Path,
    *,
    rounds: int | None = None,
    progress: Callable[[str, int, int], object] = lambda stage, done, total: None,
) -> tuple[list[Group], dict[str, str]]:
    """Measures contenders in turns: each segments one image, then each segments the next.

    If less memory is free than the largest process so far takes, the loaded contenders are measured and unloaded. The
    others follow as another group, again in turns with Keras. `jobs` holds the first message to `worker.main` for each
    contender. The logs of the processes lie in `folder`. For the other arguments see `benchmark`.

    Returns:
        The groups of contenders that took turns, with their measurements, and the reasons why others failed.
    """
    waiting, failed = list(jobs), {}
    groups: list[Group] = []
    while waiting:
        again = [KERAS] if KERAS in jobs and KERAS not in (*waiting, *failed) else []
        with ExitStack() as stack:
            segmenters: dict[str, Callable[[int], dict[str, Any]]] = {}
            seconds, largest = 0.0, 0
            for name in [*again, *waiting]:
                if set(segmenters) - set(again) and largest > free_memory():
                    break
                progress(f"{name}: loading", len(jobs) - len(waiting), len(jobs))
                if name in waiting:
                    waiting.remove(name)
                worker = stack.enter_context(Worker(_PROGRAM, folder / f"{name}.log"))

                def segment(message: object, worker: Worker = worker) -> dict[str, Any]:
                    worker.send(message)
                    return worker.receive(_PATIENCE)

                try:
                    segment(jobs[name])
                    *_, reply = (segment(number % images) for number in range(WARM_UP))
                except WorkerError as error:
                    failed[name] = str(error)
                    worker.close()
                    continue
                segmenters[name] = segment
                seconds += reply["seconds"]
                largest = max(largest, reply["resident"])
            turns = rounds or int(np.clip(_SECONDS / max(seconds, 1e-9), *_ROUNDS))
            groups.append(take_turns(segmenters, _with_progress(turns, images, progress), failed))
    return [group for group in groups if group], failed


def _with_progress(turns: int, images: int, progress: Callable[[str, int, int], object]) -> Iterable[int]:
    for turn in range(turns):
        progress("Measuring", turn, turns)
        yield turn % images


def summarize(groups: Iterable[Group]) -> dict[str, dict[str, Any]]:
    """Returns `latency`, `throughput`, `speedup`, `memory` and `rounds` of each contender, see `benchmark`."""
    figures: dict[str, dict[str, Any]] = {}
    for group in groups:
        seconds = {name: [reply["seconds"] for reply in replies] for name, replies in group.items()}
        medians = {name: float(np.median(times)) for name, times in seconds.items()}
        for name, times in seconds.items():
            if name not in figures:  # Keras is in every group
                figures[name] = {
                    "latency": {"median": medians[name], "p90": float(np.quantile(times, 0.9))},
                    "throughput": len(times) / sum(times),
                    "speedup": medians[KERAS] / medians[name] if KERAS in medians else None,
                    "memory": max(reply["memory"] for reply in group[name]),
                    "rounds": len(times),
                }
    return figures
