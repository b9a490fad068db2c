"""What every network of this package is: a Keras model of one image, several outputs and one label map."""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop import precision, replicas
from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.images.io import ImageLike, as_rgb
from keras_crosscoop.keras_internals import TrainableModel, expect_reduced_gradients
from keras_crosscoop.labels import are_labels, check_labels
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import pixel_weights
from keras_crosscoop.metrics import Confusion, MeanLoss
from keras_crosscoop.models import compiling
from keras_crosscoop.models.batch_parts import in_parts, whole_batch
from keras_crosscoop.models.compiling import ExtraMetric
from keras_crosscoop.models.naming import ENSEMBLE, output_choices

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    from keras_crosscoop.models.accumulation import accumulate
    from keras_crosscoop.models.memory import LARGE, fits, needed
    from keras_crosscoop.models.remat import recomputed

_JIT_COMPILE = False if _ON_TENSORFLOW else "auto"


@dataclass(frozen=True)  # no list or dict: Keras would save these figures among the weights
class _Figures:
    losses: tuple[MeanLoss, ...]  # none before `compile`
    confusions: tuple[Confusion, ...]
    extra: tuple[ExtraMetric, ...] = ()


class Segmenter(TrainableModel):
    """A functional model from images to a dict of logits, trained by the sum of the outputs' losses.

    `evaluate` gives `loss` and, for each output, `{output}_loss`, `{output}_mean_iou` and `{output}_pixel_accuracy`;
    models of two outputs are also measured as an ensemble, the sum of their class probabilities.

    Args:
        image: the graph's input, `(B, H, W, 3)`.
        logits: the graph's outputs, `(B, H, W, C)` each.
        arguments: what the subclass was built from, less the backbones' weights: those of a file come with the file.
        **kwargs: `name` and others of `keras.Model`.

    Raises:
        InputError: an argument does not exist.
    """

    def __init__(
        self, image: KerasTensor, logits: dict[str, KerasTensor], arguments: dict[str, Any], **kwargs: Any
    ) -> None:
        if unexpected := kwargs.keys() - {"name", "trainable", "dtype"}:  # which Keras would pass over in silence
            raise unknown_name("argument", min(unexpected), inspect.signature(type(self)).parameters)
        super().__init__(inputs=image, outputs=logits, **kwargs)
        self._arguments = MappingProxyType(arguments)
        self.num_classes = next(iter(logits.values())).shape[-1]
        self.sides = tuple(logits)
        confusions = (Confusion(self.num_classes, name=name) for name in self.output_choices)
        self._figures = _Figures((), tuple(confusions))

    @property
    def output_choices(self) -> tuple[str, ...]:
        """Every output that can be asked for and is measured: the networks', then their ensemble if there are two."""
        return output_choices(self.sides)

    def chosen(self, output: str | None) -> str:
        """An output that can be asked for: this one, or by default the last, so the ensemble where there is one.

        Raises:
            InputError: there is no such output.
        """
        if output not in (None, *self.output_choices):
            raise unknown_name("output", output, self.output_choices)
        return output or self.output_choices[-1]

    def sides_of(self, output: str) -> tuple[str, ...]:
        """The networks that an output needs: both for the ensemble, else itself."""
        return self.sides if output == ENSEMBLE else (output,)

    @property
    def confusions(self) -> dict[str, np.ndarray]:
        """The confusion matrix of each output over the last evaluation, `(C, C)` integers: row label, column class."""
        return {figure.name: ops.convert_to_numpy(figure.matrix).astype("int64") for figure in self._figures.confusions}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Everything that `evaluate` reports."""
        extra = (each.metric for each in self._figures.extra)
        losses = [self.loss_tracker] if self.compiled else []
        return [*losses, *self._figures.losses, *self._figures.confusions, *extra]

    def compile(
        self,
        optimizer: Any = "sgd",
        loss: keras.losses.Loss | None = None,
        loss_weights: Mapping[str, float] | None = None,
        metrics: Any = None,
        *,
        accumulation_steps: int = 1,
        remat: bool = False,
        jit_compile: bool | str = _JIT_COMPILE,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, but every output is trained by one `loss` of labels and logits, and all are summed.

        Args:
            optimizer: Keras's, or `keras_crosscoop.training.SGD`; from now on this model's alone, as it is told not to
                sum gradients over devices again.
            loss: of one output, a scalar; cross-entropy over valid pixels by default.
            loss_weights: how much the loss of each of `sides` counts in the sum; 1 by default, as in the paper.
            metrics: further ones of outputs, measured on validation data beside the built-in ones, and reported as
                "{output}_{name}": `{"ensemble": [keras.metrics.SparseTopKCategoricalAccuracy(2)]}`. They get labels
                `(B, H, W)`, logits `(B, H, W, C)` (probabilities of the ensemble), and weights of 0 for void pixels.
            accumulation_steps: parts that a batch goes through the network in, one after another, for one step: less
                memory, and the same step but for batch normalisation, which sees parts. TensorFlow only.
            remat: whether the backward pass computes the backbones' activations again instead of keeping them: less
                memory, more time, the same step. TensorFlow only.
            jit_compile: whether XLA compiles the steps; by default on JAX alone, where they crawl without it.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            InputError: `loss_weights` or `metrics` name an output that the model does not have, or an argument is of
                another kind than above; an argument of Keras's has no meaning here; or TensorFlow is missing.
        """
        if kwargs.get("weighted_metrics"):
            raise InputError("All `metrics` leave out void pixels. Pass them as `metrics`. Received: weighted_metrics")
        loss = compiling.loss_of_an_output(loss)
        loss_weights = compiling.loss_weights(loss_weights, self.sides)
        compiling.check_parts(accumulation_steps)
        extra = compiling.extra_metrics(metrics, self.output_choices)
        if (accumulation_steps > 1 or remat) and not _ON_TENSORFLOW:
            raise InputError(
                "Gradients are accumulated and activations recomputed on TensorFlow alone. Unset KERAS_BACKEND. "
                f"Received: {accumulation_steps=}, {remat=}"
            )
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)  # so that a file holds its state, trained or not
        self._average_statistics()
        expect_reduced_gradients(self.optimizer)
        self.loss = loss
        self.loss_weights = loss_weights
        self.accumulation_steps = accumulation_steps
        self.remat = remat
        if remat:
            self._recomputed = recomputed(self)
        losses = (MeanLoss(self.loss, name=f"{side}_loss") for side in self.sides)
        self._figures = _Figures(tuple(losses), self._figures.confusions, extra)

    def _average_statistics(self) -> None:
        """Has the optimizer, if it keeps averages of weights, also average the statistics that belong to them."""
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # inside a `LossScaleOptimizer`
        if _ON_TENSORFLOW and hasattr(optimizer, "update_ema_statistics"):
            norms = [norm for norm in batch_norms(self) if norm.trainable]
            optimizer.update_ema_statistics([s for norm in norms for s in (norm.moving_mean, norm.moving_variance)])

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`, but for `class_weight`: classes are weighed by the loss."""
        compiling.refuse_class_weight(keras.Model.fit, self, *args, **kwargs)
        return super().fit(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """As `keras.Model.train_on_batch`, but for `class_weight`: classes are weighed by the loss."""
        compiling.refuse_class_weight(keras.Model.train_on_batch, self, *args, **kwargs)
        return super().train_on_batch(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {**self._arguments, "weights": None, "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Segmenter":
        """The model of a configuration, its layers in the precision of the one that it was taken from."""
        with precision.policy(config.pop("dtype")):
            return super().from_config(config, custom_objects)

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was given, for a `.keras` file, but for what saves memory or time on one machine alone."""
        config = super().get_compile_config()  # empty before `compile`
        config.pop("jit_compile", None)  # of this machine and backend: the file may be opened on another
        metrics: dict[str, list] = {}
        for output, metric in self._figures.extra:
            metrics.setdefault(output, []).append(keras.saving.serialize_keras_object(metric))
        return config and config | {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "loss_weights": dict(self.loss_weights),
            "metrics": metrics or None,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the model in a `.keras` file was."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def compute_loss(
        self,
        x: Any = None,
        y: KerasTensor | None = None,
        y_pred: dict[str, KerasTensor] | None = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> KerasTensor:
        """The paper's loss (section 3.3): the sum of both outputs' losses on the same labels.

        Training, evaluation and all backends take the loss from here; a subclass may add to it, or replace it. It is
        the mean over the images that are given. A step that computes its batch in parts (on several devices, or one
        after another) takes the mean of what this gives for each. As all parts divide by the same `denominators` then, that
        is the mean over all valid pixels of the whole batch, however they are shared out.

        Args:
            x: images, of which nothing is read.
            y: labels, integers `(B, H, W)`; 255 is void.
            y_pred: logits of each of `sides`, `(B, H, W, C)`.
            sample_weight: what losses of images, `(B,)`, or pixels, `(B, H, W)`, are multiplied by, as in Keras.
            training: whether gradients are taken of it.

        Raises:
            InputError: labels or weights have another shape or type, or a label is no class; see `check_labels`.
        """
        labels = check_labels(y, self.num_classes, y_pred[self.sides[0]])
        weights = pixel_weights(sample_weight, labels)
        whole = whole_batch()
        denominators = self.loss.denominators(labels) if whole is None else whole.denominators
        numerators = [self.loss.numerators(labels, y_pred[side], weights) for side in self.sides]
        if whole is None:
            self._count_losses(numerators, denominators)
        else:
            whole.numerators = numerators
        loss = self._sum_losses(self.loss.total(of_side, denominators) for of_side in numerators)
        for of_layer in self.losses:  # regularisation
            loss = loss + ops.cast(ops.sum(of_layer), "float32")
        if not _ON_TENSORFLOW or self.jit_compile:  # what is compiled cannot raise
            loss = ops.where(are_labels(labels, self.num_classes), loss, math.nan)
        return loss

    def _sum_losses(self, losses: Iterable[KerasTensor]) -> KerasTensor:
        return sum(self.loss_weights[side] * loss for side, loss in zip(self.sides, losses, strict=True))

    def _count_losses(self, numerators: Iterable[KerasTensor], denominators: KerasTensor) -> None:
        for figure, of_side in zip(self._figures.losses, numerators, strict=True):
            figure.update_state(of_side, denominators)

    @property
    def _loss_is_the_sides(self) -> bool:
        """Whether the loss is that of the outputs, and nothing that a subclass or a layer adds."""
        return getattr(self.compute_loss, "__func__", None) is Segmenter.compute_loss and not self.losses

    def mean_losses(self) -> dict[str, KerasTensor]:
        """Of all batches since `reset_metrics`: `loss` and, for each output, `{output}_loss`.

        Losses of outputs are means over all valid pixels. `loss` is their sum; where a subclass or a layer adds to it,
        the mean over the batches. A subclass that computes its loss without this class's reports no others.
        """
        losses = {figure.name: figure.result() for figure in self._figures.losses}
        if self._loss_is_the_sides:
            return {"loss": self._sum_losses(losses.values()), **losses}
        counted = all(figure.counted for figure in self._figures.losses)
        return {"loss": self.loss_tracker.result(), **(losses if counted else {})}

    def get_metrics_result(self) -> dict[str, KerasTensor]:
        """All figures of the batches since `reset_metrics`."""
        figures = self.mean_losses()
        for confusion in self._figures.confusions:
            figures |= confusion.result()
        return figures | {extra.name: extra.metric.result() for extra in self._figures.extra}

    def compute_metrics(
        self, x: Any, y: KerasTensor, y_pred: dict[str, KerasTensor], sample_weight: Any = None
    ) -> dict[str, KerasTensor]:
        """Counts the pixels of a batch into every output's confusion matrix, and gives all figures so far.

        As Keras's metrics, these know nothing of sample weights.
        """
        for confusion in self._figures.confusions:
            confusion.update_state(y, ops.argmax(self.scores(y_pred, confusion.name), axis=-1))
        if self._figures.extra:
            labels = check_labels(y, self.num_classes, y_pred[self.sides[0]])
            compiling.update_metrics(self._figures.extra, labels, lambda output: self._predictions(y_pred, output))
        return self.get_metrics_result()

    def scores(self, logits: dict[str, KerasTensor], output: str) -> KerasTensor:
        """What the class of an output is the largest of, `(B, H, W, C)`: logits, or the sum of both's probabilities."""
        if output == ENSEMBLE:
            return sum(ops.softmax(logits[side], axis=-1) for side in self.sides)
        return logits[output]

    def probabilities(self, scores: KerasTensor, output: str) -> KerasTensor:
        """Of all classes, what `scores` of an output come to: `(..., C)` alike."""
        return scores / len(self.sides) if output == ENSEMBLE else ops.softmax(scores, axis=-1)

    def _predictions(self, logits: dict[str, KerasTensor], output: str) -> KerasTensor:
        """Logits of a network, or probabilities of the ensemble: `(B, H, W, C)`."""
        scores = self.scores(logits, output)
        return self.probabilities(scores, output) if output == ENSEMBLE else scores

    if _ON_TENSORFLOW:

        def train_step(self, data: Any) -> dict[str, KerasTensor]:
            """One forward pass for both networks, one sum of losses, one backward pass; on each replica, of its part.

            The loss is the mean over the pixels of the whole batch, wherever they are. Unlike Keras's own step, which
            other backends take, it measures no classes: on augmented crops that tells little and takes time.
            """
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            parts = replicas.num_replicas() * self.accumulation_steps
            denominators = replicas.all_reduce_sum(self.loss.denominators(check_labels(y, self.num_classes)))
            no_numerators = [ops.zeros_like(denominators) for _ in self.sides]
            nothing = no_numerators, ops.zeros(()), [ops.zeros_like(weight) for weight in self.trainable_variables]
            tensors = (x, y) if sample_weight is None else (x, y, sample_weight)
            gradients = partial(self._gradients, parts=parts, no_numerators=no_numerators)
            with in_parts(denominators / parts) as whole:
                of_parts = accumulate(gradients, tensors, self.accumulation_steps, nothing)
            numerators, loss, gradients = replicas.all_reduce_sum(of_parts)
            self.optimizer.apply(gradients, self.trainable_variables)
            if whole.numerators is not None:
                self._count_losses(numerators, denominators)
            self._track_loss(loss, y)
            return replicas.add_replica_axis(self.mean_losses())

        def _gradients(
            self,
            x: KerasTensor,
            y: KerasTensor,
            sample_weight: KerasTensor | None = None,
            *,
            parts: int,
            no_numerators: list[KerasTensor],
        ) -> tuple:
            """What one of so many parts of a batch adds to each output's numerators, to the loss, and to the gradients."""
            import tensorflow as tf

            with tf.GradientTape() as tape:
                y_pred = self._recomputed(x) if self.remat else self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True) / parts
                scaled_loss = self.optimizer.scale_loss(loss)
            numerators = whole_batch().numerators
            gradients = tape.gradient(scaled_loss, self.trainable_variables)
            return no_numerators if numerators is None else numerators, loss, gradients

        def _track_loss(self, loss: KerasTensor, y: KerasTensor) -> None:
            if not self._loss_is_the_sides:  # or it follows from what is counted
                self.loss_tracker.update_state(loss, sample_weight=ops.shape(y)[0])

        def test_step(self, data: Any) -> dict[str, KerasTensor]:
            """Measures a batch; on each replica, its part of it."""
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            figures = self.measure(y, self(x, training=False), x=x, sample_weight=sample_weight)
            return replicas.add_replica_axis(figures)

        def measure(
            self, y: KerasTensor, y_pred: dict[str, KerasTensor], *, x: Any = None, sample_weight: Any = None
        ) -> dict[str, KerasTensor]:
            """Counts a batch into loss and metrics, and gives all figures since `reset_metrics`; see `compute_loss`."""
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
            self._track_loss(loss, y)
            return self.compute_metrics(x, y, y_pred, sample_weight)

        def make_test_function(self, force: bool = False) -> Any:
            """As Keras's, but never by XLA, which has no kernel for confusion matrices."""
            jit_compile, self.jit_compile = self.jit_compile, False
            try:
                return super().make_test_function(force)
            finally:
                self.jit_compile = jit_compile

    def segment(
        self, image: ImageLike, output: str | None = None, *, probabilities: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Class ids of one image, uint8 `(H, W)` at the image's own size; see `evaluation.Inference` for large ones.

        Args:
            image: a file's path, a PIL image, or an array `(H, W, 3)` of RGB in [0, 255].
            output: one of `output_choices`; the last of them by default, so the ensemble where there is one.
            probabilities: whether to give those of all classes too, float32 `(H, W, C)`.

        Raises:
            InputError: the image cannot be read or is too large for the memory, or there is no such output.
        """
        output = self.chosen(output)
        image = as_rgb(image)
        if _ON_TENSORFLOW and image.shape[0] * image.shape[1] > LARGE and not fits(needed(self, (1, *image.shape))):
            raise InputError(
                "The memory does not hold what the networks make of the image. Look at it through "
                f"evaluation.Inference(model, window=513), say. Received: {image.shape[1]}x{image.shape[0]} pixels"
            )
        logits = self.predict_on_batch(image[None])
        scores = self.scores(logits, output)[0]
        classes = ops.convert_to_numpy(ops.argmax(scores, axis=-1)).astype("uint8")
        if not probabilities:
            return classes
        return classes, ops.convert_to_numpy(self.probabilities(scores, output))
