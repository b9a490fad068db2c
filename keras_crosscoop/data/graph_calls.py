"""Calling Python from a TensorFlow graph, with what TensorFlow leaves open: readable errors and a clean exit."""

import atexit
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import failed_assertion

_PREFIX = f"{InputError.__name__}: "


def numpy_function(
    function: Callable[..., Sequence[np.ndarray]], inputs: Sequence[tf.Tensor], dtypes: Sequence[tf.DType]
) -> list[tf.Tensor]:
    """`tf.numpy_function` for a function that may raise `InputError`, and for streams that nobody may finish.

    TensorFlow would log the whole Python traceback of an error raised inside. A failed assertion takes one line, from
    which `readable_errors` restores the error.
    """

    def attempt(*arguments: np.ndarray) -> tuple[np.ndarray | bytes, ...]:
        with _CALLS:
            try:
                return *function(*arguments), b""
            except InputError as error:
                nothing = (np.zeros(0, dtype.as_numpy_dtype) for dtype in dtypes)
                return *nothing, f"{_PREFIX}{error}".encode()

    *outputs, problem = tf.numpy_function(attempt, inputs, (*dtypes, tf.string))
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(problem, b""), [problem])]):
        return [tf.identity(output) for output in outputs]


@contextmanager
def readable_errors() -> Iterator[None]:
    """Around whatever draws from a data pipeline, such as `model.fit`: a bad file raises the error that names it.

    Raises:
        InputError: instead of the `tf.errors.OpError` that it had become in the graph. Other errors pass unchanged.
    """
    try:
        yield
    except tf.errors.OpError as error:
        message = failed_assertion(error, _PREFIX)
        if message is None:
            raise
        raise InputError(message.removeprefix(_PREFIX)) from None


class _Calls:
    """The calls of Python from graphs that run now.

    A stream still filling its buffers when Python ends calls an interpreter that cannot answer any more, and TensorFlow
    then waits for the answer forever. So Python ends only after its last call did.
    """

    QUIET = (
        0.5  # seconds without a call after which none will follow: far longer than one sample's way through the graph
    )
    PATIENCE = 60  # seconds after which something else must be drawing samples

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._last = float("-inf")

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def settle(self) -> None:
        """Waits until all calls have ended and no more come."""
        start = time.monotonic()
        while self._running or time.monotonic() - self._last < self.QUIET:
            if time.monotonic() - start > self.PATIENCE:
                break
            time.sleep(0.01)


_CALLS = _Calls()
atexit.register(_CALLS.settle)
