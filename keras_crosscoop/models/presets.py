"""Presets: pairs of networks that are known to go together, as arguments of `CrossCoop`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The paper's pair (section 4.2): the best results, for GPUs.
        "xception65_resnet101": MappingProxyType({"top": "xception65", "bottom": "resnet101"}),
        # A light pair with ImageNet weights, for fine-tuning on a laptop.
        "mobilenet_v2_efficientnet_b0": MappingProxyType(
            {"top": "mobilenet_v2", "bottom": "efficientnet_b0", "decoder_channels": 128}
        ),
        # For trying things out, trained from scratch in minutes.
        "tiny": MappingProxyType(
            {
                "top": "tiny_xception",
                "bottom": "tiny_resnet",
                "decoder_channels": 32,
                "dropout": (0.0, 0.0, 0.0),
                "weights": None,
            }
        ),
    }
)
