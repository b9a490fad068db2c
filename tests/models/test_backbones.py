"""Each backbone shows features where it says it does, and they are those of the network whose weights it loads."""

import json
import warnings
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import photograph

from keras_crosscoop import DeepLabV3Plus, backbones
from keras_crosscoop.errors import InputError
from keras_crosscoop.models.backbones.applications import APPLICATIONS

apps = keras.applications
FACTS = json.loads((Path(backbones.__file__).parent / "facts.json").read_text(encoding="utf-8"))


def given_by(name):
    return lambda model: model.get_layer(name).output


def read_by(name):
    return lambda model: model.get_layer(name).input


def xception_input(image):
    """With the border that its two unpadded convolutions take off again."""
    return np.pad(apps.xception.preprocess_input(image), ((0, 0), (3, 2), (3, 2), (0, 0)))


RESNET = (apps.resnet.preprocess_input, given_by("conv2_block3_out"), given_by("conv5_block3_out"))
EFFICIENTNET = (apps.efficientnet.preprocess_input, read_by("block3a_dwconv_pad"), read_by("top_conv"))
STOCK = {  # the network, its own preprocessing, and the features that DeepLabV3+ taps
    "resnet50": (apps.ResNet50, *RESNET),
    "resnet101": (apps.ResNet101, *RESNET),
    "resnet152": (apps.ResNet152, *RESNET),
    "mobilenet": (
        apps.MobileNet,
        apps.mobilenet.preprocess_input,
        given_by("conv_pw_3_relu"),
        given_by("conv_pw_13_relu"),
    ),
    "mobilenet_v2": (
        apps.MobileNetV2,
        apps.mobilenet_v2.preprocess_input,
        given_by("block_3_expand_relu"),
        given_by("block_16_project_BN"),
    ),
    "mobilenet_v3_large": (
        apps.MobileNetV3Large,
        apps.mobilenet_v3.preprocess_input,
        read_by("expanded_conv_3_depthwise_pad"),
        lambda model: model.output,
    ),
    **{f"efficientnet_b{i}": (getattr(apps, f"EfficientNetB{i}"), *EFFICIENTNET) for i in range(8)},
    "xception": (apps.Xception, xception_input, read_by("block3_pool"), given_by("block14_sepconv2_act")),
}
FILES = [  # in shared/weights, with alpha and an output stride
    ("mobilenet", "mobilenet_v1_0.75_imagenet_no_top.weights.h5", 0.75, 16),
    pytest.param("mobilenet_v2", "mobilenet_v2_1.0_imagenet_no_top.weights.h5", 1.0, 32, marks=pytest.mark.slow),
]

# Where a strided network's features lie among those of the same network dilated: a strided layer that pads one side
# more than the other looks one pixel further down and right; given up strides multiply that.
ONE_SIDED = {name for name in STOCK if name.startswith(("mobilenet", "efficientnet"))}

# The output strides to test, where not all: the layers of these are those of their smaller sisters.
STRIDES = {
    "resnet50": (32,),
    "resnet101": (32, 8),
    "resnet152": (16,),
    **{f"efficientnet_b{i}": (8,) for i in range(1, 8)},
}

# Whose weights come as ImageNet's would: EfficientNet has a layer more then. The others' come from a file.
FETCHED = {f"efficientnet_b{i}" for i in range(1, 8)}

LAST_UNITS = {  # whose rates `multi_grid` multiplies
    "resnet50": [f"conv5_block{i}_2_conv" for i in (1, 2, 3)],
    "xception65": [f"exit_flow_block2_unit_1_separable_conv{i}_depthwise" for i in (1, 2, 3)],
}


def enliven(model, image, attention=True):
    """Gives every batch normalisation random weights and the statistics of `image`: contrast down to the last layer.

    Without `attention` channels are weighted, but not by the whole map's mean, which dilation changes.
    """
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
            layer.momentum = 0.0
        if layer.name.endswith(("_se_expand", "_squeeze_excite_conv_1")):
            if not attention:
                layer.kernel.assign(np.zeros(layer.kernel.shape))
            layer.bias.assign(rng.normal(0, 1, layer.bias.shape))
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]) ** 2, np.array(1)])
            layer.finalize_state()
    model(image, training=True)


