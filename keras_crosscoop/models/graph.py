"""The graph: DeepLabV3+ networks side by side, with a connection at every site where they cooperate.

One network is the same graph with nobody to connect to.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import KerasTensor

from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.layers import CropLike, PadToMultiple, ResizeLike
from keras_crosscoop.models import head
from keras_crosscoop.models.connections import Connect, Features

ASPP_RATES = (6, 12, 18)  # at output stride 16 (Chen et al. 2017, section 4.1); they grow as the stride shrinks


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
    """Images `(B, H, W, 3)`, RGB in [0, 255], to logits `(B, H, W, num_classes)` of every network.

    Args:
        image: the input.
        backbones: one a network, by its side: "top" and "bottom", or "single".
        connect: `(site, features, name) -> what each side's next layer reads`.
        num_classes: channels of the logits.
        output_stride: of the backbones' high-level features, in pixels.
        decoder_channels: channels of every ASPP and decoder layer.
        dropout: rates after ASPP and after each of the decoder's two 3x3 layers.

    Raises:
        InputError: `num_classes` or `dropout` cannot be.
    """
    if not 1 <= num_classes <= IGNORE_LABEL:
        raise InputError(
            f"`num_classes` must lie in 1 to {IGNORE_LABEL}, where {IGNORE_LABEL} is void. Received: {num_classes!r}"
        )
    if len(dropout) != 3:
        raise InputError(f"`dropout` must be three rates, after ASPP and two decoder layers. Received: {dropout!r}")
    rates = [rate * 16 // output_stride for rate in ASPP_RATES]
    after_aspp, *after_decoder = dropout

    def each(layer: Callable[..., Any], *features: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
        """One layer, built once for every side on that side's features."""
        return {side: layer(*(f[side] for f in features), name=side, **arguments) for side in backbones}

    padded = PadToMultiple(output_stride, name="pad")(image)
    taps = {side: backbone(padded) for side, backbone in backbones.items()}
    low = {side: tap["low"] for side, tap in taps.items()}
    high = {side: tap["high"] for side, tap in taps.items()}

    high = connect("backbone", high, "backbone")
    branches = each(head.aspp, high, channels=decoder_channels, rates=rates)
    connected = [
        connect("aspp", {side: branches[side][i] for side in backbones}, f"aspp_{branch}")
        for i, branch in enumerate(head.BRANCHES)
    ]
    branches = {side: [branch[side] for branch in connected] for side in backbones}
    x = each(head.aspp_output, branches, channels=decoder_channels, dropout=after_aspp)
    x = connect("aspp_output", x, "aspp_output")

    low = connect("decoder", each(head.project_low_level, low), "decoder_low")
    x = each(head.fuse_low_level, x, low)
    for number, rate in enumerate(after_decoder, 1):
        x = each(head.decoder_conv, x, number=number, channels=decoder_channels, dropout=rate)
        x = connect("decoder", x, f"decoder_{number}")
    logits = each(head.classify, x, num_classes=num_classes)
    return {
        side: CropLike(dtype="float32", name=side)(
            ResizeLike(dtype="float32", name=f"{side}_upsample")(logits[side], padded), image
        )
        for side in backbones
    }
