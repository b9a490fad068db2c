"""What a training sets for a whole process, and how all of it becomes again what it was."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.eager import context
from tensorflow.python.framework import config as framework

_KERAS_STATE = ("global_random_seed", "global_seed_generator")  # what `keras.utils.set_random_seed` sets of its own


@contextmanager
def reproducible(seed: int, *, deterministic: bool) -> Iterator[None]:
    """Within it, everything random follows from a seed, and TensorFlow computes the same bits each time if asked to.

    Afterwards, the random states of Python, NumPy, TensorFlow and Keras, and TensorFlow's determinism, are those from
    before. Private names: TensorFlow and Keras offer no others to read their seeds, nor to end determinism
    (TensorFlow 2.21, Keras 3.15). Only kernels of TensorFlow that were given seeds of their own begin anew.

    Args:
        seed: of all of them.
        deterministic: whether to compute the same bits; otherwise that stays as it is.
    """
    eager = context.context()
    of_tensorflow = {name: getattr(eager, name, None) for name in ("_seed", "_rng")}
    of_keras = {name: global_state.get_global_attribute(name) for name in _KERAS_STATE}
    of_python, of_numpy = random.getstate(), np.random.get_state()
    was_deterministic = framework.is_op_determinism_enabled()
    try:
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(seed)
        yield
    finally:
        if not was_deterministic:
            framework.disable_op_determinism()
        for name, value in of_keras.items():
            global_state.set_global_attribute(name, value)
        vars(eager).update(of_tensorflow)
        random.setstate(of_python)
        np.random.set_state(of_numpy)
