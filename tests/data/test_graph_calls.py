"""Python calls in a graph: their errors, and the exit of the process."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.data import graph_calls
from keras_crosscoop.data.graph_calls import numpy_function, readable_errors
from keras_crosscoop.errors import InputError


def stream_of(function):
    return tf.data.Dataset.range(3).map(lambda index: numpy_function(function, [index], [tf.int64])[0])


def test_results_pass():
    assert list(stream_of(lambda index: (np.array([index, 7]),)).map(lambda pair: pair[0] * pair[1])) == [0, 7, 14]


@pytest.mark.parametrize(
    "message", ["plain", """of "quotes", 'others', \\ and [brackets]: Müller/日本.png""", "x" * 5000]
)
def test_the_message_passes_unharmed(message):
    def fail(index):
        raise InputError(message)

    with pytest.raises(InputError) as caught, readable_errors():
        list(stream_of(fail))
    assert str(caught.value) == message


def test_other_errors_pass_unchanged():
    def fail(index):
        raise KeyError("a bug")

    with pytest.raises(tf.errors.OpError, match="a bug"), readable_errors():
        list(stream_of(fail))
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"), readable_errors():
        tf.debugging.Assert(False, ["something else"])


def test_the_exit_waits_for_running_calls(monkeypatch):
    calls = graph_calls._Calls()
    monkeypatch.setattr(calls, "QUIET", 0.05)
    begun, ended = threading.Event(), []

    def call():
        with calls:
            begun.set()
            time.sleep(0.1)
            ended.append(True)

    threading.Thread(target=call).start()
    begun.wait()
    calls.wait()
    assert ended
    monkeypatch.setattr(calls, "TIMEOUT", 0.02)
    with calls:
        calls.wait()  # not forever


@pytest.mark.slow
def test_a_process_ends_in_the_middle_of_a_stream(make_folder):
    """TensorFlow would wait forever for files being read when Python destroys the iterator."""
    script = f"""
from keras_crosscoop.data import load_dataset
iterator = iter(load_dataset("folder", "train", data_dir={str(make_folder(size=(360, 480)))!r}, repeat=True))
next(iterator)
print("done")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "done\n")
