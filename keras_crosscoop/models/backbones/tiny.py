"""Two small and different backbones, for tests and for training from scratch in minutes."""

from functools import partial

from keras import KerasTensor, layers

from keras_crosscoop.layers import BatchNormalization
from keras_crosscoop.models.backbones.xception import Block, xception
from keras_crosscoop.models.blocks import BATCH_NORM_MOMENTUM, conv_bn_relu

tiny_xception = partial(
    xception,
    blocks=(
        Block("entry_flow_block1", (24, 24, 24), skip="conv", stride=2),
        Block("entry_flow_block2", (48, 48, 48), skip="conv", stride=2, tap=True),
        Block("entry_flow_block3", (96, 96, 96), skip="conv", stride=2),
        Block("middle_flow_block1", (96, 96, 96), skip="sum"),
        Block("exit_flow_block1", (96, 128, 128), skip="conv", stride=2),
    ),
    stem=(16, 16),
)


def tiny_resnet(image: KerasTensor, output_stride: int) -> dict[str, KerasTensor]:
    """Computes four residual blocks: `(B, H, W, 3) -> "low" (B, H/4, W/4, 32), "high" (B, H/s, W/s, 128)`."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    x = conv_bn_relu(x, 16, 3, stride=2, name="stem")
    x = low = _residual(x, 32, stride=2, name="block1")
    reached, rate = 4, 1
    for number, width in enumerate((64, 128, 128), 2):
        stride = 2 if reached * 2 <= output_stride else 1
        before, rate = rate, rate * (2 // stride)
        x = _residual(x, width, stride, (before, rate), name=f"block{number}")
        reached *= stride
    return {"low": low, "high": x}


def _residual(x: KerasTensor, width: int, stride: int, rates: tuple[int, int] = (1, 1), *, name: str) -> KerasTensor:
    residual = conv_bn_relu(x, width, 3, stride=stride, rate=rates[0], name=f"{name}_conv1")
    residual = conv_bn_relu(residual, width, 3, rate=rates[1], name=f"{name}_conv2")
    shortcut = layers.Conv2D(width, 1, stride, use_bias=False, name=f"{name}_shortcut")(x)
    shortcut = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_shortcut_bn")(shortcut)
    return layers.Add(name=f"{name}_add")([residual, shortcut])
