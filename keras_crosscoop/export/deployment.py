"""The deployment graph: everything from pixels to class ids that `evaluate` and `predict` compute, and nothing else."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_crosscoop.export.folding import fold_batch_normalization
from keras_crosscoop.models import Segmenter

Size = tuple[int, int]  # (H, W)

_STRIDE = 4  # image pixels between two of the decoder's, and so of the logits


def deployment_graph(model: Segmenter, output: str, size: Size | None = None) -> keras.Model:
    """Returns the layers that an output needs, in inference, up to the logits at a quarter of the (padded) image.

    RGB in [0, 255], `(B, H, W, 3) -> {side: (B, H'/4, W'/4, C)}`; `predictions` turns these into classes.

    Args:
        model: the trained networks; they do not change.
        output: one of `model.output_choices`.
        size: a fixed input size `(H, W)`; any size by default.
    """
    logits = {side: model.get_layer(f"{side}_classifier").output for side in model.sides_of(output)}
    return fold_batch_normalization(keras.Model(model.input, logits, name=output), (*(size or (None, None)), 3))


def probabilities(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> tf.Tensor:
    """Returns class probabilities of images `(H, W)`, of an ensemble the mean of its networks': `(B, H, W, C)`."""
    return _crop(_sum_of_probabilities(logits), size) / len(logits)


def predictions(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> dict[str, tf.Tensor]:
    """Returns the most likely class of each pixel and its probability: `classes` and `confidence`, `(B, H, W)`.

    The same as argmax and maximum of `probabilities`, but cropping and averaging touch one number a pixel, not C.
    """
    scores = _sum_of_probabilities(logits)
    classes = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)
    confidence = _crop(tf.reduce_max(scores, axis=-1), size) / len(logits)
    return {"classes": _crop(classes, size), "confidence": confidence}


def _sum_of_probabilities(logits: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """The sum over networks at the padded image's size: `(B, H', W', C)`."""
    first, *_ = logits.values()
    size = tuple(_STRIDE * length for length in keras.ops.shape(first)[1:3])
    return sum(tf.nn.softmax(tf.image.resize(of_network, size)) for of_network in logits.values())


def _crop(padded: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
    """Removes the padding of `PadToMultiple`: `(B, H', W', ...) -> (B, H, W, ...)`."""
    return padded[:, : size[0], : size[1]]


def resize_in(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes images, uint8 `(B, H, W, 3)`, to the input size of an exported network: bilinear, rounded."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    resized = tf.image.resize(tf.cast(image, tf.float32), size)  # ONNX would keep the type of its input
    # Half way between two integers, which is common, rounds up whatever a runtime's last bit.
    return tf.cast(tf.floor(resized + 0.501), tf.uint8)


def resize_back(predicted: Mapping[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """Resizes `predictions` at another size, `(B, h, w)`, to the images' own `(B, H, W)`: nearest neighbour."""
    return {name: tf.image.resize(array[..., None], size, "nearest")[..., 0] for name, array in predicted.items()}
