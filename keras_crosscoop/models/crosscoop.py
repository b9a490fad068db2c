"""The two models of this package: the cross-cooperative pair, and the single network it is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.layers import PadToMultiple
from keras_crosscoop.models import backbones
from keras_crosscoop.models.connections import SITES, Fusion, Site, Topology, cooperation
from keras_crosscoop.models.graph import build_graph
from keras_crosscoop.models.presets import PRESETS
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights import Weights

Backbone = str | Mapping[str, Any]  # a name, or {"name": ..., **options}

DROPOUT = (0.5, 0.5, 0.1)  # after ASPP and each of the decoder's 3x3 layers, as public implementations have it


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossCoop(Segmenter):
    """Two DeepLabV3+ networks that read each other: `(B, H, W, 3) -> "top", "bottom": (B, H, W, num_classes)`.

    Images are RGB in [0, 255] of any size, logits are float32.

    Reference: Ikedo and Hotta, "Fusion of Different Features by Cross Cooperative Learning for Semantic Segmentation",
    VISAPP 2022, figure 4.

    Args:
        num_classes: channels of the logits; void is no class.
        top: the first network's backbone: a name of `backbones.NAMES`, or `{"name": ..., **options}`.
        bottom: the second network's; the method wants a different one.
        topology: who reads: nobody ("none"), the bottom network ("one_way"), both ("cross").
        sites: after which layers: any of "backbone" (the paper's Connection 1), "aspp", "aspp_output" (Connection 2)
            and "decoder".
        fusion: how features join: "concat", or "add" where channels are equal.
        channel_reduction: a network reads one channel in so many of its partner's, made of all of them by a 1x1 convolution; 1
            for all as they are, which is the paper's method. 8 makes most of the extra operations go.
        output_stride: image pixels between two features that ASPP reads: 8, 16 or 32.
        input_shape: `(H, W, 3)`, where a fixed size is wanted.
        weights: of the backbones: "imagenet", a file (see `backbones.build`) or None, or `{"top": ..., "bottom": ...}`.
        decoder_channels: channels of every ASPP and decoder layer.
        dropout: rates after ASPP and after each of the decoder's two 3x3 layers.
        name: of the model.

    Attributes:
        presets: for `from_preset`: pairs that go together, by name, as the arguments they stand for.

    Raises:
        InputError: a name that does not exist, or weights that cannot be had or do not fit.
    """

    presets = PRESETS

    @classmethod
    def from_preset(cls, name: str, num_classes: int, **arguments: Any) -> "CrossCoop":
        """The pair that `presets` lists under that name, with its backbones' pretrained weights.

        Args:
            name: a key of `presets`.
            num_classes: channels of the logits; void is no class.
            **arguments: of `CrossCoop`, instead of the preset's.

        Raises:
            InputError: there is no such preset, or weights cannot be had.
        """
        if name not in cls.presets:
            raise unknown_name("preset", name, cls.presets)
        return cls(num_classes, **{**cls.presets[name], **arguments})

    def __init__(
        self,
        num_classes: int,
        *,
        top: Backbone = "xception65",
        bottom: Backbone = "resnet101",
        topology: Topology = "cross",
        sites: Sequence[Site] = SITES,
        fusion: Fusion = "concat",
        channel_reduction: int = 1,
        output_stride: int = 16,
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        weights: Weights | Mapping[str, Weights] = "imagenet",
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
        logits = build_graph(
            image,
            {
                "top": _backbone(top, input_shape, output_stride, weights["top"], "top_backbone"),
                "bottom": _backbone(bottom, input_shape, output_stride, weights["bottom"], "bottom_backbone"),
            },
            connect,
            num_classes=num_classes,
            output_stride=output_stride,
            decoder_channels=decoder_channels,
            dropout=dropout,
        )
        arguments = {
            "num_classes": num_classes,
            "top": top,
            "bottom": bottom,
            "topology": topology,
            "sites": tuple(sites),
            "fusion": fusion,
            "channel_reduction": channel_reduction,
            "output_stride": output_stride,
            "input_shape": tuple(input_shape),
            "decoder_channels": decoder_channels,
            "dropout": tuple(dropout),
        }
        super().__init__(image, logits, arguments, name=name, **kwargs)


@keras.saving.register_keras_serializable("keras_crosscoop")
class DeepLabV3Plus(Segmenter):
    """One DeepLabV3+ network, to compare with: `(B, H, W, 3) -> "single": (B, H, W, num_classes)`.

    Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    ECCV 2018.

    Args:
        num_classes: channels of the logits; void is no class.
        backbone: a name of `backbones.NAMES`, or `{"name": ..., **options}`.
        output_stride: image pixels between two features that ASPP reads: 8, 16 or 32.
        input_shape: `(H, W, 3)`, where a fixed size is wanted.
        weights: of the backbone: "imagenet", a file (see `backbones.build`) or None.
        decoder_channels: channels of every ASPP and decoder layer.
        dropout: rates after ASPP and after each of the decoder's two 3x3 layers.
        name: of the model.

    Raises:
        InputError: a name that does not exist, or weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Backbone = "resnet101",
        output_stride: int = 16,
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        weights: Weights = "imagenet",
        decoder_channels: int = 256,
        dropout: Sequence[float] = DROPOUT,
        name: str = "deeplab_v3_plus",
        **kwargs: Any,
    ) -> None:
        image = keras.Input(input_shape, name="image")
        logits = build_graph(
            image,
            {"single": _backbone(backbone, input_shape, output_stride, weights, "single_backbone")},
            lambda site, features, name: features,  # nobody to connect to
            num_classes=num_classes,
            output_stride=output_stride,
            decoder_channels=decoder_channels,
            dropout=dropout,
        )
        arguments = {
            "num_classes": num_classes,
            "backbone": backbone,
            "output_stride": output_stride,
            "input_shape": tuple(input_shape),
            "decoder_channels": decoder_channels,
            "dropout": tuple(dropout),
        }
        super().__init__(image, logits, arguments, name=name, **kwargs)


def _backbone(
    backbone: Backbone, input_shape: Sequence[int | None], output_stride: int, weights: Weights, scope: str
) -> keras.Model:
    options = dict(backbone) if isinstance(backbone, Mapping) else {"name": backbone}
    if "name" not in options:
        raise InputError(f'A backbone is a name, or a mapping of "name" and options. Received: {options}')
    reserved = options.keys() & {"input_shape", "output_stride", "scope", "weights"}
    if reserved:
        raise InputError(f"The network decides {', '.join(sorted(reserved))} of its backbones. Received: {options}")
    _, *padded_shape = PadToMultiple(output_stride).compute_output_shape((None, *input_shape))
    return backbones.build(
        **options, input_shape=tuple(padded_shape), output_stride=output_stride, weights=weights, scope=scope
    )
