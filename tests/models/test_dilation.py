"""A classification network, dilated, computes every feature it had before, where it should, and new ones between."""

import keras
import numpy as np
import pytest
from keras import layers as k

from keras_crosscoop import layers
from keras_crosscoop.models.backbones.dilation import dilate

RNG = np.random.default_rng(0)


def toy(pad):
    """Strides 2, 4 and 8: a convolution, a depthwise one behind its own padding, a 1x1 in both of two branches."""
    image = x = keras.Input((None, None, 3))
    x = k.Conv2D(4, 3, strides=2, padding="same", name="first")(x)
    x = k.Conv2D(4, 3, padding="same", activation="relu", name="at_2")(x)
    x = k.ZeroPadding2D(pad, name="pad")(x)
    x = k.DepthwiseConv2D(3, strides=2, padding="valid", name="to_4")(x)
    x = k.BatchNormalization(momentum=0.99, name="bn")(x)
    x = k.Conv2D(4, 5, padding="same", activation="relu", name="at_4")(x)
    left = k.Conv2D(4, 1, strides=2, name="to_8")(x)
    left = k.Conv2D(4, 3, padding="same", name="at_8")(left)
    right = k.Conv2D(4, 1, strides=2, name="beside")(x)
    x = k.Add(name="add")([left, right])
    x = k.DepthwiseConv2D(3, padding="same", name="last")(x)
    model = keras.Model(image, x)
    for w in model.weights:
        w.assign(RNG.uniform(0.5, 1, w.shape) if "bn" in w.path else RNG.normal(size=w.shape))
    return model


def steps(model):
    """`(stride, dilation)` of each convolution."""
    convolutions = (k.Conv2D, k.DepthwiseConv2D)
    return {c.name: (c.strides[0], c.dilation_rate[0]) for c in model.layers if isinstance(c, convolutions)}


TABLE = {
    8: {"first": (2, 1), "at_2": (1, 1), "to_4": (2, 1), "at_4": (1, 1), "to_8": (2, 1), "beside": (2, 1)}
    | {"at_8": (1, 1), "last": (1, 1)},
    4: {"first": (2, 1), "at_2": (1, 1), "to_4": (2, 1), "at_4": (1, 1), "to_8": (1, 1), "beside": (1, 1)}
    | {"at_8": (1, 2), "last": (1, 2)},
    2: {"first": (2, 1), "at_2": (1, 1), "to_4": (1, 1), "at_4": (1, 2), "to_8": (1, 1), "beside": (1, 1)}
    | {"at_8": (1, 4), "last": (1, 4)},
    1: {"first": (1, 1), "at_2": (1, 2), "to_4": (1, 2), "at_4": (1, 4), "to_8": (1, 1), "beside": (1, 1)}
    | {"at_8": (1, 8), "last": (1, 8)},
}


@pytest.mark.parametrize("output_stride", TABLE)
def test_strides_beyond_become_dilations_of_what_follows(output_stride):
    """Of what follows, not of the layer that gives its stride up: that one still sees its neighbours."""
    assert steps(dilate(toy(1), keras.Input((None, None, 3)), output_stride)) == TABLE[output_stride]


@pytest.mark.parametrize(("pad", "phase"), [(1, 0), (((0, 1), (0, 1)), 1)])
@pytest.mark.parametrize("output_stride", [8, 4, 2])
@pytest.mark.parametrize("size", [(64, 48), (63, 65)])
def test_every_original_feature_is_still_there(pad, phase, output_stride, size):
    """Where the strided layer's padding was one-sided, its features lie one pixel of its input further on."""
    model, image = toy(pad), RNG.normal(size=(1, *size, 3)).astype("float32")
    if phase and size == (63, 65):
        size = (64, 64)  # an odd size ends there within the padding of the one, not of the other
        image = image[:, :, :-1].repeat(2, 1)[:, :64]
    strided = np.asarray(model(image))
    dense = np.asarray(dilate(model, keras.Input((None, None, 3)), output_stride)(image))
    step, start = 8 // output_stride, phase * (output_stride == 2)
    there = dense[:, start::step, start::step]
    np.testing.assert_allclose(there, strided, rtol=1e-4, atol=1e-4 * strided.std())


def test_weights_and_names_stay_and_the_original_too():
    model = toy(1)
    before, config = model.get_weights(), str(model.get_config())
    dilated = dilate(model, keras.Input((None, None, 3)), 2)
    assert [layer.name for layer in dilated.layers[1:]] == [layer.name for layer in model.layers[1:]]
    for kept, original in zip(dilated.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, original)
    dilated.set_weights([0 * w for w in before])
    for kept, original in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, original)
    assert str(model.get_config()) == config


def test_layers_become_those_of_this_package():
    dilated = dilate(toy(1), keras.Input((None, None, 3)), 4)
    assert type(dilated.get_layer("at_8")) is layers.AtrousConv2D
    assert type(dilated.get_layer("bn")) is layers.BatchNormalization
    assert dilated.get_layer("bn").momentum == 0.9
    assert dilated.get_layer("bn").epsilon == 1e-3


def test_new_input_comes_first():
    """What the caller does to the image happens before the network's first layer."""
    model, image = toy(1), RNG.normal(size=(1, 16, 16, 3)).astype("float32")
    raw = keras.Input((None, None, 3))
    dilated = dilate(model, k.Rescaling(2, offset=1)(raw), 8)
    tapped = keras.Model(raw, dilated.get_layer("last").output)
    np.testing.assert_allclose(tapped(image), model(2 * image + 1), rtol=1e-4, atol=1e-4)
