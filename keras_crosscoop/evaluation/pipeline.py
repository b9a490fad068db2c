"""Runs calls in threads, in order and with a bounded number pending, and groups similar items into batches."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import groupby, islice
from typing import TypeVar

T = TypeVar("T")


def pipelined(pool: Executor, calls: Iterable[Callable[[], T]], pending: int, *, prefetch: bool = False) -> Iterator[T]:
    """Runs calls in a pool and yields their results in order, with at most `pending` calls unfinished.

    With `prefetch`, always keeps `pending` calls submitted. Otherwise yields finished results at once.
    """
    futures: deque[Future[T]] = deque()
    for call in calls:
        futures.append(pool.submit(call))
        while futures and (len(futures) > pending or (not prefetch and futures[0].done())):
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def batched(items: Iterable[T], size: int, key: Callable[[T], object]) -> Iterator[list[T]]:
    """Yields batches of up to `size` successive items with the same key."""
    for _, group in groupby(items, key):
        while batch := list(islice(group, size)):
            yield batch
