"""The deployment graph: exactly the computation of `evaluate` and `predict`, from pixels to class ids."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_crosscoop.export.folding import fold_batch_normalization
from keras_crosscoop.models import Segmenter

Size = tuple[int, int]  # (H, W)

_STRIDE = 4  # of the decoder's features, and therefore of the logits, in image pixels


def deployment_graph(model: Segmenter, output: str, size: Size | None = None) -> keras.Model:
    """Returns the graph of an output for inference, from images to logits at a quarter of the (padded) image's size.

    RGB in [0, 255], `(B, H, W, 3) -> {side: (B, H'/4, W'/4, C)}`; `predictions` converts the logits to classes. The
    input has a fixed size `(H, W)`, or any size by default. The model stays unchanged.
    """
    logits = {side: model.get_layer(f"{side}_classifier").output for side in model.sides_of(output)}
    return fold_batch_normalization(keras.Model(model.input, logits, name=output), (*(size or (None, None)), 3))


def probabilities(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> tf.Tensor:
    """Returns class probabilities at the images' size `(H, W)`, averaged over the networks: `(B, H, W, C)`."""
    return _crop(_sum_of_probabilities(logits), size) / len(logits)


def predictions(logits: Mapping[str, tf.Tensor], size: tf.Tensor | Size) -> dict[str, tf.Tensor]:
    """Returns the most likely class of each pixel and its probability: `classes` and `confidence`, `(B, H, W)`.

    Equals argmax and maximum of `probabilities`, but crops and averages one number per pixel instead of C.
    """
    scores = _sum_of_probabilities(logits)
    classes = tf.cast(tf.argmax(scores, axis=-1, output_type=tf.int32), tf.uint8)
    confidence = _crop(tf.reduce_max(scores, axis=-1), size) / len(logits)
    return {"classes": _crop(classes, size), "confidence": confidence}


def _sum_of_probabilities(logits: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Sums class probabilities over the networks, at the padded image's size: `(B, H', W', C)`."""
    first, *_ = logits.values()
    size = tuple(_STRIDE * length for length in keras.ops.shape(first)[1:3])
    return sum(tf.nn.softmax(tf.image.resize(network_logits, size)) for network_logits in logits.values())


def _crop(padded: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
    """Removes the padding of `PadToMultiple`: `(B, H', W', ...) -> (B, H, W, ...)`."""
    return padded[:, : size[0], : size[1]]


def resize_in(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Resizes images, uint8 `(B, H, W, 3)`, to the input size of an exported network, bilinearly and with rounding."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    resized = tf.image.resize(tf.cast(image, tf.float32), size)  # ONNX would keep the type of its input
    # Values half way between two integers, which are common, round up in all runtimes, even if the last bit differs.
    return tf.cast(tf.floor(resized + 0.501), tf.uint8)


def segment(
    network: Callable[[tf.Tensor], Mapping[str, tf.Tensor]], images: tf.Tensor, size: Size | None
) -> dict[str, tf.Tensor]:
    """Returns `predictions` for images, uint8 `(B, H, W, 3)`, which are resized to `size` for the network, if given."""
    original_size = keras.ops.shape(images)[1:3]
    if size is None:
        return predictions(network(images), original_size)
    return resize_back(predictions(network(resize_in(images, size)), size), original_size)


def resize_back(predicted: Mapping[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """Resizes `predictions` of size `(B, h, w)` to the images' own size `(B, H, W)`, by nearest neighbours."""
    return {name: tf.image.resize(array[..., None], size, "nearest")[..., 0] for name, array in predicted.items()}