@contextmanager
def served(file):
    """Keras finds `file` where it would fetch ImageNet weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(file))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`input_shape` is undefined")
            yield


def tapped(name, model):
    """The features of a stock network that DeepLabV3+ reads, of RGB in [0, 255]."""
    _, preprocess, low, high = STOCK[name]
    taps = keras.Model(model.input, {"low": low(model), "high": high(model)})
    return lambda image: taps(preprocess(image.copy()))


QUICK = ("tiny_resnet", "resnet50", "mobilenet")  # a ResNet, and one that pads on one side; the others are slow


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in backbones.NAMES],
)
def network(request, tmp_path_factory):
    """A name, its backbone at each output stride with the same weights, and the stock network if there is one."""
    name, keras_model = request.param, None
    file = tmp_path_factory.mktemp("weights") / f"{name}.weights.h5"
    image = photograph(128, 160)
    if name in STOCK:
        keras_model = STOCK[name][0](include_top=False, weights=None, input_shape=(None, None, 3))
        enliven(keras_model, STOCK[name][1](image.copy()), attention=False)
        keras_model.save_weights(file)
    else:
        random = backbones.build(name, weights=None, output_stride=32)
        enliven(random, image)
        random.save_weights(file)
    with served(file):
        weights = "imagenet" if name in FETCHED else file
        strides = STRIDES.get(name, backbones.OUTPUT_STRIDES)
        dilated = {stride: backbones.build(name, weights=weights, output_stride=stride) for stride in strides}
    return name, dilated, keras_model


def features(model, image):
    return {tap: np.asarray(values) for tap, values in model(image).items()}


def assert_close(actual, expected):
    """To a thousandth of the features' own contrast: what float32 keeps over a hundred normalised layers."""
    assert expected.std() > 0.01
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-3 * expected.std())


def test_facts_are_those_of_the_network(network):
    """What `info --backbones` reads instead of building them all."""
    name, dilated, _ = network
    model = dilated[min(dilated)]
    (facts,) = (entry for entry in FACTS if entry["name"] == name)
    assert facts["parameters"] == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    for tap, strides in (("low", [4]), ("high", list(backbones.OUTPUT_STRIDES))):
        layer = model.output[tap]._keras_history.operation.name
        if name in APPLICATIONS and APPLICATIONS[name].activated:  # by a layer without a name of its own
            layer = f"{getattr(APPLICATIONS[name], tap)}, activated"
        assert facts[tap] == [layer, model.output[tap].shape[-1], strides]
    published = name in APPLICATIONS or backbones.OWN[name].load_imagenet
    assert bool(facts["origin"]) == bool(published)


@pytest.mark.parametrize("size", [(64, 96), (65, 33), (70, 111)])
def test_features_have_the_declared_strides(network, size):
    """To the pixel on multiples of the stride; elsewhere rounded up or down, as the network has it."""
    name, dilated, _ = network
    image = photograph(*size)
    for output_stride, model in dilated.items():
        assert model.name == name
        shapes = {tap: values.shape for tap, values in features(model, image).items()}
        for tap, stride in (("low", 4), ("high", output_stride)):
            assert model.output[tap].shape == (None, None, None, shapes[tap][-1])
            for pixels, length in zip(size, shapes[tap][1:3], strict=True):
                assert pixels // stride <= length <= -(-pixels // stride)


def test_features_are_those_of_keras_applications(network):
    """Of ResNets to the last bit: there even the preprocessing rounds alike."""
    name, dilated, stock = network
    if stock is None or 32 not in dilated:
        pytest.skip("built here" if stock is None else "as its smaller sister")
    taps = tapped(name, stock)
    for size in ((96, 128), (75, 101)):
        image = photograph(*size, seed=2)
        expected, ours = features(taps, image), features(dilated[32], image)
        for tap in ("low", "high"):
            assert_close(ours[tap], expected[tap])
            if name.startswith("resnet"):
                np.testing.assert_array_equal(ours[tap], expected[tap])


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_features_hold_the_strided_ones(network, output_stride):
    """Every feature of stride 32 is there, `32 / output_stride` apart, and between them there are new ones."""
    name, dilated, stock = network
    if output_stride not in dilated:
        pytest.skip("as its smaller sister")
    step = 32 // output_stride
    phase = step - 1 if name in ONE_SIDED else 0
    for size in ((96, 128), (97, 129)):
        image = photograph(*size, seed=3)
        strided = features(tapped(name, stock) if stock else dilated[32], image)
        dense = features(dilated[output_stride], image)
        assert_close(dense["low"], strided["low"])
        assert_close(dense["high"][:, phase::step, phase::step], strided["high"])
        contrast = strided["high"].std()
        others = [np.roll(dense["high"], shift, (1, 2))[:, phase::step, phase::step] for shift in ((1, 0), (0, 1))]
        assert all(np.abs(other - strided["high"]).mean() > 0.1 * contrast for other in others)


def test_every_dilated_convolution_is_native(network):
    for model in network[1].values():
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.Conv2D) and max(layer.dilation_rate) > 1:
                assert type(layer).__name__ == "AtrousConv2D"


