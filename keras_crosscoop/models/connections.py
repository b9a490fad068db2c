"""Cooperative connections: the features that each of two networks reads from the other.

Reference: Ikedo and Hotta, "Fusion of Different Features by Cross Cooperative Learning for Semantic Segmentation",
VISAPP 2022, sections 3.2 and 3.3, figure 4.
"""

from collections.abc import Callable, Collection
from typing import Literal, get_args

from keras import KerasTensor, layers

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.models.blocks import conv_bn_relu

Topology = Literal["none", "one_way", "cross"]
Site = Literal["backbone", "aspp", "aspp_output", "decoder"]
Fusion = Literal["concat", "add"]
Features = dict[str, KerasTensor]  # side -> features (B, H, W, C); H and W are the same for all sides
Connect = Callable[[Site, Features, str], Features]  # (site, features of each side, name) -> inputs of each next layer

SITES: tuple[Site, ...] = get_args(Site)

_FUSIONS = {"concat": layers.Concatenate, "add": layers.Add}
_RECEIVERS: dict[Topology, tuple[str, ...]] = {
    "none": (),  # the paper's "w/o all path"
    "one_way": ("bottom",),  # the conventional method: the top network sends, the bottom one receives
    "cross": ("top", "bottom"),  # the paper's method
}
_PARTNER = {"top": "bottom", "bottom": "top"}


def cooperation(
    topology: Topology, sites: Collection[Site] = SITES, fusion: Fusion = "concat", channel_reduction: int = 1
) -> Connect:
    """Returns the function that connects the two networks at each site.

    A side that receives reads `(B, H, W, 2 C)` with "concat", its own features first, so that a trained partner can be
    cut off by channel. With a `channel_reduction` R > 1, which is not in the paper, it reads `(B, H, W, (1 + 1/R) C)`.
    This saves most of the cost of cooperation, which is that the next layer convolves twice as many channels.

    Args:
        topology: Which side receives features: none, "bottom" ("one_way") or both ("cross").
        sites: Where features are exchanged; elsewhere each side reads its own features only.
        fusion: "concat", or "add", which needs equal channels.
        channel_reduction: A 1x1 convolution reduces the partner's channels by this factor; 1 for no convolution.

    Returns:
        A function of a site, the features of "top" and "bottom" there, and a name for the layers. It returns the input
        of each side's next layer, and raises an `InputError` if "add" gets different numbers of channels.

    Raises:
        InputError: A name does not exist (the nearest one is suggested), or `channel_reduction` is out of range.
    """
    for kind, names, valid in (
        ("topology", [topology], _RECEIVERS),
        ("fusion", [fusion], _FUSIONS),
        ("site", sites, SITES),
    ):
        for name in names:
            if name not in valid:
                raise unknown_name(kind, name, valid)
    if channel_reduction < 1:
        raise InputError(f"`channel_reduction` must be 1 (for all channels) or more. Received: {channel_reduction}")
    if channel_reduction > 1 and fusion == "add":
        raise InputError(f'`channel_reduction` needs fusion="concat". Received: {channel_reduction=}, {fusion=}')

    def connect(site: Site, features: Features, name: str) -> Features:
        connected = dict(features)
        for side in _RECEIVERS[topology] if site in sites else ():
            own, partner = features[side], features[_PARTNER[side]]
            if channel_reduction > 1:
                channels = -(-partner.shape[-1] // channel_reduction)
                partner = conv_bn_relu(partner, channels, 1, name=f"{side}_{name}_received")
            if fusion == "add" and own.shape[-1] != partner.shape[-1]:
                raise InputError(
                    f'Fusion "add" needs equal channels, but at {name} the {side} network has {own.shape[-1]} and its '
                    f'partner {partner.shape[-1]}. Use "concat", or leave that site out. Received: fusion={fusion!r}'
                )
            connected[side] = _FUSIONS[fusion](name=f"{side}_{name}_connection")([own, partner])
        return connected

    return connect
