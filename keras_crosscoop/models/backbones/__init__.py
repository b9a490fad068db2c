"""Backbones: what looks at the image first, and shows the two feature maps that DeepLabV3+ taps."""

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
from keras_crosscoop.models.weights import Report, Weights, load_hdf5

OUTPUT_STRIDES = (8, 16, 32)
_WIDEST = 16  # times the usual channels or rates that an option, such as `alpha`, may ask for


@dataclass(frozen=True)
class _Own:
    """A backbone that is built here, and how its weights are loaded: from files, and as published if they are."""

    graph: Callable[..., dict[str, KerasTensor]]
    options: tuple[str, ...] = ()
    load: Callable[[keras.Model, Path], Report] = load_hdf5
    load_imagenet: Callable[[keras.Model], Report] | None = None
    origin: str | None = None


_OWN = {
    "xception65": _Own(xception, ("multi_grid",), deeplab.load, deeplab.load_imagenet, "DeepLab"),
    "tiny_xception": _Own(tiny_xception),
    "tiny_resnet": _Own(tiny_resnet),
}
NAMES = (*_OWN, *APPLICATIONS)  # `facts.json` tells of each, for who may not wait until it is built


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
        weights: "imagenet", a file, or None for random ones. A file is `.h5`, `.weights.h5` or `.keras`, of the Keras
            Applications model without its top, or of this very model; for "xception65" also a DeepLab checkpoint.
        scope: names the model and begins its variables' paths; the name by default.
        **options: of the network, as `alpha` of the MobileNets and `multi_grid` of the ResNets and "xception65".

    Raises:
        InputError: a name, stride or option that does not exist, or weights that cannot be had or do not fit.
    """
    if name not in NAMES:
        raise unknown_name("backbone", name, NAMES)
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"`output_stride` must be one of {OUTPUT_STRIDES}. Received: {output_stride!r}")
    numbers = [option for option in keras.tree.flatten(options) if isinstance(option, int | float)]
    if not all(0 <= number <= _WIDEST for number in numbers):
        raise InputError(f"Numbers among a backbone's options are from 0 to {_WIDEST}. Received: {options}")
    scope = scope or name
    with keras.name_scope(scope):
        image = keras.Input(input_shape, name="image")
        if name in APPLICATIONS:
            return keras.Model(image, APPLICATIONS[name](image, output_stride, weights, **options), name=scope)
        own = _OWN[name]
        if not set(options) <= set(own.options):
            which = f"no options but {', '.join(own.options)}" if own.options else "no options"
            raise InputError(f'Backbone "{name}" takes {which}. Received: {options}')
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
