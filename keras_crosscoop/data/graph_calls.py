"""Python calls from a TensorFlow graph, with readable errors and a clean exit of the process."""

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
    """Calls a function that may raise `InputError`, like `tf.numpy_function`.

    TensorFlow would log the whole traceback of a Python error. So an `InputError` becomes a failed assertion of
    one line, from which `readable_errors` restores it.
    """

    def attempt(*arguments: np.ndarray) -> tuple[np.ndarray | bytes, ...]:
        with _CALLS:
            try:
                return *function(*arguments), b""
            except InputError as error:
                empty = (np.zeros(0, dtype.as_numpy_dtype) for dtype in dtypes)
                return *empty, f"{_PREFIX}{error}".encode()

    *outputs, message = tf.numpy_function(attempt, inputs, (*dtypes, tf.string))
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(message, b""), [message])]):
        return [tf.identity(output) for output in outputs]


@contextmanager
def readable_errors() -> Iterator[None]:
    """Restores the `InputError` about a bad file from a stream of `load_dataset`, also inside `model.fit`.

    Raises:
        InputError: In place of the `tf.errors.OpError` of the graph. Other errors pass unchanged.

    Example:
        >>> from keras_crosscoop import load_dataset
        >>> from keras_crosscoop.data import readable_errors
        >>> with readable_errors():
        ...     len(list(load_dataset("folder", "train", data_dir="MY_DATA")))
        4
    """
    try:
        yield
    except tf.errors.OpError as error:
        message = failed_assertion(error, _PREFIX)
        if message is None:
            raise
        raise InputError(message.removeprefix(_PREFIX)) from None


class _Calls:
    """The running Python calls from graphs.

    A stream may still fill its buffers when Python exits. It would then call an interpreter that has shut down, and
    TensorFlow would wait for the result forever. So the exit of Python waits for the last call.
    """

    QUIET = 0.5  # seconds without a call, after which no more calls are expected; a sample takes far less
    TIMEOUT = 60  # seconds

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

    def wait(self) -> None:
        """Waits until no more calls come."""
        start = time.monotonic()
        while self._running or time.monotonic() - self._last < self.QUIET:
            if time.monotonic() - start > self.TIMEOUT:
                break
            time.sleep(0.01)


_CALLS = _Calls()
atexit.register(_CALLS.wait)
