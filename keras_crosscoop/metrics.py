"""What is measured, in the graph: one confusion matrix an output, from which every figure follows."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop.labels import VOID, check_labels
from keras_crosscoop.losses import SegmentationLoss

# JAX compiles nothing whose shape depends on values, and has no integers of 64 bits unless told to.
_ON_JAX = keras.backend.backend() == "jax"


@keras.saving.register_keras_serializable("keras_crosscoop")
class Confusion(keras.metrics.Metric):
    """An integer confusion matrix over all valid pixels: row the label, column the prediction.

    `result()` gives `{name}_mean_iou` and `{name}_pixel_accuracy`, fractions of 1.

    Args:
        num_classes: C, of labels and predictions.
        name: of the output that is measured.
    """

    def __init__(self, num_classes: int, *, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        dtype = "uint32" if _ON_JAX else "int64"  # counts up to 4.3 billion pixels of a kind: Cityscapes has 6 in all
        self.matrix = self.add_variable((num_classes, num_classes), "zeros", dtype=dtype, name="matrix")

    def update_state(self, labels: KerasTensor, classes: KerasTensor, sample_weight: None = None) -> None:
        """Counts pixels: labels and predicted classes, both `(B, H, W)` integers.

        Raises:
            InputError: labels are of another shape or type, or one of them is no class; see `check_labels`.
        """
        classes = ops.cast(classes, "int32")
        labels = check_labels(labels, self.num_classes, classes)
        # Void pixels are counted in one more row, which is cut off again: no gather of valid pixels is needed.
        rows = ops.where(ops.equal(labels, VOID), self.num_classes, labels)
        cells = ops.reshape(rows * self.num_classes + classes, (-1,))
        length = (self.num_classes + 1) * self.num_classes
        if _ON_JAX:
            counts = ops.segment_sum(ops.ones_like(cells), cells, length)
        else:
            counts = ops.bincount(cells, minlength=length)
        counts = ops.reshape(counts, (self.num_classes + 1, self.num_classes))[: self.num_classes]
        self.matrix.assign_add(ops.cast(counts, self.matrix.dtype))

    def result(self) -> dict[str, KerasTensor]:
        """The two figures; 0 before anything was counted."""
        matrix = ops.cast(self.matrix, "float32")
        correct = ops.diagonal(matrix)
        union = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - correct
        present = ops.sum(ops.cast(union > 0, "float32"))
        mean_iou = ops.sum(correct / ops.maximum(union, 1.0)) / ops.maximum(present, 1.0)
        accuracy = ops.sum(correct) / ops.maximum(ops.sum(matrix), 1.0)
        return {f"{self.name}_mean_iou": mean_iou, f"{self.name}_pixel_accuracy": accuracy}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"num_classes": self.num_classes}


@keras.saving.register_keras_serializable("keras_crosscoop")
class MeanLoss(keras.metrics.Metric):
    """A loss over all images seen, however they come in batches.

    Args:
        loss: what is averaged.
        name: of the figure.

    Attributes:
        counted: whether anything was ever added.
    """

    def __init__(self, loss: SegmentationLoss, *, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.loss = loss
        self.counted = False
        terms = (len(loss.coefficients),)
        self.sums = self.add_variable(terms, "zeros", dtype="float32", name="sums")
        self.sizes = self.add_variable(terms, "zeros", dtype="float32", name="sizes")

    def update_state(self, sums: KerasTensor, sizes: KerasTensor, sample_weight: None = None) -> None:
        """Adds a batch's, see `SegmentationLoss`."""
        self.counted = True
        self.sums.assign_add(sums)
        self.sizes.assign_add(sizes)

    def result(self) -> KerasTensor:
        """The loss; 0 before anything was seen."""
        return self.loss.total(self.sums, self.sizes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"loss": keras.saving.serialize_keras_object(self.loss)}


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 `(..., C)`; NaN for a class in neither labels nor predictions.

    Args:
        matrix: confusion matrices, `(..., C, C)` integers.
    """
    correct = np.diagonal(matrix, axis1=-2, axis2=-1).astype("float64")
    union = matrix.sum(axis=-2) + matrix.sum(axis=-1) - correct
    return np.divide(correct, union, out=np.full(correct.shape, np.nan), where=union > 0)
