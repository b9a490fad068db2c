"""Xception as modified by DeepLab: deeper, with strided convolutions instead of pooling, and batch normalisation.

References:
    Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation", ECCV 2018,
    section 3.2 and figure 4 (the network); its released checkpoint (names, epsilon, positions of activations).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keras import KerasTensor, layers

from keras_crosscoop.layers import AtrousConv2D, BatchNormalization
from keras_crosscoop.models.backbones.dilation import check_multi_grid
from keras_crosscoop.models.blocks import BATCH_NORM_MOMENTUM, fixed_padding

EPSILON = 1e-3  # of every batch normalisation in the released checkpoint


@dataclass(frozen=True)
class Block:
    """A row of the network's table: `units` times three separable convolutions with these numbers of channels."""

    name: str
    widths: tuple[int, int, int]
    skip: str | None  # added to the output: "conv", a 1x1 convolution of the input; "sum", the input; None, nothing
    stride: int = 1
    units: int = 1
    inner_activations: bool = False  # ReLU after each convolution instead of before each separable one
    tap: bool = False  # its second separable convolution computes the decoder's low-level features


XCEPTION_65 = (
    Block("entry_flow_block1", (128, 128, 128), skip="conv", stride=2),
    Block("entry_flow_block2", (256, 256, 256), skip="conv", stride=2, tap=True),
    Block("entry_flow_block3", (728, 728, 728), skip="conv", stride=2),
    Block("middle_flow_block1", (728, 728, 728), skip="sum", units=16),
    Block("exit_flow_block1", (728, 1024, 1024), skip="conv", stride=2),
    Block("exit_flow_block2", (1536, 1536, 2048), skip=None, inner_activations=True),
)


def xception(
    image: KerasTensor,
    output_stride: int,
    *,
    blocks: tuple[Block, ...] = XCEPTION_65,
    stem: tuple[int, int] = (32, 64),
    multi_grid: Sequence[int] = (1, 1, 1),
) -> dict[str, KerasTensor]:
    """Computes Xception's features: `(B, H, W, 3) -> "low" (B, H/4, W/4, C), "high" (B, H/s, W/s, C)`.

    Images are RGB in [0, 255]. Strides beyond s become dilations. `blocks` is the network's table; the block with the
    tap has stride 4. `stem` are the channels of the two convolutions before. `multi_grid` multiplies the rates of the
    last block's three separable convolutions.

    Raises:
        InputError: `multi_grid` is not three positive integers.
    """
    grid = check_multi_grid(multi_grid)
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    x = _conv(x, stem[0], 3, stride=2, name="entry_flow_conv1_1")
    x = layers.ReLU(name="entry_flow_conv1_1_relu")(x)
    x = _conv(x, stem[1], 3, name="entry_flow_conv1_2")
    x = layers.ReLU(name="entry_flow_conv1_2_relu")(x)
    reached, rate = 2, 1
    for block in blocks:
        for number in range(1, block.units + 1):
            keep = reached * block.stride <= output_stride
            rates = [rate * factor for factor in (grid if block is blocks[-1] else (1, 1, 1))]
            x, second = _unit(x, block, block.stride if keep else 1, rates, name=f"{block.name}_unit_{number}")
            reached, rate = (reached * block.stride, rate) if keep else (reached, rate * block.stride)
        if block.tap:
            low = second
    return {"low": low, "high": x}


def _unit(
    x: KerasTensor, block: Block, stride: int, rates: Sequence[int], *, name: str
) -> tuple[KerasTensor, KerasTensor]:
    """Computes three separable convolutions and the skip connection; returns the output and the second convolution."""
    residual, convolved = x, []
    for i, (width, rate) in enumerate(zip(block.widths, rates, strict=True), 1):
        conv = f"{name}_separable_conv{i}"
        if not block.inner_activations:
            residual = layers.ReLU(name=f"{conv}_relu")(residual)
        residual = _depthwise(residual, stride if i == 3 else 1, rate, name=f"{conv}_depthwise")
        if block.inner_activations:
            residual = layers.ReLU(name=f"{conv}_depthwise_relu")(residual)
        residual = _conv(residual, width, 1, name=f"{conv}_pointwise")
        convolved.append(residual)
        if block.inner_activations:
            residual = layers.ReLU(name=f"{conv}_pointwise_relu")(residual)
    if block.skip == "conv":
        x = _conv(x, block.widths[-1], 1, stride=stride, name=f"{name}_shortcut")
    if block.skip is not None:
        residual = layers.Add(name=f"{name}_add")([residual, x])
    return residual, convolved[1]


def _conv(x: KerasTensor, filters: int, kernel_size: int, *, stride: int = 1, name: str) -> KerasTensor:
    x, padding = fixed_padding(x, kernel_size, stride, name=name)
    x = AtrousConv2D(filters, kernel_size, stride, padding, use_bias=False, name=name)(x)
    return BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)


def _depthwise(x: KerasTensor, stride: int, rate: int, *, name: str) -> KerasTensor:
    x, padding = fixed_padding(x, 3, stride, name=name)
    x = layers.DepthwiseConv2D(3, stride, padding, dilation_rate=rate, use_bias=False, name=name)(x)
    return BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
