"""Every layer computes what Keras or NumPy computes without it, at sizes known and unknown."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop import layers

RNG = np.random.default_rng(0)
KERAS_RENORMALIZES = "renorm" in inspect.signature(keras.layers.BatchNormalization).parameters  # later than 3.12


def noise(*shape):
    return RNG.normal(size=shape).astype("float32")


def reloaded(layer, image, path):
    """The layer as a `.keras` file gives it back, inside a model of `image`'s shape, and the model that was saved."""
    inputs = keras.Input(image.shape[1:])
    model = keras.Model(inputs, layer(inputs))
    model.save(path)
    return model, keras.saving.load_model(path)


@pytest.mark.parametrize("rate", [1, 2, 6, 18])
def test_atrous_convolution_reaches_exactly_its_rate(rate):
    """An impulse comes out at the nine taps of the kernel, `rate` pixels apart, and nowhere else."""
    layer = layers.AtrousConv2D(1, 3, padding="same", dilation_rate=rate, use_bias=False)
    image = np.zeros((1, 41, 41, 1), "float32")
    image[0, 20, 20] = 1
    layer.build(image.shape)
    kernel = np.arange(1, 10, dtype="float32").reshape(3, 3, 1, 1)
    layer.kernel.assign(kernel)

    response = keras.ops.convert_to_numpy(layer(image))[0, :, :, 0]

    expected = np.zeros((41, 41), "float32")
    taps = 20 + rate * np.arange(-1, 2)
    expected[np.ix_(taps, taps)] = kernel[::-1, ::-1, 0, 0]  # correlation mirrors the kernel
    np.testing.assert_array_equal(response, expected)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    "options",
    [
        {"dilation_rate": 1},
        {"dilation_rate": 2, "activation": "relu"},
        {"dilation_rate": (2, 3), "use_bias": False},
        {"dilation_rate": 4, "kernel_size": (3, 1)},
        {"strides": 2, "kernel_size": 5},
    ],
)
def test_atrous_convolution_is_keras_convolution(padding, options):
    layer = layers.AtrousConv2D(**{"filters": 5, "kernel_size": 3, "padding": padding, **options})
    reference = keras.layers.Conv2D.from_config(layer.get_config())
    image = tf.constant(noise(2, 13, 14, 3))
    weight = None
    results = []
    for conv in (layer, reference):
        conv.build(image.shape)
        conv.set_weights(layer.get_weights() if conv is reference else [noise(*w.shape) for w in conv.weights])
        with tf.GradientTape() as tape:
            tape.watch(image)
            features = conv(image)
            weight = noise(*features.shape) if weight is None else weight
            loss = tf.reduce_sum(features * weight)
        results.append([features, *tape.gradient(loss, [image, *(w.value for w in conv.trainable_weights)])])
        assert conv.compute_output_shape(image.shape) == features.shape
    for ours, kerass in zip(*results, strict=True):
        np.testing.assert_allclose(ours, kerass, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("conv", "detours"), [(layers.AtrousConv2D, False), (keras.layers.Conv2D, True)])
def test_atrous_convolution_takes_no_detour_over_batches(conv, detours):
    """Keras's own dilated convolution does: where it no longer does, `AtrousConv2D` can go."""
    layer = conv(4, 3, padding="same", dilation_rate=6)
    layer.build((None, None, None, 3))
    traced = tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, None, 3)))
    assert ("SpaceToBatchND" in {op.type for op in traced.graph.get_operations()}) == detours


def test_atrous_convolution_in_bfloat16():
    layer = layers.AtrousConv2D(4, 3, padding="same", dilation_rate=2, dtype="mixed_bfloat16")
    image = noise(1, 9, 9, 8)
    features = layer(image)
    assert features.dtype == "bfloat16"
    assert layer.kernel.dtype == "float32"
    exact = tf.nn.conv2d(image, layer.kernel.numpy(), 1, "SAME", dilations=2)
    np.testing.assert_allclose(tf.cast(features, "float32"), exact, atol=0.05)  # 72 products of 8 bits each


