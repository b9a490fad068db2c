"""Python inside a graph: what comes of its errors, and that it lets the process end."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

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


def test_a_process_ends_in_the_middle_of_a_stream(make_folder):
    """TensorFlow would wait forever for files being read when Python takes down an iterator that a script left."""
    script = f"""
from keras_crosscoop.data import load_dataset
iterator = iter(load_dataset("folder", "train", data_dir={str(make_folder(size=(360, 480)))!r}, repeat=True))
next(iterator)
print("done")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "done\n")
