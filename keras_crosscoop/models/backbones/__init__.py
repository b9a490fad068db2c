"""Backbones: networks that compute the low-level and high-level features of an image for DeepLabV3+."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import KerasTensor

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.models.backbones import deeplab
from keras_crosscoop.models.backbones.applications import APPLICATIONS
from keras_crosscoop.models.backbones.tiny import tiny_resnet, tiny_xception
from keras_crosscoop.models.backbones.xception import xception
from keras_crosscoop.models.weights import TransferReport, WeightsSource, load_hdf5

OUTPUT_STRIDES = (8, 16, 32)
_MAX_OPTION = 16  # factor of the usual channels or rates, for an option such as `alpha`


@dataclass(frozen=True)
class OwnBackbone:
    """A backbone that this package builds."""

    graph: Callable[..., dict[str, KerasTensor]]  # (image, output stride, **options) -> features "low" and "high"
    options: tuple[str, ...] = ()
    load: Callable[[keras.Model, Path], TransferReport] = load_hdf5
    load_imagenet: Callable[[keras.Model], TransferReport] | None = None  # None if no weights were published


OWN = {
    "xception65": OwnBackbone(xception, ("multi_grid",), deeplab.load, deeplab.load_imagenet),
    "tiny_xception": OwnBackbone(tiny_xception),
    "tiny_resnet": OwnBackbone(tiny_resnet),
}
NAMES = (*OWN, *APPLICATIONS)  # `facts.json` describes them, so that listing them needs no TensorFlow


def check_name(name: str) -> str:
    """Returns the name of a backbone.

    Raises:
        InputError: There is no such backbone.
    """
    if name not in OWN and name not in APPLICATIONS:
        raise unknown_name("backbone", name, NAMES)
    return name


def build(
    name: str,
    *,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    output_stride: int = 16,
    weights: WeightsSource = "imagenet",
    scope: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a backbone: `(B, H, W, 3) -> "low" (B, H/4, W/4, C), "high" (B, H/s, W/s, C)`, from RGB in [0, 255].

    Args:
        name: One of `NAMES`.
        input_shape: `(H, W, 3)`; None for any height or width.
        output_stride: S, the stride of "high" in pixels: 8, 16 or 32.
        weights: "imagenet", a file, or None for random weights. A file is a `.h5`, `.weights.h5` or `.keras` file of
            this model, or of the Keras Applications model without its top; for "xception65" also a DeepLab checkpoint.
        scope: Name of the model and first part of its variables' paths; `name` by default.
        **options: Options of the network, such as `alpha` of MobileNets or `multi_grid` of ResNets and "xception65".

    Returns:
        A functional model with a dict of the two features.

    Raises:
        InputError: A name, stride or option does not exist, or weights cannot be fetched or do not fit.

    Example:
        >>> backbone = build("tiny_resnet", output_stride=16, weights=None)
        >>> {name: tuple(values.shape) for name, values in backbone(np.zeros((1, 64, 96, 3))).items()}
        {'low': (1, 16, 24, 32), 'high': (1, 4, 6, 128)}
    """
    check_name(name)
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"`output_stride` must be one of {OUTPUT_STRIDES}. Received: {output_stride!r}")
    numbers = [option for option in keras.tree.flatten(options) if isinstance(option, int | float)]
    if not all(0 <= number <= _MAX_OPTION for number in numbers):
        raise InputError(f"Numbers among a backbone's options must be in 0 to {_MAX_OPTION}. Received: {options}")
    scope = scope or name
    with keras.name_scope(scope):
        image = keras.Input(input_shape, name="image")
        if name in APPLICATIONS:
            return keras.Model(image, APPLICATIONS[name](image, output_stride, weights, **options), name=scope)
        own = OWN[name]
        if not set(options) <= set(own.options):
            valid = f"no options but {', '.join(own.options)}" if own.options else "no options"
            raise InputError(f'Backbone "{name}" takes {valid}. Received: {options}')
        if weights == "imagenet" and own.load_imagenet is None:
            raise InputError(
                f'Backbone "{name}" has no ImageNet weights to fetch. Give a ".weights.h5" file, or None (on the '
                f'command line "none") to start from random weights. Received: weights={weights!r}'
            )
        model = keras.Model(image, own.graph(image, output_stride, **options), name=scope)
    if weights is not None:
        report = own.load_imagenet(model) if weights == "imagenet" else own.load(model, Path(weights))
        logging.getLogger(__name__).info("%s: %s", scope, report)
    return model
