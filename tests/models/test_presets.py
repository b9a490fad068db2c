"""A preset is data: arguments of `CrossCoop`, and it builds what they say."""

import json

import numpy as np
import pytest

from keras_crosscoop import CrossCoop, DeepLabV3Plus, backbones
from keras_crosscoop.errors import InputError


@pytest.fixture
def built(monkeypatch):
    """What backbones are asked for; micro ones are given instead, for none is to be fetched."""
    asked, build = [], backbones.build

    def build_micro(name, *, output_stride, weights, **options):
        asked.append((options["scope"], name, output_stride, weights))
        return build("micro_3x3", output_stride=output_stride, weights=None, **options)

    monkeypatch.setattr(backbones, "build", build_micro)
    return asked


@pytest.mark.parametrize(
    ("preset", "top", "bottom", "channels", "weights"),
    [
        ("xception65_resnet101", "xception65", "resnet101", 256, "imagenet"),
        ("mobilenet_v2_efficientnet_b0", "mobilenet_v2", "efficientnet_b0", 128, "imagenet"),
        ("tiny", "tiny_xception", "tiny_resnet", 32, None),
    ],
)
def test_a_preset_builds_what_it_says(built, preset, top, bottom, channels, weights):
    model = CrossCoop.from_preset(preset, num_classes=19)
    assert built == [("top_backbone", top, 16, weights), ("bottom_backbone", bottom, 16, weights)]
    assert {side: logits.shape[-1] for side, logits in model.output.items()} == {"top": 19, "bottom": 19}
    assert model.get_layer("top_decoder_2_conv").filters == channels
    assert model.get_config()["topology"] == "cross"


def test_the_tiny_preset_is_ready_to_train():
    model = CrossCoop.from_preset("tiny", 3)
    config = model.get_config()
    assert (config["top"], config["bottom"], config["dropout"]) == ("tiny_xception", "tiny_resnet", (0, 0, 0))
    assert model(np.zeros((1, 32, 32, 3)))["top"].shape == (1, 32, 32, 3)


def test_arguments_replace_those_of_a_preset(built):
    model = CrossCoop.from_preset(
        "xception65_resnet101", 2, top="resnet50", decoder_channels=8, output_stride=8, weights=None
    )
    assert built == [("top_backbone", "resnet50", 8, None), ("bottom_backbone", "resnet101", 8, None)]
    assert model.get_layer("top_decoder_2_conv").filters == 8


def test_presets_are_listed_and_hold_nothing_but_data():
    assert list(CrossCoop.presets) == ["xception65_resnet101", "mobilenet_v2_efficientnet_b0", "tiny"]
    for arguments in CrossCoop.presets.values():
        json.dumps(dict(arguments))
        assert {arguments["top"], arguments["bottom"]} <= set(backbones.NAMES)
    with pytest.raises(TypeError):
        CrossCoop.presets["mine"] = {}


def test_a_preset_that_does_not_exist_is_refused():
    with pytest.raises(
        InputError, match=r'There is no preset of that name\. Did you mean "tiny"\? Received: \'tinny\''
    ):
        CrossCoop.from_preset("tinny", 3)


def test_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        CrossCoop.presets["tiny"]["decoder_channels"] = 64


@pytest.mark.parametrize(("kind", "backbone"), [(CrossCoop, "top"), (DeepLabV3Plus, "backbone")])
def test_misspelt_arguments_are_refused(built, kind, backbone):
    """Keras would pass over them."""
    with pytest.raises(
        InputError, match=r'no argument of that name\. Did you mean "decoder_channels"\? Received: \'decoder_chanels\''
    ):
        kind(3, decoder_chanels=16, weights=None, **{backbone: "micro_3x3"})
