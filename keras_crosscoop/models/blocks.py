"""The building block of the networks: convolution, batch normalisation and ReLU."""

from keras import KerasTensor, layers

from keras_crosscoop.layers import AtrousConv2D, BatchNormalization

BATCH_NORM_MOMENTUM = 0.9  # fine-tuning has too few steps for Keras's 0.99 and MobileNet's 0.999


def conv_bn_relu(
    x: KerasTensor, filters: int, kernel_size: int, *, stride: int = 1, rate: int = 1, name: str
) -> KerasTensor:
    """Convolution at a dilation rate, batch normalisation, ReLU: `(B, H, W, C) -> (B, H/stride, W/stride, filters)`."""
    x, padding = fixed_padding(x, kernel_size, stride, name=name)
    x = AtrousConv2D(
        filters,
        kernel_size,
        stride,
        padding,
        dilation_rate=rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def fixed_padding(x: KerasTensor, kernel_size: int, stride: int, *, name: str) -> tuple[KerasTensor, str]:
    """Pads both sides equally before a strided layer, unlike "same"; also returns the layer's `padding` argument."""
    if stride == 1 or kernel_size == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"