def rates(model):
    """The dilation of every convolution that has any reach."""
    return {
        layer.name: layer.dilation_rate[0] for layer in model.layers if max(getattr(layer, "kernel_size", (1,))) > 1
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "xception65"])
def test_multi_grid_multiplies_the_rates_of_the_last_units(name):
    """At stride 16 they are 2, 4 and 8, and features are those of Keras's own layers, dilated by hand."""
    image, by_hand = photograph(128, 160), dict(zip(LAST_UNITS[name], (2, 4, 8), strict=True))
    plain = backbones.build(name, weights=None)
    enliven(plain, image)
    gridded = backbones.build(name, weights=None, multi_grid=[1, 2, 4])
    gridded.set_weights(plain.get_weights())
    assert {rates(plain)[unit] for unit in by_hand} == {2}
    assert rates(gridded) == rates(plain) | by_hand

    def clone(layer):
        kind = keras.layers.Conv2D if isinstance(layer, keras.layers.Conv2D) else type(layer)
        change = {"dilation_rate": by_hand[layer.name]} if layer.name in by_hand else {}
        return kind.from_config(layer.get_config() | change)

    reference = keras.models.clone_model(plain, clone_function=clone)
    reference.set_weights(plain.get_weights())
    ours, expected, without = (features(model, image) for model in (gridded, reference, plain))
    for tap in ("low", "high"):
        assert_close(ours[tap], expected[tap])
    assert np.abs(ours["high"] - without["high"]).mean() > 0.1 * without["high"].std()


