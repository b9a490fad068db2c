"""A classification network, dilated, computes every feature it had before, where it should, and new ones between."""

import json
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from keras import layers as k

from keras_crosscoop import DeepLabV3Plus, backbones, layers
from keras_crosscoop.errors import InputError
from keras_crosscoop.models.backbones import OwnBackbone
from keras_crosscoop.models.backbones.dilation import check_multi_grid, dilate
from keras_crosscoop.models.backbones.xception import XCEPTION_65, xception

RNG = np.random.default_rng(0)


def toy(pad):
    """Strides 2, 4 and 8: a convolution, a depthwise one behind its own padding, a 1x1 in both of two branches.

    Then arithmetic that makes no layers, and a last convolution.
    """
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
    x = k.Add(name="sum")([left, right])
    x = (x + 3.0) * 0.5
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


def pooled():
    """Strides 2 to 16 as in Xception: three times a pooling beside a 1x1 convolution, separable convolutions around."""
    image = x = keras.Input((None, None, 3))
    x = k.Conv2D(4, 3, strides=2, padding="same")(x)
    for stage in (4, 8, 16):
        left = k.SeparableConv2D(4, 3, padding="same", name=f"before_{stage}")(x)
        left = k.MaxPooling2D(3, 2, "same", name=f"pool_{stage}")(left)
        x = k.Add()([left, k.Conv2D(4, 1, 2, "same")(x)])
    x = k.SeparableConv2D(4, 3, padding="same", name="last")(x)
    model = keras.Model(image, x)
    for w in model.weights:
        w.assign(RNG.normal(size=w.shape))
    return model


@pytest.mark.parametrize("output_stride", [16, 8, 4, 2])
def test_poolings_stay_beside_their_shortcuts(output_stride):
    """Every original feature is still there, and in its place, although "same" pads poolings on one side."""
    model, image = pooled(), RNG.normal(size=(1, 64, 96, 3)).astype("float32")
    strided = np.asarray(model(image))
    dense = np.asarray(dilate(model, keras.Input((None, None, 3)), output_stride)(image))
    step = 16 // output_stride
    np.testing.assert_allclose(dense[:, ::step, ::step], strided, rtol=1e-4, atol=1e-4 * strided.std())


def test_poolings_are_dilated_by_what_came_before():
    dilated = dilate(pooled(), keras.Input((None, None, 3)), 4)
    kept, beyond, last = (dilated.get_layer(f"pool_{stage}") for stage in (4, 8, 16))
    assert type(kept) is k.MaxPooling2D
    assert (kept.strides, kept.padding) == ((2, 2), "same")
    assert [(type(pool), pool.pool_size, pool.dilation_rate) for pool in (beyond, last)] == [
        (layers.AtrousMaxPooling2D, 3, 1),
        (layers.AtrousMaxPooling2D, 3, 2),
    ]
    assert [dilated.get_layer(name).dilation_rate for name in ("before_16", "last")] == [(2, 2), (4, 4)]


def test_factors_multiply_the_dilation_of_single_layers():
    """Of those, and not of what follows; where all strides are kept too."""
    for output_stride, rates in ((8, {"at_4": 2, "at_8": 3, "last": 1}), (4, {"at_4": 2, "at_8": 6, "last": 2})):
        dilated = dilate(toy(1), keras.Input((None, None, 3)), output_stride, {"at_4": 2, "at_8": 3})
        expected = TABLE[output_stride] | {name: (1, rate) for name, rate in rates.items()}
        assert steps(dilated) == expected


def test_names_that_keras_makes_up_are_the_same_in_every_build():
    """It numbers layers through the whole process; a network's variables shall not depend on what was built before."""
    first, second = (dilate(pooled(), keras.Input((None, None, 3)), 4) for _ in range(2))
    assert [layer.name for layer in second.layers[1:]] == [layer.name for layer in first.layers[1:]]
    assert [w.path for w in second.weights] == [w.path for w in first.weights]
    assert [layer.name for layer in first.layers if layer.name.startswith(("conv2d", "add"))] == [
        *("conv2d", "conv2d_1", "add", "conv2d_2", "add_1", "conv2d_3", "add_2"),
    ]


