"""Calls in threads: in order, and with a bounded number pending."""

import threading
from concurrent.futures import ThreadPoolExecutor

from keras_crosscoop.evaluation.pipeline import batched, pipelined


def test_prefetched_calls_are_in_order_and_bounded():
    """While one result is used, three more calls have begun, and no fourth."""
    begun, gate = [], threading.Semaphore(0)

    def make_call(number):
        def call():
            begun.append(number)
            gate.release()
            return number

        return call

    with ThreadPoolExecutor(8) as pool:
        results = pipelined(pool, map(make_call, range(10)), 3, prefetch=True)
        assert next(results) == 0
        for _ in range(4):
            assert gate.acquire(timeout=10)
        assert sorted(begun) == [0, 1, 2, 3]
        assert list(results) == list(range(1, 10))


def test_results_without_prefetch_come_as_soon_as_possible():
    """A finished call is yielded before the next one is fetched; of unfinished calls, three are pending."""
    release, fetched = threading.Event(), []

    def calls():
        for number in range(6):
            fetched.append(number)
            yield (lambda: "done") if number == 0 else (lambda: release.wait(10) and "held")

    class FirstAtOnce(ThreadPoolExecutor):
        def submit(self, call):
            future = super().submit(call)
            if len(fetched) == 1:
                future.result()
            if len(fetched) == 5:  # all are pending that may be
                release.set()
            return future

    with FirstAtOnce(8) as pool:
        results = pipelined(pool, calls(), 3)
        assert next(results) == "done"
        assert fetched == [0]
        assert next(results) == "held"
        assert fetched == [0, 1, 2, 3, 4]
        assert list(results) == ["held"] * 4


def test_batches_have_one_key_and_a_largest_size():
    assert list(batched("aaabbab", 2, str.upper)) == [["a", "a"], ["a"], ["b", "b"], ["a"], ["b"]]
