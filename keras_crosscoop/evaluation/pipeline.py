"""Work in threads before and behind what the main thread does, in order, with bounds on how much of it is pending."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
Calls = Iterable[Callable[[], T]]


def ahead(pool: Executor, calls: Calls[T], count: int) -> Iterator[T]:
    """The calls' results; while one is used, the `count` that follow are under way."""
    pending: deque[Future[T]] = deque()
    for call in calls:
        pending.append(pool.submit(call))
        if len(pending) > count:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def behind(pool: Executor, calls: Calls[T], count: int) -> Iterator[T]:
    """The calls' results, each as soon as it is there; the next call is fetched while `count` are under way."""
    pending: deque[Future[T]] = deque()
    for call in calls:
        pending.append(pool.submit(call))
        while pending and (len(pending) > count or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def batches(items: Iterable[T], size: int, alike: Callable[[T], object]) -> Iterator[list[T]]:
    """Runs of up to `size` items of which `alike` gives the same."""
    batch: list[T] = []
    for item in items:
        if batch and (len(batch) == size or alike(item) != alike(batch[0])):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