@pytest.mark.parametrize(("name", "file", "alpha", "output_stride"), FILES)
def test_files_of_weights_give_the_features_of_keras_applications(shared, name, file, alpha, output_stride):
    file = shared / "weights" / file
    stock = STOCK[name][0](include_top=False, weights=None, alpha=alpha, input_shape=(None, None, 3))
    stock.load_weights(file)
    image = photograph(128, 96)
    expected = features(tapped(name, stock), image)
    ours = features(backbones.build(name, weights=file, alpha=alpha, output_stride=output_stride), image)
    step = 32 // output_stride
    assert_close(ours["low"], expected["low"])
    assert_close(ours["high"][:, step - 1 :: step, step - 1 :: step], expected["high"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v3_large", "efficientnet_b0"])
def test_imagenet_weights_stay_what_they_were_in_a_file(name, tmp_path):
    """A model that was built with them gives the same outputs when it is built without and loads its own."""
    network, preprocess, *_ = STOCK[name]
    stock, image = network(include_top=False, weights=None, input_shape=(None, None, 3)), photograph(128, 160)
    enliven(stock, preprocess(image.copy()))
    for layer in stock.layers:
        if isinstance(layer, keras.layers.Normalization):  # published files have deviations there, not their squares
            mean, variance, count = layer.get_weights()
            layer.set_weights([mean, np.sqrt(variance), count])
    stock.save_weights(tmp_path / "backbone.weights.h5")
    with served(tmp_path / "backbone.weights.h5"):
        stock = network(include_top=False, weights="imagenet", input_shape=(None, None, 3))
        model = DeepLabV3Plus(3, backbone=name, weights="imagenet", output_stride=32, decoder_channels=8)
    model.compile(keras.optimizers.SGD())
    expected, ours = features(tapped(name, stock), image), features(model.get_layer("single_backbone"), image)
    assert_close(ours["high"], expected["high"])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(np.asarray(loaded(image)["single"]), np.asarray(model(image)["single"]))


def test_xception_65_has_the_variables_of_its_checkpoint(shared):
    """All 660 of them, of the same shapes and, but for punctuation, the same names."""
    listed = json.loads((shared / "reference" / "xception_65_checkpoint_variables.json").read_text())
    expected = {}
    for name, shape in listed.items():
        name = name.removeprefix("xception_65/").replace("xception_module/", "").replace("/BatchNorm/", "_bn/")
        scope, variable = name.rsplit("/", 1)
        variable = "kernel" if variable.endswith("weights") else variable
        expected[scope.replace("/", "_"), variable] = shape
    ours = backbones.build("xception65", weights=None).variables
    actual = {tuple(variable.path.split("/")[1:]): list(variable.shape) for variable in ours}
    assert len(expected) == 660
    assert actual == expected


@pytest.mark.slow
def test_xception_65_is_built_as_its_checkpoint_was():
    """Epsilon 1e-3; no one-sided padding; activations between a block's convolutions in its last block only."""
    model = backbones.build("xception65", weights=None, output_stride=32)
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.epsilon for layer in normalizations} == {1e-3}
    for layer in model.layers:
        if getattr(layer, "kernel_size", (1,)) == (3, 3):
            assert layer.padding == ("same" if layer.strides == (1, 1) else "valid")
    between = [layer.name for layer in model.layers if layer.name.endswith("_depthwise_relu")]
    assert between == [f"exit_flow_block2_unit_1_separable_conv{i}_depthwise_relu" for i in (1, 2, 3)]
    low = model.output["low"]._keras_history.operation.name
    assert low == "entry_flow_block2_unit_1_separable_conv2_pointwise_bn"


def test_a_fixed_size_is_taken_and_variables_are_named_after_the_scope():
    arguments = {"input_shape": (64, 96, 3), "output_stride": 16, "weights": None}
    model = backbones.build("mobilenet", alpha=0.25, scope="top", **arguments)
    for network in (model, backbones.build("micro_3x3", **arguments)):
        assert {variable.path.split("/")[0] for variable in network.variables} == {network.name}
    assert {tap: values.shape for tap, values in model.output.items()} == {
        "low": (None, 16, 24, 32),
        "high": (None, 4, 6, 256),
    }


def test_names_are_those_of_the_issue():
    assert set(backbones.NAMES) >= {"xception65", *STOCK}
    assert set(STOCK) == set(APPLICATIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet-101"}, r'There is no backbone of that name\. Did you mean "resnet101"\? Received: '),
        ({"name": "tiny_resnet", "output_stride": 12}, r"`output_stride` must be one of \(8, 16, 32\)\. Received: 12"),
        ({"name": "tiny_resnet", "alpha": 0.5}, r'"tiny_resnet" takes no options\. Received: \{\'alpha\': 0\.5\}'),
        ({"name": "mobilenet", "alfa": 0.5}, r"MobileNet could not be built.* options \{'alfa': 0\.5\}.*Received"),
        (
            {"name": "tiny_xception", "weights": "imagenet"},
            r"no ImageNet weights to fetch.*Received: weights='imagenet'",
        ),
        ({"name": "tiny_xception", "multi_grid": (1, 2, 4)}, r"takes no options\. Received: .*multi_grid.*\(1, 2, 4\)"),
        ({"name": "mobilenet", "multi_grid": (1, 2, 4)}, r"MobileNet could not be built.*multi_grid.*Received: "),
        ({"name": "xception65", "alpha": 0.5}, r'"xception65" takes no options but multi_grid\. Received: .*alpha'),
        ({"name": "resnet101", "alpha": 0.5}, r"ResNet101 could not be built.* options \{'alpha': 0\.5\}.*Received: "),
        ({"name": "mobilenet", "alpha": 1e9}, r"options must be in 0 to 16\. Received: \{'alpha': 1000000000\.0\}"),
        ({"name": "mobilenet", "alpha": float("nan")}, r"options must be in 0 to 16\. Received: \{'alpha': nan\}"),
        ({"name": "resnet101", "multi_grid": [1, 2, 2**31]}, r"options must be in 0 to 16\. Received: .*2147483648"),
        ({"name": "xception65", "multi_grid": (1, 2)}, r"`multi_grid` must be three positive .*Received: \(1, 2\)"),
        (
            {"name": "resnet152", "multi_grid": [1, 0, 4]},
            r"`multi_grid` must be three positive .*Received: \[1, 0, 4\]",
        ),
        ({"name": "tiny_resnet", "weights": "nowhere.weights.h5"}, r"no such file of weights.*Received: nowhere"),
        ({"name": "mobilenet", "weights": "nowhere.weights.h5"}, r"no such file of weights.*Received: nowhere"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        backbones.build(**{"weights": None, **arguments})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["micro_3x3", pytest.param("mobilenet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["text", "cut", "damaged", "other"])
def test_files_that_hold_no_fitting_weights_are_refused_in_one_line(name, kind, tmp_path):
    """And in silence: no warning of Keras's comes before."""
    file, message = tmp_path / "some.weights.h5", "file of weights cannot be read"
    right = backbones.build(name, weights=None)
    match kind:
        case "text":
            file.write_text("hello\n")
        case "cut":
            right.save_weights(file)
            file.write_bytes(file.read_bytes()[:10_000])
        case "damaged":
            right.save_weights(file)
            file.write_bytes(file.read_bytes().replace(b"SNOD", b"XXXX"))
        case "other":
            message = f'weights do not fit "{name}'
            backbones.build("micro_5x5", weights=None).save_weights(file)
    with pytest.raises(InputError, match=rf"{message}.*Received: .*{file.name}") as error:
        backbones.build(name, weights=file)
    assert "\n" not in str(error.value)
