"""Cooperative connections: what each of two networks reads from the other.

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
Features = dict[str, KerasTensor]  # side -> features, all of one height and width
Connect = Callable[[Site, Features, str], Features]  # (where, what each side has, name) -> what its next layer reads

SITES: tuple[Site, ...] = get_args(Site)

_FUSIONS = {"concat": layers.Concatenate, "add": layers.Add}
_RECEIVERS: dict[Topology, tuple[str, ...]] = {
    "none": (),  # the paper's "w/o all path"
    "one_way": ("bottom",),  # the conventional method: the top network sends, the bottom one receives
    "cross": ("top", "bottom"),  # the paper's method
}
_PARTNER = {"top": "bottom", "bottom": "top"}


def connect(
    features: Features, topology: Topology, fusion: Fusion = "concat", channel_reduction: int = 1, *, name: str
) -> Features:
    """What the next layer of each side reads: `(B, H, W, C)` each -> `(B, H, W, C)`, or `2 C` where "concat" receives.

    A network's own features always come first, so that a trained partner can be cut off by channel.

    With a `channel_reduction` R > 1, which is not in the paper, `(1 + 1/R) C` channels are read instead: most of what
    cooperation costs is that the next layer has twice the channels to convolve, and not that features travel.

    Args:
        features: what "top" and "bottom" have computed.
        topology: who receives: nobody ("none"), the bottom network ("one_way"), both ("cross").
        fusion: how the partner's features join a network's own: "concat" or "add" (which needs equal channels).
        channel_reduction: the partner's channels are brought to one in so many by a 1x1 convolution before they are read.
        name: of the site, for the layers' names.

    Raises:
        InputError: there is no such topology or fusion, `channel_reduction` is less than 1, or "add" meets unequal channels.
    """
    _check(topology, (), fusion, channel_reduction)
    connected = dict(features)
    for side in _RECEIVERS[topology]:
        own, partner = features[side], features[_PARTNER[side]]
        if channel_reduction > 1:
            partner = conv_bn_relu(
                partner, -(-partner.shape[-1] // channel_reduction), 1, name=f"{side}_{name}_received"
            )
        if fusion == "add" and own.shape[-1] != partner.shape[-1]:
            raise InputError(
                f'Fusion "add" needs equal channels, but at {name} the {side} network has {own.shape[-1]} and its '
                f'partner {partner.shape[-1]}. Use "concat", or leave that site out. Received: fusion={fusion!r}'
            )
        connected[side] = _FUSIONS[fusion](name=f"{side}_{name}_connection")([own, partner])
    return connected


def cooperation(
    topology: Topology, sites: Collection[Site] = SITES, fusion: Fusion = "concat", channel_reduction: int = 1
) -> Connect:
    """Who reads what everywhere: connections of that topology at the sites, and none elsewhere.

    Raises:
        InputError: there is no such topology, site or fusion (the nearest is named), or `channel_reduction` cannot be.
    """
    _check(topology, sites, fusion, channel_reduction)

    def connect_at(site: Site, features: Features, name: str) -> Features:
        return connect(features, topology if site in sites else "none", fusion, channel_reduction, name=name)

    return connect_at


def _check(topology: str, sites: Collection[str], fusion: str, channel_reduction: int) -> None:
    if topology not in _RECEIVERS:
        raise unknown_name("topology", topology, _RECEIVERS)
    if fusion not in _FUSIONS:
        raise unknown_name("fusion", fusion, _FUSIONS)
    if channel_reduction < 1:
        raise InputError(
            f"`channel_reduction` is 1, for all of the partner's channels, or more. Received: {channel_reduction}"
        )
    if channel_reduction > 1 and fusion == "add":
        raise InputError(
            f'Reduced features cannot be added, only concatenated. Take fusion "concat". Received: {channel_reduction=}'
        )
    for site in sites:
        if site not in SITES:
            raise unknown_name("site", site, SITES)
