"""What is measured, in the graph: one confusion matrix an output, from which every figure follows."""

from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop.labels import IGNORE_LABEL, check_labels
from keras_crosscoop.losses import SegmentationLoss

# JAX compiles nothing whose shape depends on values, and has no integers of 64 bits unless told to.
_ON_JAX = keras.backend.backend() == "jax"


@keras.saving.register_keras_serializable("keras_crosscoop")
class Confusion(keras.metrics.Metric):
    """An integer confusion matrix over all valid pixels: row the label, column the prediction.

    `result()` gives `{name}_mean_iou`, over the classes that occur in the labels as in `mean_iou`, and
    `{name}_pixel_accuracy`, fractions of 1.

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
        rows = ops.where(ops.equal(labels, IGNORE_LABEL), self.num_classes, labels)
        cells = ops.reshape(rows * self.num_classes + classes, (-1,))
        length = (self.num_classes + 1) * self.num_classes
        if _ON_JAX:
            counts = ops.segment_sum(ops.ones_like(cells), cells, length)
        else:
            counts = ops.bincount(cells, minlength=length)
        counts = ops.reshape(counts, (self.num_classes + 1, self.num_classes))[: self.num_classes]
        self.matrix.assign_add(ops.cast(counts, self.matrix.dtype))

    def result(self) -> dict[str, KerasTensor]:
        """The two figures; NaN before a pixel with a label was counted."""
        matrix = ops.cast(self.matrix, "float32")
        correct, labelled = ops.diagonal(matrix), ops.sum(matrix, axis=1)
        union = labelled + ops.sum(matrix, axis=0) - correct
        ious = correct / ops.maximum(union, 1.0)  # 0 for a class that no label has: it adds nothing to the sum
        mean = ops.sum(ious) / ops.sum(ops.cast(labelled > 0, "float32"))
        accuracy = ops.sum(correct) / ops.sum(labelled)
        return {f"{self.name}_mean_iou": mean, f"{self.name}_pixel_accuracy": accuracy}

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
        self.numerators = self.add_variable(terms, "zeros", dtype="float32", name="numerators")
        self.denominators = self.add_variable(terms, "zeros", dtype="float32", name="denominators")

    def update_state(self, numerators: KerasTensor, denominators: KerasTensor, sample_weight: None = None) -> None:
        """Adds a batch's, see `SegmentationLoss`."""
        self.counted = True
        self.numerators.assign_add(numerators)
        self.denominators.assign_add(denominators)

    def result(self) -> KerasTensor:
        """The loss; 0 before anything was seen."""
        return self.loss.total(*map(ops.convert_to_tensor, (self.numerators, self.denominators)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"loss": keras.saving.serialize_keras_object(self.loss)}


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 `(..., C)`; NaN for a class that occurs in no label.

    Predictions of such a class are false negatives of others, and lower their IoU alone. So which classes have an IoU
    depends on the labels, and is the same for all outputs and networks.

    Args:
        matrix: confusion matrices, `(..., C, C)`; row the label, column the prediction.
    """
    correct, labelled = np.diagonal(matrix, axis1=-2, axis2=-1).astype("float64"), matrix.sum(axis=-1)
    union = labelled + matrix.sum(axis=-2) - correct
    return np.divide(correct, union, out=np.full(correct.shape, np.nan), where=labelled > 0)


def mean_over_classes(of_classes: np.ndarray) -> np.ndarray:
    """The mean over the classes that have a figure, float64 `(..., C) -> (...)`; NaN where none has one."""
    present = ~np.isnan(of_classes)
    sums, counts = np.where(present, of_classes, 0.0).sum(axis=-1), present.sum(axis=-1)
    return np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def mean_iou(matrix: np.ndarray) -> np.ndarray:
    """Mean of `iou_per_class`, float64 `(..., C, C) -> (...)`; NaN where nothing is labelled."""
    return mean_over_classes(iou_per_class(matrix))
