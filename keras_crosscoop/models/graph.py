"""The graph: DeepLabV3+ networks side by side, with a connection at every site where they cooperate.

One network is the same graph without connections. The functions below `build_graph` are the layer groups of the
DeepLabV3+ head: atrous spatial pyramid pooling (ASPP) and the decoder. A connection can stand between any two of them.

References:
    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, section 3.3 (ASPP).
    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018,
    section 3.1 (decoder).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import KerasTensor, layers

from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.layers import CropLike, Dropout, PadToMultiple, ResizeLike
from keras_crosscoop.models.blocks import conv_bn_relu
from keras_crosscoop.models.connections import Connect, Features

# Dilated branches are named after their rates at output stride 16 (Chen et al. 2017, section 4.1). Rates grow as the
# stride shrinks; names stay, so that weights of one stride can be loaded at another.
ASPP_RATES = {"rate_6": 6, "rate_12": 12, "rate_18": 18}
BRANCHES = ("1x1", *ASPP_RATES, "pool")
LOW_LEVEL_CHANNELS = 48  # channels of the low-level features in the decoder (ECCV 2018, table 1)


def build_graph(
    image: KerasTensor,
    backbones: Mapping[str, keras.Model],
    connect: Connect,
    *,
    num_classes: int,
    output_stride: int,
    decoder_channels: int,
    dropout: Sequence[float],
) -> Features:
    """Computes the logits `(B, H, W, num_classes)` of every network from images `(B, H, W, 3)`, RGB in [0, 255].

    The backbones are given by side: "top" and "bottom", or "single". `connect` is a function from `cooperation`. The
    other arguments are those of `CrossCoop`.

    Raises:
        InputError: `num_classes` or `dropout` is out of range.
    """
    if not 1 <= num_classes <= IGNORE_LABEL:
        raise InputError(
            f"`num_classes` must lie in 1 to {IGNORE_LABEL}; label {IGNORE_LABEL} is void. Received: {num_classes!r}"
        )
    if len(dropout) != 3:
        raise InputError(f"`dropout` must be three rates, after ASPP and two decoder layers. Received: {dropout!r}")

    def on_each_side(layer: Callable[..., Any], *features: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
        return {side: layer(*(f[side] for f in features), name=side, **arguments) for side in backbones}

    padded = PadToMultiple(output_stride, name="pad")(image)
    taps = {side: backbone(padded) for side, backbone in backbones.items()}
    high = connect("backbone", {side: tap["high"] for side, tap in taps.items()}, "backbone")

    rates = [rate * 16 // output_stride for rate in ASPP_RATES.values()]
    branches = on_each_side(_aspp, high, channels=decoder_channels, rates=rates)
    connected = [
        connect("aspp", {side: branches[side][i] for side in backbones}, f"aspp_{branch}")
        for i, branch in enumerate(BRANCHES)
    ]
    branches = {side: [branch[side] for branch in connected] for side in backbones}
    x = on_each_side(_aspp_output, branches, channels=decoder_channels, dropout=dropout[0])
    x = connect("aspp_output", x, "aspp_output")

    low = on_each_side(_project_low_level, {side: tap["low"] for side, tap in taps.items()})
    x = on_each_side(_fuse_low_level, x, connect("decoder", low, "decoder_low"))
    for number, rate in enumerate(dropout[1:], 1):
        x = on_each_side(_decoder_conv, x, number=number, channels=decoder_channels, dropout=rate)
        x = connect("decoder", x, f"decoder_{number}")
    logits = on_each_side(_classify, x, num_classes=num_classes)
    return {
        side: CropLike(dtype="float32", name=side)(
            ResizeLike(dtype="float32", name=f"{side}_upsample")(logits[side], padded), image
        )
        for side in backbones
    }


def _aspp(x: KerasTensor, channels: int, rates: Sequence[int], *, name: str) -> list[KerasTensor]:
    """Five parallel branches: 1x1, 3x3 at each rate, and image pooling: `(B, h, w, C) -> 5 x (B, h, w, channels)`."""
    branches = [conv_bn_relu(x, channels, 1, name=f"{name}_aspp_1x1")]
    for branch, rate in zip(ASPP_RATES, rates, strict=True):
        branches.append(conv_bn_relu(x, channels, 3, rate=rate, name=f"{name}_aspp_{branch}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_aspp_pool")(x)
    pooled = conv_bn_relu(pooled, channels, 1, name=f"{name}_aspp_pool")
    return [*branches, ResizeLike(name=f"{name}_aspp_pool_resize")(pooled, x)]


def _aspp_output(branches: Sequence[KerasTensor], channels: int, dropout: float, *, name: str) -> KerasTensor:
    """Concatenates the branches and projects them to `(B, h, w, channels)`."""
    x = layers.Concatenate(name=f"{name}_aspp_concat")(branches)
    x = conv_bn_relu(x, channels, 1, name=f"{name}_aspp_output")
    return Dropout(dropout, name=f"{name}_aspp_dropout")(x)


def _project_low_level(x: KerasTensor, *, name: str) -> KerasTensor:
    """The decoder's first layer: `(B, H/4, W/4, C) -> (B, H/4, W/4, 48)`."""
    return conv_bn_relu(x, LOW_LEVEL_CHANNELS, 1, name=f"{name}_decoder_low")


def _fuse_low_level(high: KerasTensor, low: KerasTensor, *, name: str) -> KerasTensor:
    """Upsamples ASPP's output and concatenates it with low-level features: `-> (B, H/4, W/4, C_high + C_low)`."""
    high = ResizeLike(name=f"{name}_decoder_upsample")(high, low)
    return layers.Concatenate(name=f"{name}_decoder_concat")([high, low])


def _decoder_conv(x: KerasTensor, number: int, channels: int, dropout: float, *, name: str) -> KerasTensor:
    """A 3x3 layer of the decoder: `(B, H/4, W/4, C) -> (B, H/4, W/4, channels)`."""
    x = conv_bn_relu(x, channels, 3, name=f"{name}_decoder_{number}")
    return Dropout(dropout, name=f"{name}_decoder_{number}_dropout")(x)


def _classify(x: KerasTensor, num_classes: int, *, name: str) -> KerasTensor:
    """The logits, float32 with every dtype policy: `(B, H/4, W/4, C) -> (B, H/4, W/4, num_classes)`."""
    return layers.Conv2D(num_classes, 1, dtype="float32", name=f"{name}_classifier")(x)
