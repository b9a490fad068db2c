"""Two or more things timed against each other in one run, taking turns, so that a noisy machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Mapping


def print_ratios(title: str, contenders: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Prints the median time of each contender and how many times that of the last one it takes.

    Args:
        title: of what is compared.
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
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    base = list(medians.values())[-1]
    print(title)
    for name, median in medians.items():
        print(f"  {name:<40} {1000 * median:10.1f} ms {median / base:8.2f} x", flush=True)
