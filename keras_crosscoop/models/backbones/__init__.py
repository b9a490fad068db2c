"""Backbones: what looks at the image first, and shows the two feature maps that DeepLabV3+ taps."""

from typing import Any

import keras

from keras_crosscoop.errors import InputError, unknown
from keras_crosscoop.models.backbones.applications import APPLICATIONS
from keras_crosscoop.models.backbones.tiny import tiny_resnet, tiny_xception
from keras_crosscoop.models.backbones.weights import Weights, load_weights
from keras_crosscoop.models.backbones.xception import xception

OUTPUT_STRIDES = (8, 16, 32)

_OURS = {"xception65": xception, "tiny_xception": tiny_xception, "tiny_resnet": tiny_resnet}
NAMES = (*_OURS, *APPLICATIONS)


def build(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    output_stride: int = 16,
    weights: Weights = "imagenet",
    scope: str | None = None,
    **options: Any,
) -> keras.Model:
    """A backbone, RGB in [0, 255]: `(B, H, W, 3) -> "low" (B, H/4, W/4, C), "high" (B, H/s, W/s, C)`.

    Args:
        name: one of `NAMES`.
        input_shape: `(H, W, 3)`.
        output_stride: s: image pixels between two features of "high": 8, 16 or 32.
        weights: "imagenet", a ".weights.h5" file (of the Keras Applications model without its top, or of this very
            model for the backbones built here), or None for random ones.
        scope: names the model and begins its variables' paths; the name by default.
        **options: of the network, as `alpha` of the MobileNets.

    Raises:
        InputError: a name, stride or option that does not exist, or weights that cannot be had or do not fit.
    """
    if name not in NAMES:
        raise unknown("backbone", name, NAMES)
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"`output_stride` must be one of {OUTPUT_STRIDES}. Received: {output_stride!r}")
    scope = scope or name
    with keras.name_scope(scope):
        image = keras.Input(input_shape, name="image")
        if name in APPLICATIONS:
            return keras.Model(image, APPLICATIONS[name](image, output_stride, weights, **options), name=scope)
        if options:
            raise InputError(f'Backbone "{name}" takes no options. Received: {options}')
        if weights == "imagenet":
            raise InputError(
                f'Backbone "{name}" has no ImageNet weights to fetch. Give a ".weights.h5" file, or None (on the '
                f'command line "none") to start from random weights. Received: weights={weights!r}'
            )
        model = keras.Model(image, _OURS[name](image, output_stride), name=scope)
    if weights is not None:
        load_weights(model, weights)
    return model
