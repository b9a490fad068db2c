"""Layers on other devices than a CPU with all kernels.

On two devices, dropout is independent on each, and synchronised batch normalisation sees the whole batch. On a CPU
without oneDNN, TensorFlow lacks kernels that the layers' gradients must do without.

This file is also the program that runs there: TensorFlow reads both settings only once, before it starts.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

MOMENTUM = 0.75
STEPS = 3  # of dropout


def batch():
    """Images and the weight of each output in the loss; the second half of the images is brighter and richer."""
    rng = np.random.default_rng(0)
    spread, middle = np.reshape([[1, 2, 5, 7], [0, 1, 4, 6]], (2, 4, 1, 1, 1))
    images = middle + spread * rng.normal(size=(4, 5, 6, 3))
    return images.astype("float32"), rng.normal(size=images.shape).astype("float32")


def batch_norm(**options):
    import keras

    from keras_crosscoop.layers import BatchNormalization

    initial = keras.initializers.Constant
    layer = BatchNormalization(
        momentum=MOMENTUM, beta_initializer=initial(0.25), gamma_initializer=initial(1.5), **options
    )
    layer.build((None, None, None, 3))
    return layer


def step(layer, images, weights):
    """Outputs, and the gradients of the loss by images, gamma and beta."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(outputs * weights)
    return outputs, *tape.gradient(loss, [images, layer.gamma.value, layer.beta.value])


def step_on_two_devices(strategy, **options):
    """The same step with half of the batch on each of two devices."""
    import tensorflow as tf

    with strategy.scope():
        layer = batch_norm(**options)
    halves = [np.split(array, 2) for array in batch()]

    def half(index):
        return lambda context: tf.constant(halves[index][context.replica_id_in_sync_group])

    arguments = [strategy.experimental_distribute_values_from_function(half(index)) for index in (0, 1)]
    results = strategy.run(tf.function(lambda *both: step(layer, *both)), arguments)
    outputs, images, gamma, beta = (strategy.experimental_local_results(result) for result in results)
    whole = np.concatenate(outputs), np.concatenate(images), np.add(*gamma), np.add(*beta)
    return *whole, layer.moving_mean.numpy(), layer.moving_variance.numpy()


def step_on_one_device(**options):
    import tensorflow as tf

    layer = batch_norm(**options)
    results = step(layer, *(tf.constant(array) for array in batch()))
    return *(result.numpy() for result in results), layer.moving_mean.numpy(), layer.moving_variance.numpy()


def drop(strategy, layer):
    """The outputs of dropout for ones, `(steps, devices, 2, 8, 8, 4)`."""
    import tensorflow as tf

    traced = tf.function(lambda: layer(tf.ones((2, 8, 8, 4)), training=True))
    return np.stack([strategy.experimental_local_results(strategy.run(traced)) for _ in range(STEPS)])


def kernel_gradients():
    """Gradients of our layers and of Keras's, by layer and precision, `(2, ...)`."""
    import keras
    import tensorflow as tf

    from keras_crosscoop import layers

    atrous = {"filters": 3, "kernel_size": 3, "dilation_rate": 2, "padding": "same", "kernel_initializer": "ones"}
    results = {}
    for ours, kerass, options in (
        (layers.AtrousConv2D, keras.layers.Conv2D, atrous),
        (layers.BatchNormalization, keras.layers.BatchNormalization, {}),
    ):
        for dtype in ("float32", "float64"):
            image, gradients = tf.constant(np.random.default_rng(0).normal(size=(1, 9, 8, 2)), dtype), []
            for layer in (ours(**options, dtype=dtype), kerass(**options, dtype=dtype)):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_sum(layer(image, training=True) ** 4)
                gradients.append(tape.gradient(loss, layer.trainable_variables[0].value))
            results[f"gradients/{ours.__name__}/{dtype}"] = np.stack(gradients)
    return results


def main(file):
    import tensorflow as tf

    from keras_crosscoop.layers import Dropout

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        results = {"dropout": drop(strategy, Dropout(0.25, seed=7))}
    results |= kernel_gradients()
    for name, options in {"synchronized": {"synchronized": True}, "apart": {}}.items():
        arrays = step_on_two_devices(strategy, **options)
        results |= {f"{name}_{index}": array for index, array in enumerate(arrays)}
    np.savez(file, **results)


@pytest.fixture(scope="module")
def other_devices(tmp_path_factory):
    file = tmp_path_factory.mktemp("other_devices") / "results.npz"
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    done = subprocess.run([sys.executable, __file__, str(file)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(file) as results:
        return dict(results)


def test_dropout_drops_a_quarter_and_scales_the_rest(other_devices):
    outputs = other_devices["dropout"]
    np.testing.assert_allclose(np.unique(outputs), [0, 4 / 3], rtol=1e-6)
    assert np.mean(outputs == 0) == pytest.approx(0.25, abs=0.03)


def test_dropout_differs_on_each_device_and_in_each_step(other_devices):
    masks = {mask.tobytes() for outputs in other_devices["dropout"] for mask in outputs}
    assert len(masks) == 2 * STEPS


def test_dropout_on_the_first_device_is_that_of_one_device_and_of_keras(other_devices):
    import keras
    import tensorflow as tf

    from keras_crosscoop.layers import Dropout

    for kind in (Dropout, keras.layers.Dropout):
        alone = drop(tf.distribute.get_strategy(), kind(0.25, seed=7))
        np.testing.assert_array_equal(alone[:, 0], other_devices["dropout"][:, 0])


def test_synchronized_normalization_on_two_devices_is_that_of_one(other_devices):
    """Outputs, gradients and moving averages; the single device runs the fused kernel, whose statistics are exact."""
    expected = step_on_one_device()
    images = batch()[0]
    np.testing.assert_allclose(expected[4], (1 - MOMENTUM) * images.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(expected[5], MOMENTUM + (1 - MOMENTUM) * images.var(axis=(0, 1, 2)), rtol=1e-4)
    for index, one in enumerate(expected):
        np.testing.assert_allclose(other_devices[f"synchronized_{index}"], one, rtol=1e-4, atol=1e-4)


def test_each_device_normalizes_its_own_half_otherwise(other_devices):
    for index, one in enumerate(step_on_one_device()[:3]):
        assert np.abs(other_devices[f"apart_{index}"] - one).max() > 0.1


def test_layers_train_where_tensorflow_has_no_kernels_for_them(other_devices):
    """It has none for a dilated convolution's gradient on CPUs without oneDNN, and few for float64."""
    gradients = {name: both for name, both in other_devices.items() if name.startswith("gradients/")}
    assert len(gradients) == 4
    for name, (ours, kerass) in gradients.items():
        np.testing.assert_allclose(ours, kerass, rtol=1e-4, atol=1e-6, err_msg=name)


def test_synchronized_normalization_on_one_device_is_the_plain_one():
    for array, expected in zip(step_on_one_device(synchronized=True), step_on_one_device(), strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
    main(sys.argv[1])
