"""Times of contenders that take turns, so that a noisy machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    contenders: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Returns the median time of each contender in seconds.

    Args:
        contenders: name -> a function that does the work once and waits for its end.
        rounds: number of timed calls of each, after one warm-up call.
        clock: the seconds to count; those of `time.process_time` are of all threads, and few depend on other programs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            start = clock()
            work()
            if turn > 0:
                seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_ratios(title: str, contenders: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Prints the median time of each contender, and its ratio to the last one's, see `medians`."""
    times = medians(contenders, rounds)
    base = list(times.values())[-1]
    print(title)
    for name, median in times.items():
        print(f"  {name:<48} {1000 * median:10.1f} ms {median / base:8.2f} x", flush=True)
