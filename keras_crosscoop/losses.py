"""The loss of one output."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.labels import VOID


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits, in float32, the mean over valid pixels: `(B, H, W), (B, H, W, C) -> ()`.

    Zero, and with it its gradient, where every pixel is void.

    Args:
        class_weights: how much a pixel of each class counts in the mean, `(C,)`; None for all alike.
        name: of the loss.
        **kwargs: others of `keras.losses.Loss`.
    """

    def __init__(
        self, class_weights: Sequence[float] | None = None, name: str = "cross_entropy", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))

    def call(self, labels: KerasTensor, logits: KerasTensor) -> KerasTensor:
        """See the class."""
        valid = ops.not_equal(labels, VOID)
        classes = ops.cast(ops.where(valid, labels, 0), "int32")
        losses = ops.sparse_categorical_crossentropy(classes, ops.cast(logits, "float32"), from_logits=True)
        weights = ops.cast(valid, "float32")
        if self.class_weights is not None:
            weights *= ops.take(ops.convert_to_tensor(self.class_weights, "float32"), classes)
        total = ops.sum(weights)
        return ops.sum(ops.where(valid, weights * losses, 0.0)) / ops.where(total > 0, total, 1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"class_weights": self.class_weights}
