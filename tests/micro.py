"""A network for tests that are not about networks: two outputs of two convolutions each, which build in no time."""

import keras
from keras import layers

from keras_crosscoop.models import Segmenter


def micro_pair(seed=0, *, classes=3, size=None):
    """Returns a pair with everything that a step changes: weights, batch-normalisation statistics, random states."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    logits = {}
    for side in ("top", "bottom"):
        x = layers.Rescaling(1 / 255)(image) if size is None else image
        x = layers.Conv2D(4, 3, padding="same", name=f"{side}_backbone")(x)
        x = layers.BatchNormalization(momentum=0.5, name=f"{side}_bn")(x)
        x = layers.Dropout(0.5, name=f"{side}_dropout")(x)
        logits[side] = layers.Conv2D(classes, 1, dtype="float32", name=f"{side}_classifier")(x)
    return Segmenter(image, logits, {}, name="micro")
