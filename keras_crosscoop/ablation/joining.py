"""Two single networks as one model: their ensemble needs no training of its own."""

import keras

from keras_crosscoop.models import Segmenter


def late_ensemble(top: Segmenter, bottom: Segmenter) -> Segmenter:
    """A model of both networks' outputs, and so of their ensemble: `(B, H, W, 3) -> "top", "bottom": (B, H, W, C)`.

    Args:
        top: of one output, as `DeepLabV3Plus`; it gets another name.
        bottom: likewise.
    """
    image = keras.Input((None, None, 3), name="image")
    logits = {}
    for side, network in (("top", top), ("bottom", bottom)):
        network.name = f"{side}_network"  # a graph's parts have different ones
        (logits[side],) = network(image).values()
    return Segmenter(image, logits, {}, name="joined")
