"""Networks for tests that are not about networks: a pair of two convolutions a side, and backbones of three.

Importing this module registers the backbones.
"""

from functools import partial

import keras
from keras import layers

from keras_crosscoop.models import Segmenter, backbones
from keras_crosscoop.models.backbones import OwnBackbone
from keras_crosscoop.models.blocks import conv_bn_relu


def micro_pair(seed=0, *, classes=3, size=None, sides=("top", "bottom"), dropout=0.5, kind=Segmenter):
    """Returns a pair with everything that a step changes: weights, batch-normalisation statistics, random states.

    Another `kind` is a subclass of `Segmenter`; the sides `("single",)` make a single network.
    """
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    logits = {}
    for side in sides:
        x = layers.Rescaling(1 / 255)(image) if size is None else image
        x = layers.Conv2D(4, 3, padding="same", name=f"{side}_backbone")(x)
        x = layers.BatchNormalization(momentum=0.5, name=f"{side}_bn")(x)
        x = layers.Dropout(dropout, name=f"{side}_dropout")(x)
        logits[side] = layers.Conv2D(classes, 1, dtype="float32", name=f"{side}_classifier")(x)
    return kind(image, logits, {}, name="micro")


def micro(image, output_stride, *, kernel_size, channels=16):
    """Strides 4, 2 and the rest: `(B, H, W, 3) -> "low" (B, H/4, W/4, 8), "high" (B, H/s, W/s, channels)`."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    x = low = conv_bn_relu(x, 8, kernel_size, stride=4, name="block1")
    x = conv_bn_relu(x, 8, kernel_size, stride=2, name="block2")
    return {"low": low, "high": conv_bn_relu(x, channels, kernel_size, stride=output_stride // 8, name="block3")}


backbones.OWN["micro_3x3"] = OwnBackbone(partial(micro, kernel_size=3), ("channels",))
backbones.OWN["micro_5x5"] = OwnBackbone(partial(micro, kernel_size=5), ("channels",))
