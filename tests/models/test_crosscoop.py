"""The networks: who depends on whom, what each layer reads, how far ASPP sees, how large they are, any image size."""

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.networks import images, logits, single

from keras_crosscoop import CrossCoop, backbones, precision
from keras_crosscoop.errors import InputError
from keras_crosscoop.losses import CrossEntropy
from keras_crosscoop.models.connections import SITES
from keras_crosscoop.training import SGD

SIDES = ("top", "bottom")
MIXED = {"top": "mobilenet_v2", "bottom": {"name": "mobilenet", "alpha": 0.25}}  # round odd sizes differently


@pytest.mark.parametrize(("output_stride", "rates"), [(32, (3, 6, 9)), (16, (6, 12, 18)), (8, (12, 24, 36))])
def test_aspp_reaches_exactly_its_rates(shared_pair, output_stride, rates):
    """An impulse in what a branch reads comes out of its convolution at nine points, `rate` apart."""
    model = shared_pair(output_stride=output_stride)
    for side in SIDES:
        convolutions = [layer.name for layer in model.layers if layer.name.startswith(f"{side}_aspp_rate")]
        names = [name for name in convolutions if name.endswith("_conv")]
        assert names == [
            f"{side}_aspp_rate_{rate}_conv" for rate in (6, 12, 18)
        ]  # at every stride, so that weights fit
        for name, rate in zip(names, rates, strict=True):
            layer = model.get_layer(name)
            branch = keras.Model(layer.input, layer.output)
            kernel = np.zeros(layer.kernel.shape, "float32")
            kernel[:, :, 1, 2] = np.arange(1, 10).reshape(3, 3)
            layer.kernel.assign(kernel)
            impulse = np.zeros((1, 81, 81, kernel.shape[2]), "float32")
            impulse[0, 40, 40, 1] = 1
            expected = np.zeros((81, 81), "float32")
            taps = 40 + rate * np.arange(-1, 2)
            expected[np.ix_(taps, taps)] = kernel[::-1, ::-1, 1, 2]
            np.testing.assert_array_equal(branch(impulse)[0, :, :, 2], expected)


def test_the_graph_reads_as_the_figure(shared_pair):
    """From each layer that sends to each that reads, by side: the pair's own layers, less those of a lone network."""
    model = shared_pair(output_stride=16)
    reads = {}
    for layer in model.layers:
        if layer.name.endswith("_connection"):
            own, partner = (tensor._keras_history.operation.name for tensor in layer.input)
            reads[layer.name] = (own, partner)
    expected = {}
    sends = {
        "backbone": "backbone",
        "aspp_1x1": "aspp_1x1_relu",
        **{f"aspp_rate_{rate}": f"aspp_rate_{rate}_relu" for rate in (6, 12, 18)},
        "aspp_pool": "aspp_pool_resize",
        "aspp_output": "aspp_dropout",
        "decoder_low": "decoder_low_relu",
        "decoder_1": "decoder_1_dropout",
        "decoder_2": "decoder_2_dropout",
    }
    for own, partner in (SIDES, SIDES[::-1]):
        for site, layer in sends.items():
            expected[f"{own}_{site}_connection"] = (f"{own}_{layer}", f"{partner}_{layer}")
    assert reads == expected


def channels_read(model):
    """Input channels of the convolutions behind each site, by side."""
    consumers = {"backbone": "aspp_1x1", "aspp": "aspp_output", "aspp_output+low": "decoder_1", "decoder": "decoder_2"}
    return {
        side: {
            **{site: model.get_layer(f"{side}_{name}_conv").kernel.shape[2] for site, name in consumers.items()},
            "classifier": model.get_layer(f"{side}_classifier").kernel.shape[2],
        }
        for side in model.sides
    }