@pytest.mark.parametrize("wrong", [(1, 2), (1, 2, 0), (1, 2, 4, 8), (1, 2, 4.0), (True, 2, 4), "124", 2, None])
def test_a_grid_of_anything_but_three_rates_is_refused(wrong):
    with pytest.raises(InputError, match=r"`multi_grid` must be three positive integers, .*\. Received: ") as error:
        check_multi_grid(wrong)
    assert str(error.value).endswith(f"Received: {wrong!r}")
    assert "\n" not in str(error.value)


def test_a_grid_may_be_a_list():
    assert check_multi_grid([1, 2, 4]) == (1, 2, 4)


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


def dilated_units(model):
    """The dilation of each convolution that has any."""
    return {name: rate for name, (_, rate) in steps(model).items() if rate > 1}


@pytest.mark.parametrize(
    ("name", "output_stride", "rates"),
    [
        ("resnet50", 16, (2, 4, 8)),
        pytest.param("resnet101", 32, (1, 2, 4), marks=pytest.mark.slow),
        pytest.param("resnet152", 32, (1, 2, 4), marks=pytest.mark.slow),
    ],
)
def test_multi_grid_multiplies_the_rates_of_the_last_units(name, output_stride, rates):
    """Where all strides are kept, there is no other dilation."""
    model = backbones.build(name, weights=None, output_stride=output_stride, multi_grid=(1, 2, 4))
    assert dilated_units(model) == {
        f"conv5_block{number}_2_conv": rate for number, rate in enumerate(rates, 1) if rate > 1
    }


narrow_xception = partial(
    xception, blocks=tuple(replace(block, units=1, widths=(4, 4, 4)) for block in XCEPTION_65), stem=(4, 4)
)


def test_multi_grid_is_part_of_a_model(monkeypatch):
    """And of its configuration, as lists, which is what YAML and JSON have."""
    monkeypatch.setitem(backbones.OWN, "narrow", OwnBackbone(narrow_xception, ("multi_grid",)))
    backbone = {"name": "narrow", "multi_grid": [1, 2, 4]}
    model = DeepLabV3Plus(3, backbone=backbone, output_stride=32, weights=None, decoder_channels=8)
    again = DeepLabV3Plus.from_config(json.loads(json.dumps(model.get_config())))
    for network in (model, again):
        rates = dilated_units(network.get_layer("single_backbone"))
        unit = "exit_flow_block2_unit_1_separable_conv"
        assert rates == {f"{unit}2_depthwise": 2, f"{unit}3_depthwise": 4}


def test_multi_grid_reaches_as_far_as_its_rates_add_up_to():
    """An impulse before Xception's last three convolutions comes out at every sum of one tap of each."""
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, narrow_xception(image, 16, multi_grid=(1, 3, 9)))
    before = backbone.get_layer("exit_flow_block1_unit_1_add").output
    last = keras.Model(before, backbone.output["high"])
    for weight in last.weights:
        if weight.path.endswith("kernel"):  # a sum over nine taps, or the mean of the channels
            weight.assign(np.full(weight.shape, 1 if "depthwise" in weight.path else 1 / weight.shape[2]))
    image = np.zeros((1, 59, 59, before.shape[-1]), "float32")
    image[0, 29, 29] = 1
    reached = np.asarray(last(image))[0, :, :, 0] > 0.5
    expected = np.zeros((59, 59), bool)
    expected[3:-3:2, 3:-3:2] = True  # 2 (a + 3 b + 9 c), of a, b and c in -1, 0, 1: every even number up to 26
    np.testing.assert_array_equal(reached, expected)
