"""The head of DeepLabV3+, one function a layer group: atrous spatial pyramid pooling (ASPP) and the decoder.

A cooperative network stands between any two of these functions, so each takes what is read and returns what is sent.

References:
    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, section 3.3 (ASPP).
    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018,
    section 3.1 (decoder).
"""

from collections.abc import Sequence

from keras import KerasTensor, layers

from keras_crosscoop.layers import Dropout, ResizeLike
from keras_crosscoop.models.blocks import conv_bn_relu

# Of ASPP. Those between are named after their rates at output stride 16, which grow as the stride shrinks: the weights
# of one stride are those to start from at another.
BRANCHES = ("1x1", "rate_6", "rate_12", "rate_18", "pool")
LOW_LEVEL_CHANNELS = 48  # channels the low-level features are reduced to (ECCV 2018, table 1)


def aspp(x: KerasTensor, channels: int, rates: Sequence[int], *, name: str) -> list[KerasTensor]:
    """The five parallel branches of ASPP, 1x1, 3x3 at each rate, image pooling: `(B, h, w, C) -> (B, h, w, channels)`."""
    branches = [conv_bn_relu(x, channels, 1, name=f"{name}_aspp_1x1")]
    branches += [
        conv_bn_relu(x, channels, 3, rate=rate, name=f"{name}_aspp_{branch}")
        for branch, rate in zip(BRANCHES[1:-1], rates, strict=True)
    ]
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_aspp_pool")(x)
    pooled = conv_bn_relu(pooled, channels, 1, name=f"{name}_aspp_pool")
    return [*branches, ResizeLike(name=f"{name}_aspp_pool_resize")(pooled, x)]


def aspp_output(branches: Sequence[KerasTensor], channels: int, dropout: float, *, name: str) -> KerasTensor:
    """What ASPP hands on: its branches, concatenated, projected to `(B, h, w, channels)`, with dropout."""
    x = layers.Concatenate(name=f"{name}_aspp_concat")(branches)
    x = conv_bn_relu(x, channels, 1, name=f"{name}_aspp_output")
    return Dropout(dropout, name=f"{name}_aspp_dropout")(x)


def project_low_level(x: KerasTensor, *, name: str) -> KerasTensor:
    """The decoder's first layer: low-level features `(B, H/4, W/4, C) -> (B, H/4, W/4, 48)`."""
    return conv_bn_relu(x, LOW_LEVEL_CHANNELS, 1, name=f"{name}_decoder_low")


def fuse_low_level(high: KerasTensor, low: KerasTensor, *, name: str) -> KerasTensor:
    """ASPP's output, upsampled to the low-level features' size, before them: `(B, H/4, W/4, C_high + C_low)`."""
    high = ResizeLike(name=f"{name}_decoder_upsample")(high, low)
    return layers.Concatenate(name=f"{name}_decoder_concat")([high, low])


def decoder_conv(x: KerasTensor, number: int, channels: int, dropout: float, *, name: str) -> KerasTensor:
    """The decoder's 3x3 layer of that number: `(B, H/4, W/4, C) -> (B, H/4, W/4, channels)`, with dropout."""
    x = conv_bn_relu(x, channels, 3, name=f"{name}_decoder_{number}")
    return Dropout(dropout, name=f"{name}_decoder_{number}_dropout")(x)


def classify(x: KerasTensor, num_classes: int, *, name: str) -> KerasTensor:
    """Logits in float32 whatever the policy: `(B, H/4, W/4, C) -> (B, H/4, W/4, num_classes)`."""
    return layers.Conv2D(num_classes, 1, dtype="float32", name=f"{name}_classifier")(x)
