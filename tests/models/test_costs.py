"""Costs are those that TensorFlow's profiler counts, that paper and pencil give, and that arrays really have."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop import CrossCoop, DeepLabV3Plus, precision
from keras_crosscoop.errors import InputError
from keras_crosscoop.models import costs
from keras_crosscoop.models.connections import SITES
from keras_crosscoop.models.costs import Cost
from keras_crosscoop.models.segmenter import Segmenter

SIZE = {"input_shape": (65, 96, 3)}  # padded to 80x96
PROFILED = ("Conv2D", "DepthwiseConv2dNative")


def total(model):
    return sum((part.cost for part in costs.components(model)), Cost())


def profiled_flops(model):
    """What TensorFlow's own profiler counts for convolutions, of one image."""
    specification = tf.TensorSpec((1, *model.input_shape[1:]))
    graph = tf.function(model).get_concrete_function(specification).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with graph.as_default():
        profile = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    float_ops = {}
    children = list(profile.children)
    while children:
        node = children.pop()
        children += node.children
        float_ops[node.name] = node.float_ops
    assert all(float_ops[name] > 0 for name in PROFILED)
    return sum(float_ops[name] for name in PROFILED)


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_shape": (70, 33, 3), "top": "tiny_xception", "topology": "one_way"},  # with depthwise convolutions
        pytest.param(
            {"input_shape": (64, 64, 3), "top": "mobilenet_v2", "bottom": "xception", "decoder_channels": 16},
            marks=pytest.mark.slow,
        ),
        pytest.param(  # squeeze-and-excite: vectors `(B, C)`, and images of one pixel
            {"input_shape": (70, 33, 3), "top": "mobilenet_v3_large", "bottom": "efficientnet_b0"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_operations_are_those_that_tensorflow_counts(pair, arguments):
    """At stride 32: a depthwise convolution that is dilated is counted there on its padded batches."""
    model = pair(output_stride=32, **arguments)
    assert total(model).flops == profiled_flops(model)


def test_layers_of_other_ranks_are_counted_by_hand():
    """Two operations for each number of a kernel, at every position but the channels'; none for normalisations."""
    image = keras.Input((6, 5, 3))
    features = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0] * 3, name="single_backbone_n")(image)
    features = keras.layers.SeparableConv2D(4, 3, padding="same", strides=2, name="single_backbone_s")(features)
    vector = keras.layers.GlobalAveragePooling2D(name="single_aspp_pool")(features)
    vector = keras.layers.LayerNormalization(name="single_aspp_norm")(vector)
    gate = keras.layers.Dense(4, use_bias=False, name="single_aspp_vector")(vector)
    features = keras.layers.Multiply(name="single_aspp_gate")([features, gate])
    features = keras.layers.Dense(5, name="single_aspp_map")(features)
    logits = keras.layers.Conv2D(2, 1, name="single_decoder_conv")(features)
    by_name = {part.name: part.cost for part in costs.components(Segmenter(image, {"single": logits}, {}))}
    positions, numbers = 3 * 3, 4  # of a feature map; bytes of each
    assert by_name == {
        "backbone": Cost(9 * 3 + 3 * 4 + 4, 2 * positions * (9 * 3 + 3 * 4), numbers * (6 * 5 * 3 + positions * 4)),
        "aspp": Cost(
            2 * 4 + 4 * 4 + 4 * 5 + 5, 2 * (4 * 4 + positions * 4 * 5), numbers * (3 * 4 + positions * (4 + 5))
        ),
        "decoder": Cost(5 * 2 + 2, 2 * positions * 5 * 2, numbers * positions * 2),
    }


@pytest.mark.parametrize("topology", ["cross", "none"])
def test_parameters_are_those_that_are_trained(shared_pair, topology):
    model = shared_pair(topology=topology, **SIZE)
    assert total(model).parameters == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_activations_are_the_bytes_of_what_every_layer_gives(shared_pair):
    model = shared_pair(topology="cross", **SIZE)
    image = np.zeros((1, *SIZE["input_shape"]), "float32")

    def given(network, image):
        nothing = keras.Model | keras.layers.InputLayer
        outputs = [layer.output for layer in network.layers if not isinstance(layer, nothing)]
        return [np.asarray(array) for array in keras.Model(network.input, outputs)(image)]

    arrays = given(model, image)
    padded = model.get_layer("pad")(image)
    of_pad = np.asarray(padded)
    for side in model.sides:
        arrays += given(model.get_layer(f"{side}_backbone"), padded)
    assert total(model).activations == sum(array.nbytes for array in arrays) - of_pad.nbytes


