"""The loss of one output."""

from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.labels import VOID


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits, in float32, the mean over valid pixels: `(B, H, W), (B, H, W, C) -> ()`.

    Zero, and with it its gradient, where every pixel is void.
    """

    def __init__(self, name: str = "cross_entropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, labels: KerasTensor, logits: KerasTensor) -> KerasTensor:
        """See the class."""
        valid = ops.not_equal(labels, VOID)
        classes = ops.cast(ops.where(valid, labels, 0), "int32")
        losses = ops.sparse_categorical_crossentropy(classes, ops.cast(logits, "float32"), from_logits=True)
        count = ops.sum(ops.cast(valid, "float32"))
        return ops.sum(ops.where(valid, losses, 0.0)) / ops.maximum(count, 1.0)
