"""Backbones from Keras Applications: one table, strides turned into dilations."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.backbones.dilation import dilate
from keras_crosscoop.models.backbones.weights import Weights, load_weights


def _unit_range(image: KerasTensor) -> KerasTensor:
    """To [-1, 1], as TensorFlow's own checkpoints have it."""
    return layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)


def _caffe(image: KerasTensor) -> KerasTensor:
    """BGR less ImageNet's mean colour, as the original ResNet has it."""
    return layers.Rescaling(1.0, offset=(-103.939, -116.779, -123.68), name="subtract_mean")(ops.flip(image, axis=-1))


def _imagenet(image: KerasTensor) -> KerasTensor:
    """Less ImageNet's mean colour, over its standard deviation, both of [0, 1]."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = [1 / (255 * channel) for channel in deviation]
    offset = [-a / b for a, b in zip(mean, deviation, strict=True)]
    return layers.Rescaling(scale, offset, name="normalise")(image)


@dataclass(frozen=True)
class Application:
    """A network of Keras Applications, and where the decoder and ASPP tap it."""

    network: Callable[..., keras.Model]
    normalise: Callable[[KerasTensor], KerasTensor]
    low: str  # the layer whose output is tapped at stride 4
    high: str
    first: str | None = None  # of the layers that remain: EfficientNet's own normalisation depends on how it was built

    def __call__(
        self, image: KerasTensor, output_stride: int, weights: Weights, **options: Any
    ) -> dict[str, KerasTensor]:
        """RGB in [0, 255] to features: `(B, H, W, 3) -> "low" (B, H/4, W/4, C), "high" (B, H/s, W/s, C)`.

        Raises:
            InputError: the network has no such option, or the weights cannot be had or do not fit.
        """
        original = self._original(weights, **options)
        if weights not in (None, "imagenet"):
            load_weights(original, weights)
        if self.first is not None:
            original = keras.Model(original.get_layer(self.first).input, original.output)
        dilated = dilate(original, self.normalise(image), output_stride)
        return {"low": dilated.get_layer(self.low).output, "high": dilated.get_layer(self.high).output}

    def _original(self, weights: Weights, **options: Any) -> keras.Model:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`input_shape` is undefined")  # and so it shall be
                return self.network(include_top=False, weights="imagenet" if weights == "imagenet" else None, **options)
        except Exception as error:  # Keras raises bare `Exception` where a download fails
            remedy = "Check the options, or give a file of weights."
            raise InputError(
                f"{self.network.__name__} could not be built with weights {weights!r} and options {options}. {remedy} "
                f"Received: {error}"
            ) from error


APPLICATIONS = {
    "resnet50": Application(keras.applications.ResNet50, _caffe, "conv2_block3_out", "conv5_block3_out"),
    "resnet101": Application(keras.applications.ResNet101, _caffe, "conv2_block3_out", "conv5_block3_out"),
    "mobilenet": Application(keras.applications.MobileNet, _unit_range, "conv_pw_3_relu", "conv_pw_13_relu"),
    # The 1280 channels that MobileNetV2 and EfficientNet end with belong to the classifier: DeepLab leaves them out.
    "mobilenet_v2": Application(
        keras.applications.MobileNetV2, _unit_range, "block_3_expand_relu", "block_16_project_BN"
    ),
    "efficientnet_b0": Application(
        keras.applications.EfficientNetB0,
        _imagenet,
        "block3a_expand_activation",
        "block7a_project_bn",
        first="stem_conv_pad",
    ),
}
