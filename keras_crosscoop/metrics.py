"""Confusion matrices, and the metrics that follow from them."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop.labels import IGNORE_LABEL, check_labels
from keras_crosscoop.losses import SegmentationLoss

# JAX cannot compile shapes that depend on values, and has no 64-bit integers by default.
_ON_JAX = keras.backend.backend() == "jax"


def confusion_matrix(labels: Any, classes: Any, num_classes: int) -> KerasTensor:
    """Counts the pixels of each pair of label and predicted class; works eagerly and in graphs.

    Args:
        labels: Checked labels: class ids, and 255 for void pixels, which are not counted; integers of any shape.
        classes: Predicted class ids, integers of the same shape.
        num_classes: C.

    Returns:
        A tensor of integers `(C, C)`; rows are labels, columns are predictions.

    Example:
        >>> np.asarray(confusion_matrix(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 0]), 2)).tolist()
        [[1, 1], [0, 1]]
    """
    labels, classes = ops.cast(labels, "int32"), ops.cast(classes, "int32")
    rows = ops.where(ops.equal(labels, IGNORE_LABEL), num_classes, labels)  # void pixels get a row that is cut off
    cells, length = ops.reshape(rows * num_classes + classes, (-1,)), (num_classes + 1) * num_classes
    counts = ops.segment_sum(ops.ones_like(cells), cells, length) if _ON_JAX else ops.bincount(cells, minlength=length)
    return ops.reshape(counts, (num_classes + 1, num_classes))[:num_classes]


@keras.saving.register_keras_serializable("keras_crosscoop")
class Confusion(keras.metrics.Metric):
    """Accumulates a confusion matrix over all valid pixels; rows are labels, columns are predictions.

    `result()` has `{name}_mean_iou`, over the classes that occur in the labels (see `mean_iou`), and
    `{name}_pixel_accuracy`, both in [0, 1].

    Args:
        num_classes: C.
        name: Prefix of the names in `result()`.
        **kwargs: Further arguments of `keras.metrics.Metric`.

    Example:
        >>> metric = Confusion(2, name="top")
        >>> metric.update_state(np.array([[[0, 0, 1, 255]]]), np.array([[[0, 1, 1, 1]]]))
        >>> {name: round(float(value), 2) for name, value in metric.result().items()}
        {'top_mean_iou': 0.5, 'top_pixel_accuracy': 0.67}
    """

    def __init__(self, num_classes: int, *, name: str, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        dtype = "uint32" if _ON_JAX else "int64"  # up to 4.3 billion pixels in a cell: all of Cityscapes has 6 billion
        self.matrix = self.add_variable((num_classes, num_classes), "zeros", dtype=dtype, name="matrix")

    def update_state(self, labels: KerasTensor, classes: KerasTensor, sample_weight: None = None) -> None:
        """Counts labels and predicted classes, integers `(B, H, W)`.

        Raises:
            InputError: The labels have the wrong shape or type, or one is not a class id; see `check_labels`.
        """
        self.count(check_labels(labels, self.num_classes, classes), classes)

    def count(self, labels: KerasTensor, classes: KerasTensor) -> None:
        """Counts labels that are already checked."""
        self.matrix.assign_add(ops.cast(confusion_matrix(labels, classes, self.num_classes), self.matrix.dtype))

    def result(self) -> dict[str, KerasTensor]:
        """Returns the two metrics; NaN before the first labelled pixel."""
        matrix = ops.cast(self.matrix, "float32")
        correct, labelled = ops.diagonal(matrix), ops.sum(matrix, axis=1)
        union = labelled + ops.sum(matrix, axis=0) - correct
        ious = correct / ops.maximum(union, 1.0)  # 0 for a class without labels, which adds nothing to the sum
        mean = ops.sum(ious) / ops.sum(ops.cast(labelled > 0, "float32"))
        accuracy = ops.sum(correct) / ops.sum(labelled)
        return {f"{self.name}_mean_iou": mean, f"{self.name}_pixel_accuracy": accuracy}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"num_classes": self.num_classes}


class MeanLoss(keras.metrics.Metric):
    """Accumulates a `SegmentationLoss` over all images; the result does not depend on the split into batches.

    The models create it when they are compiled.
    """

    def __init__(self, loss: SegmentationLoss, *, name: str) -> None:
        super().__init__(name=name)
        self.loss = loss
        self.counted = False  # whether `update_state` was ever called
        terms = (len(loss.coefficients),)
        self.numerators = self.add_variable(terms, "zeros", dtype="float32", name="numerators")
        self.denominators = self.add_variable(terms, "zeros", dtype="float32", name="denominators")

    def update_state(self, numerators: KerasTensor, denominators: KerasTensor, sample_weight: None = None) -> None:
        """Adds a batch's numerators and denominators, see `SegmentationLoss`."""
        self.counted = True
        self.numerators.assign_add(numerators)
        self.denominators.assign_add(denominators)

    def result(self) -> KerasTensor:
        """Returns the loss; 0 before the first batch."""
        return self.loss.total(*map(ops.convert_to_tensor, (self.numerators, self.denominators)))


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class from confusion matrices.

    The IoU of a class is `TP / (TP + FP + FN)`, or NaN if no label has the class. Therefore the same classes have an
    IoU for every network. Predictions of a class without labels count as false negatives of other classes.

    Args:
        matrix: Integers `(..., C, C)`; rows are labels, columns are predictions.

    Returns:
        IoU in [0, 1], float64 `(..., C)`.

    Example:
        >>> iou_per_class(np.array([[3, 1], [0, 4]]))
        array([0.75, 0.8 ])
    """
    correct, labelled = np.diagonal(matrix, axis1=-2, axis2=-1).astype("float64"), matrix.sum(axis=-1)
    union = labelled + matrix.sum(axis=-2) - correct
    return np.divide(correct, union, out=np.full(correct.shape, np.nan), where=labelled > 0)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Averages over the classes that are not NaN, float64 `(..., C) -> (...)`; NaN if all are NaN.

    Example:
        >>> float(mean_over_classes(np.array([0.5, np.nan, 0.7])))
        0.6
    """
    present = ~np.isnan(values)
    sums, counts = np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1)
    return np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Averages `iou_per_class`, float64 `(..., C, C) -> (...)`; NaN where no pixel has a label.

    Example:
        >>> float(mean_iou(np.array([[3, 1], [0, 4]])))
        0.775
    """
    return mean_over_classes(iou_per_class(matrix))
