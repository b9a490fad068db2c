"""The ensemble of two networks that were trained separately."""

import keras

from keras_crosscoop.models import Segmenter


def late_ensemble(top: Segmenter, bottom: Segmenter) -> Segmenter:
    """Returns a model with the outputs of both networks: `(B, H, W, 3) -> "top", "bottom": (B, H, W, C)`.

    Args:
        top: A network with one output, such as `DeepLabV3Plus`; it is renamed.
        bottom: Another such network.
    """
    image = keras.Input((None, None, 3), name="image")
    logits = {}
    for side, network in (("top", top), ("bottom", bottom)):
        network.name = f"{side}_network"  # names within a graph must differ
        (logits[side],) = network(image).values()
    return Segmenter(image, logits, {}, name="late_ensemble")
