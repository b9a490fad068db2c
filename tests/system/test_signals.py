"""The first signal lets work end in order, and a later one ends it at once."""

import os
import signal
import threading

import pytest

from keras_crosscoop.system.signals import Signals, handle_signals, restore

HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}


@pytest.fixture(autouse=True)
def shell():
    """Sets the handlers of a process in a shell's foreground."""
    earlier = {number: signal.signal(number, handler) for number, handler in HANDLERS.items()}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "at_once"),
    [(signal.SIGINT, [False, False, False, True]), (signal.SIGHUP, [False, False, False, False])],
)
def test_a_later_signal_ends_the_work_at_once(monkeypatch, number, at_once):
    """Signals within a second are one, and a closed terminal sends several over a longer time."""
    signals = Signals()
    times = iter([1, 1.1, 1.9, 2.1])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    assert [signals.received(number) for _ in at_once] == at_once
    assert signals.first == number


def test_handlers_are_set_and_restored():
    numbers = []
    earlier = handle_signals(lambda number, _: numbers.append(number))
    for number in HANDLERS:
        os.kill(os.getpid(), number)
    restore(earlier)
    assert numbers == list(HANDLERS)
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS


def test_an_ignored_sighup_stays_ignored():
    """As under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_signals(lambda *_: None)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_other_threads_handle_no_signals():
    results = []
    thread = threading.Thread(target=lambda: results.append(handle_signals(print)))
    thread.start()
    thread.join()
    assert results == [{}]
