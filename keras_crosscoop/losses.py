"""Losses of one output, as quotients of sums over images. They do not depend on how a batch is split."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop import replicas
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL, check_labels


class SegmentationLoss(keras.losses.Loss):
    """A weighted sum of T quotients, in float32: `labels (B, H, W), logits (B, H, W, C) -> ()`.

    Void pixels (255) are not counted. A batch may be computed in parts, on several devices or one after another: the
    sums of the parts' `numerators` and `denominators` are the batch's, and `total` of these sums is the batch's loss.

    Attributes:
        coefficients: The factor of each quotient, `(T,)`.
    """

    coefficients: tuple[float, ...] = (1.0,)

    def __init__(self, *, name: str | None = None, reduction: str = "sum_over_batch_size", **kwargs: Any) -> None:
        if reduction != "sum_over_batch_size":
            raise InputError(f"This loss is always a mean. Leave `reduction` out. Received: {reduction=}")
        super().__init__(name=name, **kwargs)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """Returns the denominator of each quotient, `(B, H, W) -> (T,)`."""
        raise NotImplementedError

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """Returns the numerator of each quotient, `(B, H, W), (B, H, W, C) -> (T,)`.

        Args:
            labels: Checked labels, see `check_labels`.
            logits: Logits of every class.
            weights: Factors of the pixels' losses, float32 `(B, H, W)`, or of the images' losses, `(B, 1, 1)`. As in
                Keras, the denominators ignore them.
        """
        raise NotImplementedError

    def total(self, numerators: KerasTensor, denominators: KerasTensor) -> KerasTensor:
        """Returns the sum of coefficient * numerator / denominator, `(T,), (T,) -> ()`; 0 / 0 counts as 0."""
        quotients = ops.where(denominators > 0, numerators / ops.where(denominators > 0, denominators, 1.0), 0.0)
        return ops.sum(quotients * ops.convert_to_tensor(self.coefficients, "float32"))

    def __call__(
        self, labels: KerasTensor, logits: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> KerasTensor:
        """Returns the loss, `(B, H, W), (B, H, W, C) -> ()`.

        Keras's own method would convert labels to floats, and multiply the mean by the weights.

        Args:
            labels: Class ids, and 255 for void pixels, integers.
            logits: Logits of every class.
            sample_weight: Factors of the images' losses, `(B,)`, or of the pixels' losses, `(B, H, W)`.

        Raises:
            InputError: Labels or weights have the wrong shape or type, or a label is not a class id.
        """
        labels = check_labels(labels, logits.shape[-1], logits)
        weights = pixel_weights(sample_weight, labels)
        return self.total(self.numerators(labels, logits, weights), self.denominators(labels))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SegmentationLoss":
        """Returns the loss of a configuration."""
        return cls(**keras.saving.deserialize_keras_object(config))


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossEntropy(SegmentationLoss):
    """Cross-entropy, averaged over the valid pixels.

    A pixel of class y with probabilities p costs `(1 - p_y)^focal_gamma * ((1 - s) w_y l_y + s mean_c(w_c l_c))`, where
    `l_c = -log p_c`, w are the class weights and s is the label smoothing, as in `torch.nn.CrossEntropyLoss`. Of an
    image's n valid pixels only the `k = ceil(hard_pixel_fraction * n)` most expensive ones are summed. The denominator
    is the sum over the images of k times the mean of w_y over the n pixels: without options, the number of pixels.

    Args:
        class_weights: W, `(C,)`; None for 1 each.
        label_smoothing: S, the share of the target that is spread evenly over all classes, in [0, 1).
        focal_gamma: The exponent that reduces the weight of pixels with confident, correct predictions (Lin et al.,
            ICCV 2017, eq. 4); 0 for equal weights.
        hard_pixel_fraction: The share of each image's valid pixels that count, in [0.0001, 1]; rounded to the nearest
            fraction with a denominator up to 10,000 (bootstrapping: Wu et al., arXiv:1604.04339).
        name: Name of the loss.
        **kwargs: Further arguments of `keras.losses.Loss`.

    Raises:
        InputError: An argument is out of range, or, when called, the number of class weights is not C.

    Example:
        >>> labels = np.array([[[1, 0, 255]]])  # the last pixel is void
        >>> logits = np.log([[[[1.0, 3.0], [2.0, 2.0], [1.0, 9.0]]]])  # probabilities 3/4 and 1/2 of the labels
        >>> round(float(CrossEntropy()(labels, logits)), 4)
        0.4904
        >>> round(float(CrossEntropy(class_weights=(1, 3))(labels, logits)), 4)
        0.389
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        hard_pixel_fraction: float = 1.0,
        name: str = "cross_entropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.class_weights = None if class_weights is None else tuple(map(float, class_weights))
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.hard_pixel_fraction = hard_pixel_fraction
        if not all(0 <= weight < math.inf for weight in self.class_weights or ()):
            raise InputError(f"`class_weights` must be finite, 0 or more. Received: {self.class_weights}")
        if self.class_weights is not None and not any(self.class_weights):
            raise InputError(f"`class_weights` must not all be 0, or nothing is learnt. Received: {self.class_weights}")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"`label_smoothing` must lie in [0, 1), 0 for none. Received: {label_smoothing}")
        if not 0 <= focal_gamma < math.inf:
            raise InputError(f"`focal_gamma` must be finite, 0 or more, 0 for none. Received: {focal_gamma}")
        if not 1e-4 <= hard_pixel_fraction <= 1:
            raise InputError(
                f"`hard_pixel_fraction` must lie in [0.0001, 1], 1 for every pixel. Received: {hard_pixel_fraction}"
            )

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See `SegmentationLoss`."""
        classes, valid = _split(labels)
        denominators = ops.sum(ops.cast(valid, "float32") * self._weights(classes), axis=(1, 2))
        if self.hard_pixel_fraction < 1:
            pixels = _count(valid)
            kept = ops.cast(self._share(pixels), "float32")
            denominators = denominators / ops.maximum(ops.cast(pixels, "float32"), 1.0) * kept
        return ops.sum(denominators)[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See `SegmentationLoss`."""
        classes, valid = _split(labels)
        logits = ops.cast(logits, "float32")
        num_classes = logits.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise InputError(f"Give a class weight for each of {num_classes} classes. Received: {self.class_weights}")
        # Keras's label smoothing and focal loss need one-hot labels, as large as the logits; its focal loss also clips
        # probabilities at 1e-7.
        entropy = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
        losses = self._weights(classes) * entropy
        if self.label_smoothing:
            others = -ops.mean(self._weights(ops.arange(num_classes)) * ops.log_softmax(logits), axis=-1)
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * others
        if self.focal_gamma:  # at least 1e-7, because powers below 1 have no gradient at 0
            losses = losses * ops.maximum(-ops.expm1(-entropy), 1e-7) ** self.focal_gamma
        if weights is not None:
            losses = losses * weights
        losses = ops.where(valid, losses, 0.0)
        if self.hard_pixel_fraction < 1:
            _, height, width = ops.shape(losses)
            losses, _ = ops.top_k(ops.reshape(losses, (-1, height * width)), self._share(height * width))
            kept = self._share(_count(valid))[:, None]
            losses = ops.where(ops.arange(ops.shape(losses)[1]) < kept, losses, 0.0)
        return ops.sum(losses)[None]

    def _weights(self, classes: KerasTensor) -> KerasTensor | float:
        if self.class_weights is None:
            return 1.0
        return ops.take(ops.convert_to_tensor(self.class_weights, "float32"), classes)

    def _share(self, pixels: Any) -> Any:
        """`ceil(hard_pixel_fraction * pixels)` in integers: in floats, 0.1 * 30 may exceed 3."""
        share = Fraction(self.hard_pixel_fraction).limit_denominator(10_000)
        whole, rest = pixels // share.denominator, pixels % share.denominator
        return whole * share.numerator + (rest * share.numerator + share.denominator - 1) // share.denominator

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("class_weights", "label_smoothing", "focal_gamma", "hard_pixel_fraction")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Dice(SegmentationLoss):
    """Soft Dice loss, averaged over the images that have a valid pixel.

    An image costs the mean of `1 - 2 sum(y p) / (sum(y) + sum(p))` over the classes in its labels. The sums are over
    its valid pixels; y is 1 for pixels of the class and 0 for others; p is the probability of the class.

    Reference: Milletari et al., "V-Net", 3DV 2016, without its squares.

    Args:
        name: Name of the loss.
        **kwargs: Further arguments of `keras.losses.Loss`.

    Example:
        >>> labels, logits = np.array([[[1, 0]]]), np.log([[[[1.0, 3.0], [2.0, 2.0]]]])
        >>> round(float(Dice()(labels, logits)), 4)
        0.381
    """

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See `SegmentationLoss`."""
        return ops.sum(ops.cast(ops.any(ops.not_equal(labels, IGNORE_LABEL), axis=(1, 2)), "float32"))[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See `SegmentationLoss`.

        Raises:
            InputError: The weights are weights of pixels.
        """
        if weights is not None and tuple(weights.shape[1:]) != (1, 1):
            raise InputError(
                "Dice is a loss of whole images, whose pixels have no weights. Give one weight per image, (B,). "
                f"Received: sample weights (B, H, W) = {tuple(weights.shape)}"
            )
        labels = ops.cast(labels, "int32")[..., None]
        valid, truth = ops.not_equal(labels, IGNORE_LABEL), ops.equal(labels, ops.arange(logits.shape[-1]))
        probabilities = ops.where(valid, ops.softmax(ops.cast(logits, "float32")), 0.0)
        present = ops.cast(ops.any(truth, axis=(1, 2)), "float32")
        losses = present * keras.losses.dice(truth, probabilities, axis=(1, 2))
        if weights is not None:
            losses = losses * weights[:, :, 0]
        return ops.sum(losses / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1.0))[None]