def test_parts_hand_on_what_the_next_part_reads(shared_pair):
    """With `cross` both networks' channels; in pixels of the padded image over the stride, and in the end its own."""
    model = shared_pair(output_stride=8, **SIZE)
    parts = costs.components(model)
    assert [(part.side, part.name) for part in parts] == [
        (side, name) for side in ("top", "bottom") for name in ("backbone", "aspp", "decoder")
    ]
    assert [part.output for part in parts if part.side == "top"] == [(9, 12, 32), (9, 12, 16), (65, 96, 3)]
    alone = costs.components(shared_pair(topology="none", **SIZE))
    assert [part.output for part in alone if part.side == "top"] == [(5, 6, 16), (5, 6, 8), (65, 96, 3)]


def test_single_networks_have_one_side():
    model = DeepLabV3Plus(3, backbone="micro_3x3", decoder_channels=8, weights=None, input_shape=(64, 64, 3))
    assert {part.side for part in costs.components(model)} == {"single"}


@pytest.mark.parametrize(
    ("topology", "sites", "receivers"), [("cross", SITES, 2), ("one_way", ("backbone", "aspp"), 1)]
)
def test_sites_cost_what_reading_the_partner_takes(pair, topology, sites, receivers):
    """By hand: every kernel that reads a connection has the partner's channels on top of its own."""
    width, high, low = 8, 5 * 6, 20 * 24
    model = pair(topology=topology, sites=sites, **SIZE)
    partner = 16  # channels of both backbones
    expected = {  # (parameters, multiplications) of one receiver
        "backbone": [(partner * width, high)] + 3 * [(9 * partner * width, high)] + [(partner * width, 1)],
        "aspp": [(5 * width * width, high)],
        "aspp_output": [(9 * width * width, low)],
        "decoder": [(9 * 48 * width, low), (9 * width * width, low), (width * 3, low)],
    }
    by_site = costs.site_costs(model)
    assert tuple(by_site) == sites
    for site, cost in by_site.items():
        assert cost.parameters == receivers * sum(parameters for parameters, _ in expected[site]), site
        assert cost.flops == receivers * 2 * sum(parameters * pixels for parameters, pixels in expected[site]), site
    four = np.dtype("float32").itemsize
    # the concatenation, and what image pooling makes of the partner's share
    assert by_site["backbone"].activations == receivers * four * (high * 2 * partner + partner)
    # the concatenation of each branch, and five times the partner's width in that of all branches; pooling is resized
    assert by_site["aspp"].activations == receivers * four * high * (5 * 2 * width + 5 * width)


def test_sites_without_connections_cost_nothing(pair):
    model = pair(topology="none", sites=["aspp", "decoder"], **SIZE)
    assert costs.site_costs(model) == {"aspp": Cost(), "decoder": Cost()}


def test_frozen_layers_are_computed_all_the_same():
    model = DeepLabV3Plus(3, backbone="micro_3x3", decoder_channels=8, weights=None, **SIZE)
    before = total(model)
    backbone = model.get_layer("single_backbone")
    frozen = sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)
    backbone.trainable = False
    assert total(model).flops == before.flops
    assert total(model).parameters == before.parameters - frozen


def test_half_precision_halves_the_activations(pair):
    """Those of sites too, in the model's own precision."""
    models = {}
    for name in ("float32", "mixed_bfloat16"):
        with precision.policy(name):
            models[name] = pair(sites=["aspp"], **SIZE)
    full, half = ({(part.side, part.name): part.cost for part in costs.components(m)} for m in models.values())
    assert half["top", "backbone"].activations * 2 == full["top", "backbone"].activations
    assert half["top", "decoder"].activations * 2 > full["top", "decoder"].activations  # whose logits stay float32
    full, half = (costs.site_costs(model)["aspp"] for model in models.values())
    assert half.activations * 2 == full.activations > 0
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_the_papers_pair_costs_what_the_design_says():
    """37.87 M and 42.50 M (and the biases of Keras's ResNet), 147.7 M in all; Connection 1 is by far the dearest."""
    model = CrossCoop(21, weights=None, input_shape=(513, 513, 3))
    parts = {(part.side, part.name): part for part in costs.components(model)}
    assert f"{parts['top', 'backbone'].cost.parameters / 1e6:.2f}" == "37.87"
    assert f"{parts['bottom', 'backbone'].cost.parameters / 1e6:.2f}" == "42.55"
    assert f"{total(model).parameters / 1e6:.1f}" == "147.8"
    assert parts["top", "backbone"].output == (33, 33, 4096)


def test_a_size_must_be_known(shared_pair):
    for count in (costs.components, costs.site_costs):
        with pytest.raises(InputError, match=r"fixed image size.*input_shape.*Received: \(None, None, 3\)"):
            count(shared_pair(output_stride=16))