@pytest.mark.parametrize(
    ("topology", "sites"),
    [
        ("cross", SITES),
        *(("cross", (site,)) for site in SITES),
        ("one_way", ("backbone", "aspp_output", "decoder")),
    ],
)
def test_each_site_can_be_turned_off(shared_pair, topology, sites):
    """8 channels in ASPP and decoder, 48 low-level ones, 16 from each backbone; a side reads only what it receives."""
    model = shared_pair(topology=topology, sites=sites)
    twice = {site: 2 if site in sites else 1 for site in SITES}
    receives = {
        "backbone": 16 * twice["backbone"],
        "aspp": 5 * 8 * twice["aspp"],
        "aspp_output+low": 8 * twice["aspp_output"] + 48 * twice["decoder"],
        "decoder": 8 * twice["decoder"],
        "classifier": 8 * twice["decoder"],
    }
    alone = {"backbone": 16, "aspp": 40, "aspp_output+low": 56, "decoder": 8, "classifier": 8}
    assert channels_read(model) == {"top": receives if topology == "cross" else alone, "bottom": receives}


@pytest.fixture(scope="module")
def lone_networks():
    return {"top": single(), "bottom": single(backbone="micro_5x5")}


@pytest.mark.parametrize("arguments", [{"topology": "none"}, {"sites": ()}])
def test_without_paths_the_pair_is_two_single_networks(shared_pair, lone_networks, arguments):
    model = shared_pair(**arguments)
    assert not [layer.name for layer in model.layers if "connection" in layer.name]
    image = images(33, 33)
    actual = logits(model, image)
    for side, lone in lone_networks.items():
        own = [w for w in model.weights if w.path.startswith(side)]
        assert [w.path.removeprefix(side) for w in own] == [w.path.removeprefix("single") for w in lone.weights]
        for weight, value in zip(lone.weights, own, strict=True):
            weight.assign(value)
        np.testing.assert_allclose(logits(lone, image)["single"], actual[side], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "dependents"),
    [
        ({"output_stride": 16}, {"top": {"top", "bottom"}, "bottom": {"top", "bottom"}}),
        ({"topology": "one_way"}, {"top": {"top", "bottom"}, "bottom": {"bottom"}}),
        ({"topology": "none"}, {"top": {"top"}, "bottom": {"bottom"}}),
        *(
            ({"topology": "cross", "sites": (site,)}, {"top": {"top", "bottom"}, "bottom": {"top", "bottom"}})
            for site in SITES
        ),
        ({"fusion": "add"}, {"top": {"top", "bottom"}, "bottom": {"top", "bottom"}}),
        ({"channel_reduction": 4}, {"top": {"top", "bottom"}, "bottom": {"top", "bottom"}}),
    ],
)
def test_which_outputs_change_with_each_backbone(shared_pair, arguments, dependents):
    """All of its kernels are halved: the outputs that depend on it change, the others do not by a single bit."""
    model, image = shared_pair(**arguments), images(33, 33)
    before = logits(model, image)
    for backbone, expected in dependents.items():
        kernels = [w for w in model.weights if w.path.startswith(f"{backbone}_backbone") and w.path.endswith("kernel")]
        for kernel in kernels:
            kernel.assign(kernel / 2)
        after = logits(model, image)
        assert {side for side in SIDES if not np.array_equal(before[side], after[side])} == expected
        for side in expected:
            assert np.abs(after[side] - before[side]).max() > 1e-3 * before[side].std()
        before = after


@pytest.mark.parametrize(
    "arguments",
    [
        {"output_stride": 16},
        {"topology": "one_way"},
        {"fusion": "add"},
        {"channel_reduction": 4},
        None,
    ],
    ids=["cross", "one_way", "add", "reduced", "single"],
)
def test_every_trainable_weight_receives_gradient(shared_pair, arguments):
    model = single() if arguments is None else shared_pair(**arguments)
    image, labels = images(33, 33, batch=4), np.random.default_rng(1).integers(0, 3, (4, 33, 33))
    with tf.GradientTape() as tape:
        outputs = model(image, training=True)
        loss = sum(CrossEntropy()(labels, outputs[side]) for side in outputs)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    without = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None or not np.any(g)]
    assert without == []