@keras.saving.register_keras_serializable("keras_crosscoop")
class WeightedSum(SegmentationLoss):
    """A sum of losses, each times a coefficient.

    Args:
        losses: Losses of this module.
        coefficients: A finite factor for each loss; not all 0.
        name: Name of the loss.
        **kwargs: Further arguments of `keras.losses.Loss`.

    Raises:
        InputError: There is no loss, one is not a `SegmentationLoss`, or the coefficients do not fit.

    Example:
        >>> labels, logits = np.array([[[1, 0]]]), np.log([[[[1.0, 3.0], [2.0, 2.0]]]])
        >>> round(float(WeightedSum([CrossEntropy(), Dice()], [1, 0.5])(labels, logits)), 4)
        0.6809
    """

    def __init__(
        self, losses: Sequence[SegmentationLoss], coefficients: Sequence[float], name: str = "sum", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not losses or len(losses) != len(coefficients):
            raise InputError(f"A sum needs losses and one coefficient per loss. Received: {losses=}, {coefficients=}")
        if not all(map(math.isfinite, coefficients)) or not any(coefficients):
            raise InputError(f"Coefficients must be finite, and not all 0. Received: {coefficients=}")
        if others := [loss for loss in losses if not isinstance(loss, SegmentationLoss)]:
            raise InputError(f"A sum takes losses of this package. Wrap others in `Averaged`. Received: {others[0]}")
        self.losses, self.factors = tuple(losses), tuple(map(float, coefficients))
        pairs = zip(self.factors, losses, strict=True)
        self.coefficients = tuple(factor * coefficient for factor, loss in pairs for coefficient in loss.coefficients)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See `SegmentationLoss`."""
        return ops.concatenate([loss.denominators(labels) for loss in self.losses])

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See `SegmentationLoss`."""
        return ops.concatenate([loss.numerators(labels, logits, weights) for loss in self.losses])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        losses = keras.saving.serialize_keras_object(self.losses)
        return super().get_config() | {"losses": losses, "coefficients": self.factors}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Averaged(SegmentationLoss):
    """Any other Keras loss of float32 logits, averaged over images. The loss itself must handle void pixels.

    Args:
        loss: A `keras.losses.Loss`. Names and functions are refused, because they may expect probabilities.
        name: Name of this loss.
        **kwargs: Further arguments of `keras.losses.Loss`.

    Raises:
        InputError: `loss` is not a `keras.losses.Loss`.

    Example:
        >>> loss = Averaged(keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255))
        >>> labels, logits = np.array([[[1, 0]]]), np.log([[[[1.0, 3.0], [2.0, 2.0]]]])
        >>> round(float(loss(labels, logits)), 4)
        0.4904
    """

    def __init__(self, loss: keras.losses.Loss, name: str = "averaged", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not isinstance(loss, keras.losses.Loss):
            example = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
            raise InputError(
                f"The loss of an output must be a `keras.losses.Loss`, such as {example}. Received: {loss!r}"
            )
        self.loss = loss

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See `SegmentationLoss`."""
        return ops.cast(ops.shape(labels)[0], "float32")[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See `SegmentationLoss`.

        Raises:
            InputError: There are weights. The shape that the wrapped loss expects is unknown.
        """
        if weights is not None:
            raise InputError(
                "Sample weights need a loss of `keras_crosscoop.losses`. Choose one, or leave the weights out. "
                f"Received: {self.loss.name}"
            )
        loss = ops.cast(self.loss(labels, logits), "float32")
        if self.loss.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
            loss = loss * replicas.num_replicas()  # Keras divides means by this number
        return loss * self.denominators(labels)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"loss": keras.saving.serialize_keras_object(self.loss)}


def pixel_weights(sample_weight: KerasTensor | None, labels: KerasTensor) -> KerasTensor | None:
    """Converts sample weights to factors of `SegmentationLoss.numerators`, float32, or None without weights.

    Weights of images, `(B,)`, become `(B, 1, 1)`. Weights of pixels have the shape of the labels, `(B, H, W)`.

    Raises:
        InputError: The weights have the wrong shape.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Mapping):
        raise InputError(
            "Sample weights must be one array, (B,) or (B, H, W), the same for all outputs. To weigh outputs, use "
            f"`compile(loss_weights=...)`. Received: a mapping of {', '.join(map(str, sample_weight))}"
        )
    weights = ops.cast(sample_weight, "float32")
    shape, size = tuple(weights.shape), tuple(labels.shape)
    fits = all(None in lengths or len(set(lengths)) == 1 for lengths in zip(shape, size, strict=False))
    if len(shape) not in (1, 3) or not fits:
        raise InputError(
            f"Sample weights must be per image, (B,), or per pixel, (B, H, W), for labels of shape {size}. "
            f"Received: shape {shape}"
        )
    return weights if len(shape) == 3 else weights[:, None, None]


def _split(labels: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Returns the class of each pixel, int32 with 0 for void, and whether it is valid: `(B, H, W)` both."""
    valid = ops.not_equal(labels, IGNORE_LABEL)
    return ops.cast(ops.where(valid, labels, 0), "int32"), valid


def _count(valid: KerasTensor) -> KerasTensor:
    """Returns the number of valid pixels of each image, `(B, H, W) -> (B,)` int32. GPUs sum only floats."""
    return ops.cast(ops.sum(ops.cast(valid, "float32"), axis=(1, 2)), "int32")
