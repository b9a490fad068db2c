"""What leaves the package: one graph from pixels to class ids, with all that `evaluate` and `predict` do in it."""

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_crosscoop.errors import unknown
from keras_crosscoop.export.folding import folded
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
    """Of one output, the network in inference: RGB in [0, 255] `(B, H, W, 3) -> probabilities (B, H, W, C)`, float32.

    What only other outputs need is not in it, nor what only training needs.

    Args:
        model: the trained networks; they stay as they are.
        output: one of `model.output_choices`.
        size: `(H, W)`, where it shall be fixed.
    """
    sides = model.sides if output == ENSEMBLE else (output,)
    wanted = keras.Model(model.input, {side: model.output[side] for side in sides}, name=output)
    network = folded(wanted, (*(size or (None, None)), 3))
    probabilities = [layers.Softmax(name=f"{side}_softmax")(network.output[side]) for side in sides]
    found = probabilities[0] if len(sides) == 1 else layers.Average(name=f"{ENSEMBLE}_average")(probabilities)
    return keras.Model(network.input, found, name=output)


class Told(layers.Layer):
    """What is told of probabilities `(B, H, W, C)`: `classes`, uint8 `(B, H, W)`, and `confidence`, float32 alike."""

    def call(self, probabilities: KerasTensor) -> dict[str, KerasTensor]:
        """See the class."""
        return told(probabilities)


def told(probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    """The likeliest class of each pixel, and its probability: `(B, H, W, C) -> classes, confidence (B, H, W)`."""
    classes = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    return {"classes": tf.cast(classes, tf.uint8), "confidence": tf.reduce_max(probabilities, axis=-1)}


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
