"""What leaves the package: one graph from pixels to class ids, with all that `evaluate` and `predict` do in it."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_crosscoop.export.folding import folded
from keras_crosscoop.models import Segmenter

Size = tuple[int, int]  # (H, W)

_STRIDE = 4  # image pixels between two of the decoder's, and so of the logits


def deployed(model: Segmenter, output: str, size: Size | None = None) -> keras.Model:
    """The networks that an output needs, in inference, up to their logits at a quarter of the (padded) image's size.

    RGB in [0, 255], `(B, H, W, 3) -> {side: (B, H'/4, W'/4, C)}`, of which `told` makes classes. What only other
    outputs need is not in it, nor what only training needs.

    Args:
        model: the trained networks; they stay as they are.
        output: one of `model.output_choices`.
        size: `(H, W)`, where it shall be fixed.
    """
    logits = {side: model.get_layer(f"{side}_classifier").output for side in model.sides_of(output)}
    return folded(keras.Model(model.input, logits, name=output), (*(size or (None, None)), 3))


def probable(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> tf.Tensor:
    """The class probabilities of images `(H, W)`, of an ensemble the mean of its networks': `(B, H, W, C)`."""
    return _cropped(_likeness(logits), size) / len(logits)


def told(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> dict[str, tf.Tensor]:
    """The likeliest class of each pixel and its probability, of images `(H, W)`: `classes`, `confidence`, `(B, H, W)`.

    As `probable` has it; but edges are cut off, and means are taken, of one number a pixel instead of all classes'.
    """
    likeness = _likeness(logits)
    classes = tf.cast(tf.argmax(likeness, axis=-1, output_type=tf.int32), tf.uint8)
    confidence = _cropped(tf.reduce_max(likeness, axis=-1), size) / len(logits)
    return {"classes": _cropped(classes, size), "confidence": confidence}


def _likeness(logits: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The sum of all networks' class probabilities at the padded image's size: `(B, H', W', C)`."""
    first, *_ = logits.values()
    size = tuple(_STRIDE * length for length in keras.ops.shape(first)[1:3])
    return sum(tf.nn.softmax(tf.image.resize(each, size)) for each in logits.values())


def _cropped(padded: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
    """What `PadToMultiple` added, cut off: `(B, H', W', ...) -> (B, H, W, ...)`."""
    return padded[:, : size[0], : size[1]]


def fitted(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Images, uint8 `(B, H, W, 3)`, brought to the size that a network was exported for: bilinear, rounded."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    resized = tf.image.resize(tf.cast(image, tf.float32), size)  # ONNX gives the type that it gets
    # Rounded so that means which lie between two numbers, as often happens, go up in spite of a runtime's last bit
    return tf.cast(tf.floor(resized + 0.501), tf.uint8)


def restored(told: dict[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """What was `told` at another size, `(B, h, w)`, at the images' own, `(B, H, W)`: of each pixel the nearest."""
    return {key: tf.image.resize(found[..., None], size, "nearest")[..., 0] for key, found in told.items()}
