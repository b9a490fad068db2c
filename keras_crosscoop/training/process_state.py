"""Random seeds and determinism of a training, which are settings of the whole process."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from keras_crosscoop.keras_internals import restored_random_state


@contextmanager
def reproducible(seed: int, *, deterministic: bool) -> Iterator[None]:
    """Seeds all random numbers inside it, and has TensorFlow compute the same bits each time if asked to.

    On exit the random states of Python, NumPy, TensorFlow and Keras, and TensorFlow's determinism, are as before. Only
    TensorFlow's kernels that were given seeds of their own start again.

    Args:
        seed: of all of them.
        deterministic: whether to compute the same bits; otherwise that setting stays as it is.
    """
    with restored_random_state():
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        yield