def test_atrous_convolution_from_a_file(tmp_path):
    image = noise(1, 9, 9, 3)
    saved, loaded = reloaded(layers.AtrousConv2D(4, 3, dilation_rate=(2, 3)), image, tmp_path / "model.keras")
    assert type(loaded.layers[1]) is layers.AtrousConv2D
    np.testing.assert_array_equal(loaded(image), saved(image))


def maxima(image, size, rate):
    """Over the pixels p, p + rate, ... of rows and columns, `size` of them or as many as there are."""
    pooled = np.empty_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            window = image[:, row : row + (size - 1) * rate + 1 : rate, column : column + (size - 1) * rate + 1 : rate]
            pooled[:, row, column] = window.max((1, 2))
    return pooled


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("rate", [1, 2, 5])
@pytest.mark.parametrize("shape", [(2, 12, 9, 3), (1, 4, 1, 2)])
@pytest.mark.parametrize("known", [False, True])
def test_atrous_pooling_takes_maxima_down_and_to_the_right(size, rate, shape, known):
    """Of negative numbers too, and where windows reach beyond the edge or the whole image."""
    image = noise(*shape) - 3
    inputs = keras.Input(shape[1:] if known else (None, None, shape[3]))
    model = keras.Model(inputs, layers.AtrousMaxPooling2D(size, rate)(inputs))
    assert model.output.shape == inputs.shape
    np.testing.assert_array_equal(model(image), maxima(image, size, rate))
    traced = tf.function(model, input_signature=[tf.TensorSpec(inputs.shape)])
    np.testing.assert_array_equal(traced(image), maxima(image, size, rate))


@pytest.mark.parametrize("strides", [2, 3])
def test_atrous_pooling_holds_the_strided_one(strides):
    """That of TensorFlow on multiples of the stride, where "same" pads below and to the right alone."""
    image = noise(1, 12, 18, 4)
    strided = keras.layers.MaxPooling2D(strides + 1, strides, "same")(image)
    pooled = layers.AtrousMaxPooling2D(strides + 1)(image)
    np.testing.assert_array_equal(pooled[:, ::strides, ::strides], strided)


def test_atrous_pooling_in_bfloat16():
    image = noise(1, 6, 6, 2)
    pooled = layers.AtrousMaxPooling2D(3, 2, dtype="mixed_bfloat16")(image)
    assert pooled.dtype == "bfloat16"
    np.testing.assert_array_equal(pooled, tf.cast(maxima(image, 3, 2), "bfloat16"))


def test_atrous_pooling_from_a_file(tmp_path):
    image = noise(1, 9, 9, 3)
    saved, loaded = reloaded(layers.AtrousMaxPooling2D(3, 2), image, tmp_path / "model.keras")
    assert type(loaded.layers[1]) is layers.AtrousMaxPooling2D
    np.testing.assert_array_equal(saved(image), maxima(image, 3, 2))
    np.testing.assert_array_equal(loaded(image), saved(image))


def normalizations(shape, **options):
    """Ours and Keras's, with equal random weights and statistics."""
    ours, reference = layers.BatchNormalization(**options), keras.layers.BatchNormalization(**options)
    ours.build(shape)
    reference.build(shape)
    ours.set_weights([RNG.uniform(0.5, 2, w.shape) for w in ours.weights])
    reference.set_weights(ours.get_weights())
    return ours, reference


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 7, 5, 3), {}),
        ((4, 1, 1, 3), {"momentum": 0.9, "epsilon": 1e-5}),  # the pooled branch of ASPP
        ((1, 1, 1, 3), {"momentum": 0.9}),  # the same, of a single image: no variance to be unbiased
        ((2, 7, 5, 3), {"scale": False}),
        ((2, 7, 5, 3), {"center": False}),
        ((2, 7, 5, 3), {"axis": 1}),
        *([((2, 7, 5, 3), {"renorm": True})] if KERAS_RENORMALIZES else []),
        ((6, 3), {}),
    ],
)
def test_batch_normalization_trains_as_keras_does(shape, options):
    """Outputs, gradients and moving averages over three steps, then what inference makes of them."""
    ours, reference = normalizations(shape, **options)
    for step in range(3):
        image, weight = tf.constant(noise(*shape) * (step + 1) + step), noise(*shape)
        results = []
        for layer in (ours, reference):
            with tf.GradientTape() as tape:
                tape.watch(image)
                outputs = layer(image, training=True)
                loss = tf.reduce_sum(outputs * weight)
            gradients = tape.gradient(loss, [image, *(w.value for w in layer.trainable_weights)])
            results.append([outputs, *gradients, *layer.get_weights()])
        for mine, kerass in zip(*results, strict=True):
            np.testing.assert_allclose(mine, kerass, rtol=1e-4, atol=1e-4)
    image = noise(*shape)
    np.testing.assert_allclose(ours(image), reference(image), rtol=1e-4, atol=1e-5)


