"""Dropout draws for each of several devices by itself.

This file is also what runs on the two: TensorFlow splits a CPU in two only before it starts.
"""

import subprocess
import sys

import numpy as np
import pytest

STEPS = 3


def drawn(strategy, layer):
    """What each device makes of ones, `(steps, devices, 2, 8, 8, 4)`."""
    import tensorflow as tf

    step = tf.function(lambda: layer(tf.ones((2, 8, 8, 4)), training=True))
    return np.stack([strategy.experimental_local_results(strategy.run(step)) for _ in range(STEPS)])


def on_two_devices():
    import tensorflow as tf

    from keras_crosscoop.layers import Dropout

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        return drawn(strategy, Dropout(0.25, seed=7))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    file = tmp_path_factory.mktemp("dropout") / "found.npy"
    done = subprocess.run([sys.executable, __file__, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return np.load(file)


def test_a_quarter_is_dropped_and_the_rest_raised(found):
    np.testing.assert_allclose(np.unique(found), [0, 4 / 3], rtol=1e-6)
    assert np.mean(found == 0) == pytest.approx(0.25, abs=0.03)


def test_no_device_and_no_step_drops_what_another_does(found):
    masks = {mask.tobytes() for step in found for mask in step}
    assert len(masks) == 2 * STEPS


def test_the_first_device_draws_as_a_single_one_and_as_keras(found):
    import keras
    import tensorflow as tf

    from keras_crosscoop.layers import Dropout

    for kind in (Dropout, keras.layers.Dropout):
        alone = drawn(tf.distribute.get_strategy(), kind(0.25, seed=7))
        np.testing.assert_array_equal(alone[:, 0], found[:, 0])


if __name__ == "__main__":
    np.save(sys.argv[1], on_two_devices())
