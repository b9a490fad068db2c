"""Two or more things timed against each other in one run, taking turns, so that a noisy machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each contender, in seconds.

    Args:
        contenders: name -> something that does the work once and waits for its end.
        rounds: how often each of them is timed, after one round of warming up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_ratios(title: str, contenders: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Prints the median time of each contender and how many times that of the last one it takes, see `medians`."""
    times = medians(contenders, rounds)
    base = list(times.values())[-1]
    print(title)
    for name, median in times.items():
        print(f"  {name:<48} {1000 * median:10.1f} ms {median / base:8.2f} x", flush=True)
