"""Who reads what: the table of the paper's three networks."""

import keras
import numpy as np
import pytest

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.connections import SITES, cooperation

TOP, BOTTOM = np.full((1, 2, 3, 2), 1, "float32"), np.full((1, 2, 3, 2), 5, "float32")
ONE, FIVE, SIX = [1, 1], [5, 5], [6, 6]

READS = [
    ("none", "concat", ONE, FIVE),
    ("none", "add", ONE, FIVE),
    ("one_way", "concat", ONE, FIVE + ONE),
    ("one_way", "add", ONE, SIX),
    ("cross", "concat", ONE + FIVE, FIVE + ONE),
    ("cross", "add", SIX, SIX),
]


def connected(topology, fusion, *arrays):
    inputs = [keras.Input(array.shape[1:]) for array in arrays]
    features = dict(zip(("top", "bottom"), inputs, strict=True))
    reads = cooperation(topology, fusion=fusion)("decoder", features, "here")
    assert list(features.values()) == inputs  # what was computed is left as it was
    return keras.Model(inputs, reads)


@pytest.mark.parametrize(("topology", "fusion", "top", "bottom"), READS)
def test_each_side_reads_its_own_features_first(topology, fusion, top, bottom):
    reads = connected(topology, fusion, TOP, BOTTOM)([TOP, BOTTOM])
    np.testing.assert_array_equal(reads["top"], np.broadcast_to(top, (1, 2, 3, len(top))))
    np.testing.assert_array_equal(reads["bottom"], np.broadcast_to(bottom, (1, 2, 3, len(bottom))))


def test_concatenation_joins_unequal_channels():
    wide = np.concatenate([BOTTOM, 2 * BOTTOM], axis=-1)
    reads = connected("cross", "concat", TOP, wide)([TOP, wide])
    np.testing.assert_array_equal(reads["top"][0, 0, 0], [1, 1, 5, 5, 10, 10])
    np.testing.assert_array_equal(reads["bottom"][0, 0, 0], [5, 5, 10, 10, 1, 1])


def test_reduced_features_are_made_of_all_of_the_partners():
    """Of 6 channels 2, one in 4 rounded up; the network's own stay as they are."""
    rng = np.random.default_rng(0)
    own, partner = rng.normal(size=(1, 2, 3, 2)).astype("float32"), rng.normal(size=(1, 2, 3, 6)).astype("float32")
    inputs = [keras.Input(array.shape[1:]) for array in (own, partner)]
    features = dict(zip(("top", "bottom"), inputs, strict=True))
    reads = cooperation("cross", channel_reduction=4)("decoder", features, "here")
    model = keras.Model(inputs, reads)
    outputs = model([own, partner])
    kernel = model.get_layer("top_here_received_conv").kernel.numpy()
    assert kernel.shape == (1, 1, 6, 2)
    expected = np.maximum(partner @ kernel[0, 0] / np.sqrt(1 + 1e-5), 0)  # a new normalisation
    np.testing.assert_allclose(outputs["top"], np.concatenate([own, expected], axis=-1), atol=1e-5)
    assert outputs["bottom"].shape[-1] == 6 + 1


def test_only_the_receiving_network_reads_reduced_features():
    features = {side: keras.Input((2, 3, channels)) for side, channels in (("top", 8), ("bottom", 6))}
    reads = cooperation("one_way", channel_reduction=4)("decoder", features, "here")
    assert reads["top"] is features["top"]
    assert reads["bottom"].shape[-1] == 6 + 2


@pytest.mark.parametrize("channels", [1, 3])
def test_addition_refuses_unequal_channels(channels):
    """A single channel too, which would broadcast."""
    other = np.ones((1, 2, 3, channels), "float32")
    with pytest.raises(InputError, match=r'"add" needs equal channels.*Use "concat".*Received') as error:
        connected("cross", "add", TOP, other)
    assert "\n" not in str(error.value)


def test_connections_are_named_after_side_and_site():
    names = {layer.name for layer in connected("cross", "concat", TOP, BOTTOM).layers}
    assert {"top_here_connection", "bottom_here_connection"} <= names


@pytest.mark.parametrize(
    ("topology", "fusion", "message"),
    [
        ("crss", "concat", "There is no topology of that name. Did you mean \"cross\"? Received: 'crss'."),
        ("one-way", "concat", "There is no topology of that name. Did you mean \"one_way\"? Received: 'one-way'."),
        ("cross", "concatenate", "There is no fusion of that name. Did you mean \"concat\"? Received: 'concatenate'."),
        ("cross", "mul", "There is no fusion of that name. Valid: concat, add. Received: 'mul'."),
    ],
)
def test_unknown_names_get_the_nearest_valid_one(topology, fusion, message):
    with pytest.raises(InputError) as error:
        connected(topology, fusion, TOP, BOTTOM)
    assert str(error.value) == message


def test_sites_are_the_four_of_the_design():
    assert SITES == ("backbone", "aspp", "aspp_output", "decoder")