def test_adding_needs_equal_channels_where_it_is_done(pair):
    """After backbones of 16 and 12 channels it cannot be; elsewhere it can."""
    unequal = {"bottom": {"name": "micro_5x5", "channels": 12}, "fusion": "add"}
    with pytest.raises(InputError, match=r'"add" needs equal channels.*top.*16.*12.*Received') as error:
        pair(**unequal)
    assert "\n" not in str(error.value)
    pair(**unequal, sites=("aspp", "aspp_output", "decoder"))


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({"output_stride": 8}, [(1, 1), (5, 7), (33, 65)]),
        ({"output_stride": 16}, [(1, 1), (5, 7), (33, 65), (64, 48)]),
        ({"output_stride": 32}, [(1, 1), (33, 65)]),
        pytest.param(MIXED, [(1, 1), (33, 65), (100, 131)], marks=pytest.mark.slow),
    ],
    ids=["8", "16", "32", "mixed"],
)
def test_logits_have_any_images_size(shared_pair, arguments, sizes):
    """And they are those of the image padded by hand below and to the right, cut."""
    model = shared_pair(**arguments)
    multiple = arguments.get("output_stride", 16)
    for height, width in sizes:
        image = images(height, width, batch=2)
        padding = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
        by_hand = logits(model, np.pad(image, padding, constant_values=127.5))
        for side, array in logits(model, image).items():
            assert array.shape == (2, height, width, 3)
            assert array.dtype == "float32"
            assert np.isfinite(array).all()
            np.testing.assert_allclose(array, by_hand[side][:, :height, :width], rtol=1e-4, atol=1e-5)


def test_logits_are_resized_from_the_decoder(shared_pair):
    """Bilinear, from a quarter of the padded size."""
    model, image = shared_pair(output_stride=16), images(40, 56)
    coarse = keras.Model(model.input, model.get_layer("top_classifier").output)(image)
    assert coarse.shape == (1, 12, 16, 3)
    expected = tf.image.resize(coarse, (48, 64), "bilinear")[:, :40, :56]
    np.testing.assert_allclose(model(image)["top"], expected, atol=1e-5)


def test_a_fixed_size_is_told():
    model = single(input_shape=(40, 56, 3))
    assert model.output["single"].shape == (None, 40, 56, 3)


@pytest.fixture(scope="module")
def half(pair):
    """A pair in bfloat16, built under another default policy than tests run with."""
    with precision.policy("mixed_bfloat16"):
        return pair()


def test_logits_are_float32_in_mixed_precision(shared_pair, half):
    """Computed in bfloat16 up to the classifier, from float32 weights, and close to what float32 gives."""
    model, image = half, images(33, 33)
    assert {w.dtype for w in model.weights} == {"float32"}
    for name in ("top_decoder_2_conv", "bottom_aspp_rate_6_conv"):
        assert model.get_layer(name).compute_dtype == "bfloat16"
    actual = logits(model, image)
    assert {values.dtype.name for values in actual.values()} == {"float32"}
    exact = shared_pair(output_stride=16)
    exact.set_weights(model.get_weights())
    for side, values in logits(exact, image).items():
        np.testing.assert_allclose(actual[side], values, atol=0.1 * values.std())


