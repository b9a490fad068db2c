"""What leaves the package: one graph from pixels to class ids, with all that `evaluate` and `predict` do in it."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_crosscoop.errors import unknown
from keras_crosscoop.export.folding import folded
from keras_crosscoop.export.rewriting import producer
from keras_crosscoop.models import Segmenter
from keras_crosscoop.models.segmenter import ENSEMBLE

Size = tuple[int, int]  # (H, W)


def chosen(model: Segmenter, output: str | None) -> str:
    """The output that is exported: the one asked for, or the model's last, so the ensemble where there is one.

    Raises:
        InputError: the model has no such output.
    """
    if output not in (None, *model.output_choices):
        raise unknown("output", output, model.output_choices)
    return output or model.output_choices[-1]


def deployed(model: Segmenter, output: str, size: Size | None = None) -> keras.Model:
    """The networks that an output needs, in inference: RGB in [0, 255] `(B, H, W, 3) -> logits [(B, H', W', C), ...]`.

    What only other outputs need is not in it, nor what only training needs. Logits are as large as the padded image:
    to cut the edges off what is `told` of them takes less than to cut them off every class.

    Args:
        model: the trained networks; they stay as they are.
        output: one of `model.output_choices`.
        size: `(H, W)`, where it shall be fixed.
    """
    sides = model.sides if output == ENSEMBLE else (output,)
    padded = [producer(model.output[side]).input[0] for side in sides]  # before `CropLike`
    return folded(keras.Model(model.input, padded, name=output), (*(size or (None, None)), 3))


def probable(logits: Sequence[tf.Tensor]) -> tf.Tensor:
    """The class probabilities of an output, of which the ensemble's are the mean of two networks'."""
    return sum(map(tf.nn.softmax, logits)) / len(logits)


def told(logits: Sequence[tf.Tensor], size: tf.Tensor | Size) -> dict[str, tf.Tensor]:
    """The likeliest class of each pixel and its probability, of images `(H, W)`: `classes`, `confidence`, `(B, H, W)`.

    As `probable` has it, but means of one number a pixel, not of all classes'.
    """
    likeness = sum(map(tf.nn.softmax, logits))
    classes = tf.cast(tf.argmax(likeness, axis=-1, output_type=tf.int32), tf.uint8)
    confidence = tf.reduce_max(likeness, axis=-1) / len(logits)
    return {"classes": cropped(classes, size), "confidence": cropped(confidence, size)}


def cropped(padded: tf.Tensor, size: tf.Tensor | Size) -> tf.Tensor:
    """Without what lies below and to the right of `size`: `(B, H', W', ...) -> (B, H, W, ...)`."""
    return padded[:, : size[0], : size[1]]


def fitted(image: tf.Tensor, size: Size) -> tf.Tensor:
    """Images, uint8 `(B, H, W, 3)`, brought to the size that a network was exported for: bilinear, rounded."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    return tf.cast(tf.round(tf.image.resize(image, size)), tf.uint8)


def restored(told: dict[str, tf.Tensor], size: Any) -> dict[str, tf.Tensor]:
    """What was `told` at another size, `(B, h, w)`, at the images' own, `(B, H, W)`: of each pixel the nearest."""
    return {key: tf.image.resize(found[..., None], size, "nearest")[..., 0] for key, found in told.items()}


def frozen(network: Any, *signature: tf.TensorSpec) -> Any:
    """A function whose variables are constants, which kernels may prepare once: it gives a list of tensors."""
    function = tf.function(network, input_signature=signature, autograph=False)
    return convert_variables_to_constants_v2(function.get_concrete_function())