def test_batch_normalization_trains_by_hand():
    """Channel values 1, 2, 3, 6 have mean 3 and biased variance 3.5; the moving averages start at 0 and 1."""
    layer = layers.BatchNormalization(momentum=0.75, epsilon=0.5)
    outputs = layer(np.reshape([1, 2, 3, 6], (1, 2, 2, 1)).astype("float32"), training=True)
    np.testing.assert_allclose(np.ravel(outputs), [-1, -0.5, 0, 1.5], atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.75], atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.75 + 0.25 * 3.5], atol=1e-6)


def test_batch_normalization_frozen_stays_as_it_is():
    ours, reference = normalizations((2, 4, 4, 3))
    ours.trainable = reference.trainable = False
    before, image = ours.get_weights(), noise(2, 4, 4, 3)
    np.testing.assert_allclose(ours(image, training=True), reference(image, training=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours.get_weights(), before)


def test_batch_normalization_in_bfloat16():
    """Features in bfloat16, statistics and weights in float32."""
    ours, reference = normalizations((4, 8, 8, 3), dtype="mixed_bfloat16")
    image = noise(4, 8, 8, 3)
    mine, kerass = ours(image, training=True), reference(image, training=True)
    assert mine.dtype == "bfloat16"
    np.testing.assert_allclose(tf.cast(mine, "float32"), tf.cast(kerass, "float32"), atol=0.05)
    np.testing.assert_allclose(ours.get_weights(), reference.get_weights(), rtol=1e-3)


def test_batch_normalization_from_a_file(tmp_path):
    layer, _ = normalizations((1, 4, 4, 3), momentum=0.9, epsilon=1e-5)
    image = noise(2, 4, 4, 3)
    saved, loaded = reloaded(layer, image, tmp_path / "model.keras")
    assert type(loaded.layers[1]) is layers.BatchNormalization
    np.testing.assert_array_equal(loaded(image), saved(image))
    np.testing.assert_array_equal(loaded(image, training=True), saved(image, training=True))
    np.testing.assert_array_equal(loaded.layers[1].get_weights(), layer.get_weights())


def test_padding_reaches_the_next_multiple_below_and_to_the_right():
    image = np.arange(1, 13, dtype="float32").reshape(1, 2, 3, 2)
    padded = layers.PadToMultiple(4)(image)
    expected = np.full((1, 4, 4, 2), 127.5, "float32")
    expected[:, :2, :3] = image
    np.testing.assert_array_equal(padded, expected)
    np.testing.assert_array_equal(layers.PadToMultiple(1)(image), image)
    np.testing.assert_array_equal(layers.PadToMultiple(2, value=0)(image)[0, :, 3], 0)


def test_cropping_undoes_padding():
    image = noise(2, 5, 7, 3)
    padded = layers.PadToMultiple(4)(image)
    np.testing.assert_array_equal(layers.CropLike()(padded, noise(2, 5, 7, 1)), image)


def bilinear(image, height, width):
    """`(B, h, w, C)` sampled where the centres of `height` x `width` pixels lie, edges held."""
    for axis, size in ((1, height), (2, width)):
        old = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        below = np.minimum(np.floor(at).astype(int), max(old - 2, 0))
        above = np.minimum(below + 1, old - 1)
        share = np.reshape(at - below, [-1 if i == axis else 1 for i in range(4)])
        image = np.take(image, below, axis) * (1 - share) + np.take(image, above, axis) * share
    return image


@pytest.mark.parametrize("size", [(12, 20), (13, 7), (3, 5), (1, 1), (2, 9)])
def test_resizing_is_bilinear_between_pixel_centres(size):
    features = noise(2, 3, 5, 4)
    resized = layers.ResizeLike()(features, np.zeros((2, *size, 1), "float32"))
    np.testing.assert_allclose(resized, bilinear(features, *size), atol=1e-5)


def test_resizing_doubles_by_hand():
    """Between 0 and 4 the centres of twice as many pixels lie at quarters, and beyond the outer centres it is flat."""
    features = np.reshape([0, 4], (1, 1, 2, 1)).astype("float32")
    np.testing.assert_array_equal(np.ravel(layers.ResizeLike()(features, np.zeros((1, 1, 4, 1)))), [0, 1, 3, 4])


def test_resizing_spreads_a_single_pixel():
    pooled = noise(2, 1, 1, 3)
    np.testing.assert_array_equal(layers.ResizeLike()(pooled, noise(2, 4, 6, 1)), np.tile(pooled, (1, 4, 6, 1)))


def test_resizing_keeps_the_precision_it_gets():
    layer = layers.ResizeLike(dtype="mixed_bfloat16")
    assert layer(noise(1, 2, 2, 1), noise(1, 4, 4, 1)).dtype == "bfloat16"


@pytest.mark.parametrize("known", [False, True])
def test_shapes_are_told_and_traced_as_they_come_out(known):
    """Built once, the layers take any size: traced for none in particular, they give what they give eagerly."""
    small, image = noise(2, 3, 4, 2), noise(2, 13, 18, 3)
    pad, resize, crop = layers.PadToMultiple(8), layers.ResizeLike(), layers.CropLike()

    def through(features, like):
        padded = pad(like)
        upsampled = resize(features, padded)
        return padded, upsampled, crop(upsampled, like)

    specs = [tf.TensorSpec(array.shape if known else (None, None, None, array.shape[3])) for array in (small, image)]
    traced = tf.function(through, input_signature=specs)
    expected = through(small, image)
    assert [tuple(array.shape) for array in expected] == [(2, 16, 24, 3), (2, 16, 24, 2), (2, 13, 18, 2)]
    for mine, eager, graph in zip(traced(small, image), expected, traced.get_concrete_function().outputs, strict=True):
        np.testing.assert_array_equal(mine, eager)
        assert graph.shape[3] == eager.shape[3]
        assert not known or graph.shape == eager.shape

    batch = 2 if known else None
    inputs = [
        keras.Input(array.shape[1:] if known else (None, None, array.shape[3]), batch) for array in (small, image)
    ]
    outputs = through(*inputs)
    if known:
        assert [array.shape for array in outputs] == [tuple(array.shape) for array in expected]
    else:
        assert [array.shape for array in outputs] == [(None, None, None, channels) for channels in (3, 2, 2)]
    for mine, eager in zip(keras.Model(inputs, outputs)([small, image]), expected, strict=True):
        np.testing.assert_array_equal(mine, eager)


def test_compute_output_shape_pads_what_is_known():
    assert layers.PadToMultiple(16).compute_output_shape((None, 33, None, 3)) == (None, 48, None, 3)
    assert layers.ResizeLike().compute_output_shape((2, 3, 4, 5), (2, 6, None, 1)) == (2, 6, None, 5)
    assert layers.CropLike().compute_output_shape((2, 8, 8, 5), (2, 6, None, 1)) == (2, 6, None, 5)


def test_sizes_from_a_file(tmp_path):
    image = keras.Input((None, None, 3))
    padded = layers.PadToMultiple(8, value=-1)(image)
    small = keras.layers.AveragePooling2D(2)(padded)
    model = keras.Model(image, layers.CropLike()(layers.ResizeLike()(small, padded), image))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for size in ((5, 7), (8, 17)):
        array = noise(1, *size, 3)
        np.testing.assert_array_equal(loaded(array), model(array))
        assert loaded(array).shape == array.shape