def test_training_in_mixed_precision_stays_finite(half):
    half.compile(SGD(0.01), run_eagerly=True)
    logs = half.train_on_batch(images(33, 33, batch=2), np.zeros((2, 33, 33), "uint8"), return_dict=True)
    assert np.isfinite([*logs.values()]).all()
    assert all(np.isfinite(w).all() for w in half.get_weights())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"topology": "one-way"}, "There is no topology of that name. Did you mean \"one_way\"? Received: 'one-way'."),
        ({"fusion": "concatenate"}, 'Did you mean "concat"?'),
        ({"channel_reduction": 0}, "`channel_reduction` must be 1 (for all channels) or more. Received: 0"),
        (
            {"channel_reduction": 8, "fusion": "add"},
            '`channel_reduction` needs fusion="concat". Received: channel_reduction=8',
        ),
        (
            {"sites": ("aspp", "decoders")},
            "There is no site of that name. Did you mean \"decoder\"? Received: 'decoders'",
        ),
        ({"top": "tiny_xeption"}, 'There is no backbone of that name. Did you mean "tiny_xception"?'),
        ({"bottom": {"name": "mobilnet", "alpha": 0.25}}, 'Did you mean "mobilenet"?'),
        ({"output_stride": 4}, "`output_stride` must be one of (8, 16, 32). Received: 4"),
        ({"weights": {"top": None}}, '`weights` must name "top" and "bottom", or be one for both. Received:'),
        ({"weights": "imagenet"}, 'Backbone "micro_3x3" has no ImageNet weights'),
        ({"topology": "crss", "sites": ()}, 'Did you mean "cross"?'),
        ({"top": {"alpha": 0.25}}, "Received: {'alpha': 0.25}"),
        ({"top": {"name": "mobilenet", "weights": None}}, "Received: {'name': 'mobilenet', 'weights': None}"),
        ({"dropout": (0.5, 0.1)}, "`dropout` must be three rates"),
        ({"num_classes": 256}, "`num_classes` must lie in 1 to 255"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(pair, arguments, message):
    with pytest.raises(InputError) as error:
        pair(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_are_of_each_side(pair, tmp_path):
    """A file for one backbone leaves the other, and all the rest, random."""
    backbone = backbones.build("micro_5x5", weights=None)
    for weight in backbone.weights:
        weight.assign(np.full(weight.shape, 0.5))
    backbone.save_weights(tmp_path / "bottom.weights.h5")
    model = pair(weights={"top": None, "bottom": tmp_path / "bottom.weights.h5"})
    assert {w.path.split("/")[0] for w in model.weights if np.all(w.numpy() == 0.5)} == {"bottom_backbone"}
    assert all(np.all(w.numpy() == 0.5) for w in model.get_layer("bottom_backbone").weights)


# The paper's pair, weighed.


@pytest.fixture(scope="module")
def paper():
    """Trainable parameters of the pair, with and without paths: of all, and by the beginning of their path."""

    def parameters(model, begins="", ends=""):
        ours = [w for w in model.trainable_weights if w.path.startswith(begins) and w.path.endswith(ends)]
        return sum(int(np.prod(w.shape)) for w in ours)

    def weigh(topology):
        model = CrossCoop(21, weights=None, topology=topology)
        counts = {
            begins: parameters(model, begins) for begins in ("", "top", "bottom", *(f"{s}_backbone" for s in SIDES))
        }
        return counts | {"biases": parameters(model, "bottom_backbone", "/bias")}

    return weigh("none"), weigh("cross")


def millions(count):
    return round(count / 1e6, 2)


@pytest.mark.slow
def test_parameters_of_the_backbones(paper):
    """ResNet-101 has biases beside its normalisation in Keras Applications, none in the count."""
    for counts in paper:
        assert millions(counts["top_backbone"]) == 37.87
        assert millions(counts["bottom_backbone"] - counts["biases"]) == 42.50
        assert counts["biases"] == 52_672  # 64 + 3 (64 + 64 + 256) + 256 + ... as the table of the network has it


@pytest.mark.slow
def test_parameters_of_the_networks(paper):
    none, cross = paper
    assert millions(none["top"]) == 54.71
    assert millions(none["bottom"] - none["biases"]) == 59.34
    assert none[""] == none["top"] + none["bottom"]
    assert none[""] - none["biases"] == pytest.approx(114.05e6, abs=0.01e6)  # printed: the two figures' sum
    assert round((cross[""] - cross["biases"]) / 1e6, 1) == 147.7


# Files.


def test_every_layer_is_named_after_its_side(shared_pair):
    shared = {"image", "pad"}
    names = [layer.name for layer in shared_pair(output_stride=16).layers if layer.name not in shared]
    assert {name.split("_")[0] for name in names} == set(SIDES)
    assert all(a != b for a, b in pairwise(sorted(names)))
