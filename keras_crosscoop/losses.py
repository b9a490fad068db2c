"""The losses of one output: sums over images divided by sums over images, the same however a batch is split."""

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
    """A loss in T terms, each a quotient, in float32: `(B, H, W), (B, H, W, C) -> ()`.

    Void pixels count nowhere. `numerators` and `denominators` of a batch are those of its parts added up, be they on several devices
    or one after the other, so that `total` of what was added up is the loss of the whole batch.
    """

    coefficients: tuple[float, ...] = (1.0,)  # of the terms, (T,)

    def __init__(self, *, name: str | None = None, reduction: str = "sum_over_batch_size", **kwargs: Any) -> None:
        if reduction != "sum_over_batch_size":
            raise InputError(
                "This loss is a mean over all that counts, whatever the batch. Leave reduction out. "
                f"Received: {reduction=}"
            )
        super().__init__(name=name, **kwargs)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """What each term's sum is divided by, `(B, H, W) -> (T,)`."""
        raise NotImplementedError

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """Each term's sum over images, `(B, H, W), (B, H, W, C) -> (T,)`.

        Args:
            labels: see `check_labels`.
            logits: of every class.
            weights: what a pixel's loss is multiplied by, float32 `(B, H, W)`, or an image's, `(B, 1, 1)`. As in Keras,
                `denominators` know nothing of them.
        """
        raise NotImplementedError

    def total(self, numerators: KerasTensor, denominators: KerasTensor) -> KerasTensor:
        """The sum over terms of coefficient * sum / size, `(T,), (T,) -> ()`; 0 for a term of size 0."""
        quotients = ops.where(denominators > 0, numerators / ops.where(denominators > 0, denominators, 1.0), 0.0)
        return ops.sum(quotients * ops.convert_to_tensor(self.coefficients, "float32"))

    def call(self, labels: KerasTensor, logits: KerasTensor, sample_weight: KerasTensor | None = None) -> KerasTensor:
        """The loss of labels and logits: `(B, H, W), (B, H, W, C) -> ()`.

        Args:
            labels: class ids, and 255 for void, integers.
            logits: of every class.
            sample_weight: what losses of images, `(B,)`, or pixels, `(B, H, W)`, are multiplied by.

        Raises:
            InputError: labels or weights are of another shape or type, or a label is no class.
        """
        labels = check_labels(labels, logits.shape[-1], logits)
        return self.total(
            self.numerators(labels, logits, pixel_weights(sample_weight, labels)), self.denominators(labels)
        )

    def __call__(
        self, labels: KerasTensor, logits: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> KerasTensor:
        """As `call`: Keras's own would turn labels into floats, and multiply the sum of all by weights."""
        return self.call(labels, logits, sample_weight)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SegmentationLoss":
        """The loss of that configuration."""
        return cls(**keras.saving.deserialize_keras_object(config))


@keras.saving.register_keras_serializable("keras_crosscoop")
class CrossEntropy(SegmentationLoss):
    """Cross-entropy, the mean over valid pixels; class weights w and smoothing s as in `torch.nn.CrossEntropyLoss`.

    A pixel of class y costs `(1 - p_y)^focal_gamma * ((1 - s) w_y l_y + s mean_c(w_c l_c))`, where `l_c = -log p_c`. Of an
    image's n valid pixels the `k = ceil(hard_pixel_fraction * n)` that cost most are summed, and divided by: k times the mean w_y of
    all n, summed over images. So plain cross-entropy is divided by the number of pixels, or the sum of their weights.

    Args:
        class_weights: w, `(C,)`; None for 1 each.
        label_smoothing: s, how much of the target is spread evenly over all classes, in [0, 1).
        focal_gamma: how much less a pixel counts the more it is right (gamma of Lin et al., ICCV 2017, eq. 4).
        hard_pixel_fraction: the share of each image's valid pixels that counts, the nearest fraction of a denominator up to 10,000
            (bootstrapping: Wu et al., arXiv:1604.04339).
        name: of the loss.
        **kwargs: others of `keras.losses.Loss`.

    Raises:
        InputError: an argument lies outside its range; when called: there is not one weight for each class.
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
        self.label_smoothing, self.focal_gamma, self.hard_pixel_fraction = (
            label_smoothing,
            focal_gamma,
            hard_pixel_fraction,
        )
        if not all(0 <= weight < math.inf for weight in self.class_weights or ()):
            raise InputError(f"`class_weights` must be finite, 0 or more. Received: {self.class_weights}")
        if self.class_weights is not None and not any(self.class_weights):
            raise InputError(
                "Class weights must not all be 0, or nothing is learnt. Leave them out, or give one class a weight. "
                f"Received: {self.class_weights}"
            )
        if not 0 <= label_smoothing < 1:
            raise InputError(f"`label_smoothing` must lie in [0, 1), 0 for none. Received: {label_smoothing}")
        if not 0 <= focal_gamma < math.inf:
            raise InputError(f"`focal_gamma` must be finite, 0 or more, 0 for none. Received: {focal_gamma}")
        if not 1e-4 <= hard_pixel_fraction <= 1:
            raise InputError(
                f"`hard_pixel_fraction` must lie in [0.0001, 1], 1 for every pixel. Received: {hard_pixel_fraction}"
            )

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See the class."""
        classes, valid = _split(labels)
        denominators = ops.sum(ops.cast(valid, "float32") * self._weights(classes), axis=(1, 2))
        if self.hard_pixel_fraction < 1:
            pixels = _count(valid)
            kept = ops.cast(self._share(pixels), "float32")
            denominators = denominators / ops.maximum(ops.cast(pixels, "float32"), 1.0) * kept
        return ops.sum(denominators)[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See the class."""
        classes, valid = _split(labels)
        logits = ops.cast(logits, "float32")
        num_classes = logits.shape[-1]
        if self.class_weights is not None and len(self.class_weights) != num_classes:
            raise InputError(f"Give a class weight for each of {num_classes} classes. Received: {self.class_weights}")
        # Keras's own smoothing and focus take one-hot labels, as large as the logits, and the latter clips at 1e-7.
        entropy = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
        losses = self._weights(classes) * entropy
        if self.label_smoothing:
            others = -ops.mean(self._weights(ops.arange(num_classes)) * ops.log_softmax(logits), axis=-1)
            losses = (1 - self.label_smoothing) * losses + self.label_smoothing * others
        if self.focal_gamma:  # from 1e-7 up: at 0, powers below 1 have no gradient
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
        """`ceil(hard_pixel_fraction * pixels)` in integers: 0.1 * 30 may be more than 3 in floats."""
        share = Fraction(self.hard_pixel_fraction).limit_denominator(10_000)
        whole, rest = pixels // share.denominator, pixels % share.denominator
        return whole * share.numerator + (rest * share.numerator + share.denominator - 1) // share.denominator

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("class_weights", "label_smoothing", "focal_gamma", "hard_pixel_fraction")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Dice(SegmentationLoss):
    """Soft Dice loss, the mean over images that have a valid pixel (Milletari et al., 3DV 2016, without its squares).

    An image costs the mean, over the classes that its labels contain, of `1 - 2 sum(y p) / (sum(y) + sum(p))`: numerators
    over its valid pixels, where y is 1 in those of the class, and p the probability of it.
    """

    def __init__(self, name: str = "dice", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See the class."""
        return ops.sum(ops.cast(ops.any(ops.not_equal(labels, IGNORE_LABEL), axis=(1, 2)), "float32"))[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See the class.

        Raises:
            InputError: weights are of pixels: this is a loss of whole images.
        """
        if weights is not None and tuple(weights.shape[1:]) != (1, 1):
            raise InputError(
                "Dice is a loss of whole images, whose pixels have no weights. Give a weight an image, (B,). "
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
    """Several losses, each times its coefficient: `Sum([CrossEntropy(), Dice()], [1, 0.5])`.

    Raises:
        InputError: there is no loss, one of another kind, or not one finite coefficient for each, or all are 0.
    """

    def __init__(
        self, losses: Sequence[SegmentationLoss], coefficients: Sequence[float], name: str = "sum", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not losses or len(losses) != len(coefficients):
            raise InputError(f"A sum needs losses, and one coefficient a loss. Received: {losses=}, {coefficients=}")
        if not all(map(math.isfinite, coefficients)) or not any(coefficients):
            raise InputError(f"Coefficients must be finite, and one of them other than 0. Received: {coefficients=}")
        if others := [loss for loss in losses if not isinstance(loss, SegmentationLoss)]:
            raise InputError(f"A sum is of losses of this package. Wrap others in `Averaged`. Received: {others[0]}")
        self.losses, self.factors = tuple(losses), tuple(map(float, coefficients))
        pairs = zip(self.factors, losses, strict=True)
        self.coefficients = tuple(factor * coefficient for factor, loss in pairs for coefficient in loss.coefficients)

    def denominators(self, labels: KerasTensor) -> KerasTensor:
        """See the class."""
        return ops.concatenate([loss.denominators(labels) for loss in self.losses])

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See the class."""
        return ops.concatenate([loss.numerators(labels, logits, weights) for loss in self.losses])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        losses = keras.saving.serialize_keras_object(self.losses)
        return super().get_config() | {"losses": losses, "coefficients": self.factors}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Averaged(SegmentationLoss):
    """Any other loss, of float32 logits, whose value is a mean over images; void is its own affair.

    Raises:
        InputError: it is no `keras.losses.Loss`. A name or a function would not say whether it takes logits.
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
        """See the class."""
        return ops.cast(ops.shape(labels)[0], "float32")[None]

    def numerators(self, labels: KerasTensor, logits: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """See the class.

        Raises:
            InputError: there are weights: what shape the loss wants of them is not known.
        """
        if weights is not None:
            raise InputError(
                "Sample weights go with losses of `keras_crosscoop.losses`. Choose one of these, or leave the weights "
                f"out. Received: {self.loss.name}"
            )
        loss = ops.cast(self.loss(labels, logits), "float32")
        if self.loss.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
            loss = loss * replicas.num_replicas()  # Keras divides means by it
        return loss * self.denominators(labels)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"loss": keras.saving.serialize_keras_object(self.loss)}


def pixel_weights(sample_weight: KerasTensor | None, labels: KerasTensor) -> KerasTensor | None:
    """Sample weights as `SegmentationLoss.numerators` takes them, float32 `(B, 1, 1)` or `(B, H, W)`; None for none.

    Args:
        sample_weight: of images, `(B,)`, or pixels, `(B, H, W)`.
        labels: `(B, H, W)`.

    Raises:
        InputError: weights are of another shape.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Mapping):
        raise InputError(
            "Sample weights must be one array, (B,) or (B, H, W), the same for all outputs. To weigh outputs, use "
            f"`compile(loss_weights=...)`. Received: a mapping of {', '.join(map(str, sample_weight))}"
        )
    weights = ops.cast(sample_weight, "float32")
    shape = tuple(weights.shape)
    size = tuple(labels.shape)[: len(shape)]
    if len(shape) not in (1, 3) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(shape, size, strict=True)
    ):
        raise InputError(
            f"Sample weights must be of images, (B,), or of pixels, (B, H, W), for labels of {tuple(labels.shape)}. "
            f"Received: shape {shape}"
        )
    return weights if len(shape) == 3 else weights[:, None, None]


def _split(labels: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """The class of each pixel, int32 with 0 for void, and whether it is valid: `(B, H, W)` both."""
    valid = ops.not_equal(labels, IGNORE_LABEL)
    return ops.cast(ops.where(valid, labels, 0), "int32"), valid


def _count(valid: KerasTensor) -> KerasTensor:
    """The valid pixels of each image, `(B, H, W) -> (B,)` int32: by way of floats, which GPUs sum as well."""
    return ops.cast(ops.sum(ops.cast(valid, "float32"), axis=(1, 2)), "int32")
