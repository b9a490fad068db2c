"""The two models of this package: the cross-cooperative pair, and a single network for comparison."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.layers import PadToMultiple
from keras_crosscoop.models import backbones
from keras_crosscoop.models.connections import SITES, Fusion, Site, Topology, cooperation
from keras_crosscoop.models.graph import build_graph
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights import WeightsSource

BackboneSpec = str | Mapping[str, Any]  # a name, or {"name": ..., **options}

DROPOUT = (0.5, 0.5, 0.1)  # after ASPP and each of the decoder's 3x3 layers, as in public implementations

_PRESETS = {  # arguments of `CrossCoop`
    # The paper's pair (section 4.2): the best results, for GPUs.
    "xception65_resnet101": {"top": "xception65", "bottom": "resnet101"},
    # A light pair with ImageNet weights, for fine-tuning on a laptop.
    "mobilenet_v2_efficientnet_b0": {"top": "mobilenet_v2", "bottom": "efficientnet_b0", "decoder_channels": 128},
    # A pair for first trials, trained from scratch in minutes.
    "tiny": {
        "top": "tiny_xception",
        "bottom": "tiny_resnet",
        "decoder_channels": 32,
        "dropout": (0.0, 0.0, 0.0),
        "weights": None,
    },
}


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossCoop(Segmenter):
    """Two DeepLabV3+ networks that read each other: `(B, H, W, 3) -> {"top", "bottom"}: (B, H, W, num_classes)`.

    Images are RGB in [0, 255] of any size; logits are float32.

    Args:
        num_classes: Channels of the logits; void is not a class.
        top: The top network's backbone: one of `backbones.NAMES`, or `{"name": ..., **options}`.
        bottom: The bottom network's backbone; the method needs two different backbones.
        topology: Which network reads its partner's features: none, "bottom" ("one_way") or both ("cross").
        sites: After which layers: any of "backbone" (the paper's Connection 1), "aspp", "aspp_output" (Connection 2)
            and "decoder".
        fusion: How features are joined: "concat", or "add", which needs equal channels.
        channel_reduction: A 1x1 convolution reduces the partner's channels by this factor before they are read; 1 for
            none, as in the paper. 8 saves most of the additional operations.
        output_stride: Stride of the features that ASPP reads, in pixels: 8, 16 or 32.
        input_shape: `(H, W, 3)`; None for any height or width.
        weights: Weights of the backbones: "imagenet", a file (see `backbones.build`), None for random weights, or a
            mapping of "top" and "bottom" to these.
        decoder_channels: Channels of every ASPP and decoder layer.
        dropout: Rates after ASPP and after each of the decoder's two 3x3 layers.
        name: Name of the model.
        **kwargs: `trainable` or `dtype` of `keras.Model`.

    Attributes:
        presets: Arguments for pairs of backbones that suit each other, by name; see `from_preset`.

    Raises:
        InputError: A name does not exist, or weights cannot be fetched or do not fit.

    Example:
        >>> model = CrossCoop.from_preset("tiny", 3, decoder_channels=8)
        >>> logits = model(np.zeros((1, 33, 47, 3)))
        >>> {name: tuple(values.shape) for name, values in logits.items()}
        {'top': (1, 33, 47, 3), 'bottom': (1, 33, 47, 3)}
        >>> model.segment(np.zeros((33, 47, 3), "uint8")).shape  # the ensemble's class ids
        (33, 47)

    Reference: Ikedo and Hotta, "Fusion of Different Features by Cross Cooperative Learning for Semantic Segmentation",
    VISAPP 2022, figure 4.
    """

    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {name: MappingProxyType(arguments) for name, arguments in _PRESETS.items()}
    )

    @classmethod
    def from_preset(cls, name: str, num_classes: int, **arguments: Any) -> "CrossCoop":
        """Builds the pair of a preset, with its backbones' pretrained weights.

        Args:
            name: A key of `presets`.
            num_classes: Channels of the logits; void is not a class.
            **arguments: Arguments of `CrossCoop` that replace the preset's.

        Raises:
            InputError: There is no such preset, or weights cannot be fetched.
        """
        if name not in cls.presets:
            raise unknown_name("preset", name, cls.presets)
        return cls(num_classes, **{**cls.presets[name], **arguments})

    def __init__(
        self,
        num_classes: int,
        *,
        top: BackboneSpec = "xception65",
        bottom: BackboneSpec = "resnet101",
        topology: Topology = "cross",
        sites: Sequence[Site] = SITES,
        fusion: Fusion = "concat",
        channel_reduction: int = 1,
        output_stride: int = 16,
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        weights: WeightsSource | Mapping[str, WeightsSource] = "imagenet",
        decoder_channels: int = 256,
        dropout: Sequence[float] = DROPOUT,
        name: str = "cross_coop",
        **kwargs: Any,
    ) -> None:
        connect = cooperation(topology, sites, fusion, channel_reduction)
        weights = weights if isinstance(weights, Mapping) else {"top": weights, "bottom": weights}
        if set(weights) != {"top", "bottom"}:
            raise InputError(f'`weights` must name "top" and "bottom", or be one for both. Received: {dict(weights)}')
        image = keras.Input(input_shape, name="image")
        networks = {
            "top": _backbone(top, input_shape, output_stride, weights["top"], "top_backbone"),
            "bottom": _backbone(bottom, input_shape, output_stride, weights["bottom"], "bottom_backbone"),
        }
        shared = {
            "num_classes": num_classes,
            "output_stride": output_stride,
            "decoder_channels": decoder_channels,
            "dropout": tuple(dropout),
        }
        logits = build_graph(image, networks, connect, **shared)
        arguments = {
            **shared,
            "top": top,
            "bottom": bottom,
            "topology": topology,
            "sites": tuple(sites),
            "fusion": fusion,
            "channel_reduction": channel_reduction,
            "input_shape": tuple(input_shape),
        }
        super().__init__(image, logits, arguments, name=name, **kwargs)


@keras.saving.register_keras_serializable("keras_crosscoop")
class DeepLabV3Plus(Segmenter):
    """One DeepLabV3+ network, for comparison: `(B, H, W, 3) -> {"single"}: (B, H, W, num_classes)`.

    Args:
        num_classes: Channels of the logits; void is not a class.
        backbone: One of `backbones.NAMES`, or `{"name": ..., **options}`.
        output_stride: Stride of the features that ASPP reads, in pixels: 8, 16 or 32.
        input_shape: `(H, W, 3)`; None for any height or width.
        weights: Weights of the backbone: "imagenet", a file (see `backbones.build`), or None for random weights.
        decoder_channels: Channels of every ASPP and decoder layer.
        dropout: Rates after ASPP and after each of the decoder's two 3x3 layers.
        name: Name of the model.
        **kwargs: `trainable` or `dtype` of `keras.Model`.

    Raises:
        InputError: A name does not exist, or weights cannot be fetched or do not fit.

    Example:
        >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, decoder_channels=8)
        >>> tuple(model(np.zeros((1, 33, 47, 3)))["single"].shape)
        (1, 33, 47, 3)

    Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    ECCV 2018.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: BackboneSpec = "resnet101",
        output_stride: int = 16,
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        weights: WeightsSource = "imagenet",
        decoder_channels: int = 256,
        dropout: Sequence[float] = DROPOUT,
        name: str = "deeplab_v3_plus",
        **kwargs: Any,
    ) -> None:
        image = keras.Input(input_shape, name="image")
        shared = {
            "num_classes": num_classes,
            "output_stride": output_stride,
            "decoder_channels": decoder_channels,
            "dropout": tuple(dropout),
        }
        networks = {"single": _backbone(backbone, input_shape, output_stride, weights, "single_backbone")}
        logits = build_graph(image, networks, lambda site, features, name: features, **shared)
        arguments = {**shared, "backbone": backbone, "input_shape": tuple(input_shape)}
        super().__init__(image, logits, arguments, name=name, **kwargs)


def _backbone(
    spec: BackboneSpec, input_shape: Sequence[int | None], output_stride: int, weights: WeightsSource, scope: str
) -> keras.Model:
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    if "name" not in options:
        raise InputError(f'A backbone must be a name, or a mapping with "name" and options. Received: {options}')
    if reserved := options.keys() & {"input_shape", "output_stride", "scope", "weights"}:
        raise InputError(f"Give {', '.join(sorted(reserved))} to the network, not to a backbone. Received: {options}")
    _, *padded_shape = PadToMultiple(output_stride).compute_output_shape((None, *input_shape))
    return backbones.build(
        **options, input_shape=tuple(padded_shape), output_stride=output_stride, weights=weights, scope=scope
    )
