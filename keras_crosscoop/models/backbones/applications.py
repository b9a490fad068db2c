"""Backbones from Keras Applications: a table of networks, whose strides are replaced by dilations."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor, layers, ops

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import download_reason, is_download_error
from keras_crosscoop.models.backbones.dilation import check_multi_grid, dilate
from keras_crosscoop.models.weights import WeightsSource, load_hdf5
from keras_crosscoop.models.weights.download import OFFLINE_REMEDY


def _unit_range(image: KerasTensor) -> KerasTensor:
    """Scales to [-1, 1], as TensorFlow's checkpoints need."""
    return layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)


def _unit_range_padded(image: KerasTensor) -> KerasTensor:
    """Scales to [-1, 1] and adds a border of zeros: `(B, H, W, 3) -> (B, H + 5, W + 5, 3)`.

    Xception begins with two convolutions without padding. With this border they return H/2 x W/2 features, and feature
    i is centred on pixel 2i, as elsewhere; the network itself is unchanged.
    """
    return layers.ZeroPadding2D(((3, 2), (3, 2)), name="stem_pad")(_unit_range(image))


def _caffe(image: KerasTensor) -> KerasTensor:
    """Subtracts ImageNet's mean colour, in BGR, as the original ResNet needs."""
    return layers.Rescaling(1.0, offset=(-103.939, -116.779, -123.68), name="subtract_mean")(ops.flip(image, axis=-1))


def _imagenet(image: KerasTensor) -> KerasTensor:
    """Subtracts ImageNet's mean colour, and divides by its standard deviation, both for [0, 1]."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale = [1 / (255 * channel) for channel in deviation]
    offset = [-a / b for a, b in zip(mean, deviation, strict=True)]
    return layers.Rescaling(scale, offset, name="normalise")(image)


@dataclass(frozen=True)
class Application:
    """A network of Keras Applications, and the layers that the decoder and ASPP read."""

    network: Callable[..., keras.Model]
    normalise: Callable[[KerasTensor], KerasTensor]
    low: str  # the layer of the low-level features, at stride 4
    high: str  # the layer of the high-level features
    activated: bool = False  # whether to read the activations after these two layers; Keras generates their names
    first: str | None = None  # the first layer to keep; the layers before it normalise the image
    last_units: tuple[str, ...] = ()  # convolutions whose rates `multi_grid` multiplies; empty without this option

    def __call__(
        self, image: KerasTensor, output_stride: int, weights: WeightsSource, **options: Any
    ) -> dict[str, KerasTensor]:
        """Computes features of RGB in [0, 255]: `(B, H, W, 3) -> "low" (B, H/4, W/4, C), "high" (B, H/s, W/s, C)`.

        Raises:
            InputError: The network has no such option, or the weights cannot be fetched or do not fit.
        """
        factors = {}
        if self.last_units:
            grid = check_multi_grid(options.pop("multi_grid", (1, 1, 1)))
            factors = dict(zip(self.last_units, grid, strict=True))
        original = self._original(weights, **options)
        if self.first is not None:
            original = keras.Model(original.get_layer(self.first).input, original.output)
        if weights not in (None, "imagenet"):
            report = load_hdf5(original, Path(weights))
            logging.getLogger(__name__).info("%s: %s", original.name, report)
        dilated = dilate(original, self.normalise(image), output_stride, factors)
        return {"low": self._tap(dilated, self.low), "high": self._tap(dilated, self.high)}

    def _tap(self, network: keras.Model, name: str) -> KerasTensor:
        features = network.get_layer(name).output
        if self.activated:
            return next(layer.output for layer in network.layers if layer.input is features)
        return features

    def _original(self, weights: WeightsSource, **options: Any) -> keras.Model:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "`input_shape` is undefined")  # on purpose
                return self.network(include_top=False, weights="imagenet" if weights == "imagenet" else None, **options)
        except Exception as error:  # Keras raises bare `Exception` when a download fails
            if not is_download_error(error):
                raise InputError(
                    f"{self.network.__name__} could not be built. Does it have the options {options}? Received: {error}"
                ) from error
            raise InputError(
                f"The file of {self.network.__name__}'s ImageNet weights cannot be fetched ({download_reason(error)}). "
                f"Try again, or {OFFLINE_REMEDY}. Received: weights='imagenet'"
            ) from error


_APPS = keras.applications
_RESNETS = {"resnet50": _APPS.ResNet50, "resnet101": _APPS.ResNet101, "resnet152": _APPS.ResNet152}
_EFFICIENTNETS = {  # network, and the output of its last block: an addition if the last stage has several blocks
    "efficientnet_b0": (_APPS.EfficientNetB0, "block7a_project_bn"),
    "efficientnet_b1": (_APPS.EfficientNetB1, "block7b_add"),
    "efficientnet_b2": (_APPS.EfficientNetB2, "block7b_add"),
    "efficientnet_b3": (_APPS.EfficientNetB3, "block7b_add"),
    "efficientnet_b4": (_APPS.EfficientNetB4, "block7b_add"),
    "efficientnet_b5": (_APPS.EfficientNetB5, "block7c_add"),
    "efficientnet_b6": (_APPS.EfficientNetB6, "block7c_add"),
    "efficientnet_b7": (_APPS.EfficientNetB7, "block7d_add"),
}

# "low" is the input of the first layer of stride 8. "high" is the input of the classifier's own layers. As in DeepLab,
# these include the last layer of MobileNetV2 and EfficientNet, with 1280 channels and more. As in torchvision's
# DeepLabV3, they do not include MobileNetV3's last layer, with 960.
APPLICATIONS = {
    **{
        name: Application(
            network,
            _caffe,
            "conv2_block3_out",
            "conv5_block3_out",
            last_units=("conv5_block1_2_conv", "conv5_block2_2_conv", "conv5_block3_2_conv"),
        )
        for name, network in _RESNETS.items()
    },
    "mobilenet": Application(_APPS.MobileNet, _unit_range, "conv_pw_3_relu", "conv_pw_13_relu"),
    "mobilenet_v2": Application(_APPS.MobileNetV2, _unit_range, "block_3_expand_relu", "block_16_project_BN"),
    "mobilenet_v3_large": Application(
        _APPS.MobileNetV3Large, _unit_range, "expanded_conv_3_expand_bn", "conv_1_bn", activated=True, first="conv"
    ),
    **{
        name: Application(network, _imagenet, "block3a_expand_activation", high, first="stem_conv_pad")
        for name, (network, high) in _EFFICIENTNETS.items()
    },
    "xception": Application(_APPS.Xception, _unit_range_padded, "block3_sepconv2_bn", "block14_sepconv2_act"),
}
