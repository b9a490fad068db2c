"""`synchronized` batch normalisation on two devices is what one device computes on the whole batch.

This file is also what runs on the two: TensorFlow splits a CPU in two only before it starts.
"""

import subprocess
import sys

import numpy as np

MOMENTUM = 0.75


def batch():
    """Images and the weight of each output in the loss; the second half of the images is brighter and richer."""
    rng = np.random.default_rng(0)
    spread, middle = np.reshape([[1, 2, 5, 7], [0, 1, 4, 6]], (2, 4, 1, 1, 1))
    images = middle + spread * rng.normal(size=(4, 5, 6, 3))
    return images.astype("float32"), rng.normal(size=images.shape).astype("float32")


def built(**options):
    import keras

    from keras_crosscoop.layers import BatchNormalization

    initial = keras.initializers.Constant
    layer = BatchNormalization(
        momentum=MOMENTUM, beta_initializer=initial(0.25), gamma_initializer=initial(1.5), **options
    )
    layer.build((None, None, None, 3))
    return layer


def step(layer, images, weights):
    """Outputs and the gradients of the loss by images, gamma and beta."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(outputs * weights)
    return outputs, *tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])


def on_two_devices(**options):
    """The same step with half of the batch on each of two devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = built(**options)
    halves = [np.split(array, 2) for array in batch()]

    def half(index):
        return lambda context: tf.constant(halves[index][context.replica_id_in_sync_group])

    arguments = [strategy.experimental_distribute_values_from_function(half(index)) for index in (0, 1)]
    results = strategy.run(tf.function(lambda *both: step(layer, *both)), arguments)
    outputs, by_images, by_gamma, by_beta = (strategy.experimental_local_results(result) for result in results)
    whole = np.concatenate(outputs), np.concatenate(by_images), np.add(*by_gamma), np.add(*by_beta)
    return *whole, layer.moving_mean.numpy(), layer.moving_variance.numpy()


def on_one_device(**options):
    import tensorflow as tf

    layer = built(**options)
    results = step(layer, *(tf.constant(array) for array in batch()))
    return *(result.numpy() for result in results), layer.moving_mean.numpy(), layer.moving_variance.numpy()


def found_on_two_devices(folder, synchronized):
    file = folder / "found.npz"
    done = subprocess.run(
        [sys.executable, __file__, str(file), "synchronized" * synchronized], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(file) as found:
        return [found[f"arr_{index}"] for index in range(6)]


def test_two_devices_in_step_are_one(tmp_path):
    """Outputs, gradients and moving averages; the single device runs the fused kernel, whose statistics are exact."""
    expected = on_one_device()
    images = batch()[0]
    np.testing.assert_allclose(expected[4], (1 - MOMENTUM) * images.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(expected[5], MOMENTUM + (1 - MOMENTUM) * images.var(axis=(0, 1, 2)), rtol=1e-4)
    for one, two in zip(expected, found_on_two_devices(tmp_path, True), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-4)


def test_each_device_goes_by_its_own_half_otherwise(tmp_path):
    for one, two in zip(on_one_device()[:3], found_on_two_devices(tmp_path, False)[:3], strict=True):
        assert np.abs(two - one).max() > 0.1


def test_on_one_device_there_is_nobody_to_wait_for():
    for found, expected in zip(on_one_device(synchronized=True), on_one_device(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    np.savez(sys.argv[1], *on_two_devices(synchronized=bool(sys.argv[2])))
