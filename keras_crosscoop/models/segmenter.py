"""The base class of the networks: a Keras model of one image, several outputs and one label map."""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop import precision, replicas
from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.images.io import ImageLike, as_rgb
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.keras_internals import TrainableModel, expect_reduced_gradients
from keras_crosscoop.labels import are_labels, check_labels
from keras_crosscoop.layers import batch_norms
from keras_crosscoop.losses import pixel_weights
from keras_crosscoop.metrics import Confusion, MeanLoss
from keras_crosscoop.models import compiling
from keras_crosscoop.models.micro_batches import accumulate, current_step, run_step
from keras_crosscoop.models.naming import ENSEMBLE, output_choices

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

    from keras_crosscoop.models.memory import LARGE, fits_in_memory, required_memory
    from keras_crosscoop.models.remat import recomputed

_JIT_COMPILE = False if _ON_TENSORFLOW else "auto"


@dataclass(frozen=True)  # not a list or dict: Keras would save the metrics among the weights
class _Metrics:
    losses: tuple[MeanLoss, ...]  # none before `compile`
    confusions: tuple[Confusion, ...]
    extra: compiling.ExtraMetrics


class Segmenter(TrainableModel):
    """A functional model from images to logits by output, trained by the sum of the outputs' losses.

    `evaluate` returns `loss` and, for each output, `{output}_loss`, `{output}_mean_iou` and `{output}_pixel_accuracy`.
    Models of two outputs are also evaluated as an ensemble, the sum of their class probabilities.

    Args:
        image: The graph's input, `(B, H, W, 3)`.
        logits: The graph's outputs, `(B, H, W, C)` each.
        arguments: Arguments of the subclass's constructor. The backbones' weights are left out: files hold all weights.
        **kwargs: `name`, `trainable` or `dtype` of `keras.Model`.
    """

    reading = DEFAULT_READING  # of image files, as in training

    def __init__(
        self, image: KerasTensor, logits: dict[str, KerasTensor], arguments: dict[str, Any], **kwargs: Any
    ) -> None:
        if unexpected := kwargs.keys() - {"name", "trainable", "dtype"}:  # Keras would ignore them silently
            raise unknown_name("argument", min(unexpected), inspect.signature(type(self)).parameters)
        super().__init__(inputs=image, outputs=logits, **kwargs)
        self._arguments = MappingProxyType(arguments)
        self.num_classes = next(iter(logits.values())).shape[-1]
        self.sides = tuple(logits)
        confusions = (Confusion(self.num_classes, name=name) for name in self.output_choices)
        self._metric_set = _Metrics((), tuple(confusions), {})

    @property
    def output_choices(self) -> tuple[str, ...]:
        """The names of all outputs: the networks, then the ensemble if there are two."""
        return output_choices(self.sides)

    def resolve_output(self, output: str | None) -> str:
        """Checks the name of an output, and returns it; for None, the last of `output_choices`.

        Raises:
            InputError: There is no such output.
        """
        if output not in (None, *self.output_choices):
            raise unknown_name("output", output, self.output_choices)
        return output or self.output_choices[-1]

    def sides_of(self, output: str) -> tuple[str, ...]:
        """Returns the networks that compute an output: both for the ensemble, otherwise one."""
        return self.sides if output == ENSEMBLE else (output,)

    @property
    def confusions(self) -> dict[str, np.ndarray]:
        """The confusion matrix of each output over the last evaluation, int64 `(C, C)`; rows are labels."""
        return {c.name: ops.convert_to_numpy(c.matrix).astype("int64") for c in self._metric_set.confusions}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """All metrics that `evaluate` reports."""
        extra = (metric for _, metric in self._metric_set.extra.values())
        losses = [self.loss_tracker] if self.compiled else []
        return [*losses, *self._metric_set.losses, *self._metric_set.confusions, *extra]

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
        """Configures training: every output gets the same loss of labels and logits, and the losses are summed.

        Args:
            optimizer: A Keras optimizer, or one of `keras_crosscoop.training`. It cannot be used for another model
                afterwards, because it no longer sums gradients over devices itself.
            loss: The loss of one output, a scalar; cross-entropy over valid pixels by default.
            loss_weights: The weight of each side's loss in the sum, by name; 1 by default, as in the paper.
            metrics: Further metrics by output, `{"ensemble": [keras.metrics.SparseTopKCategoricalAccuracy(2)]}` for
                example, which are measured on validation data and reported as "{output}_{name}". They get labels
                `(B, H, W)`, logits `(B, H, W, C)` (of the ensemble, probabilities) and weights of 0 for void pixels.
            accumulation_steps: The number of micro-batches into which a batch is split, to save memory. The step is the
                same, except that batch normalisation sees micro-batches. TensorFlow only.
            remat: Whether the backward pass recomputes the backbones' activations, to save memory. The step is the same
                and takes more time. TensorFlow only.
            jit_compile: Whether XLA compiles the steps; by default, only on backends other than TensorFlow.
            **kwargs: Further arguments of `keras.Model.compile`.

        Raises:
            InputError: `loss_weights` or `metrics` name an output that does not exist, an argument has the wrong type
                or no effect here, or TensorFlow is missing.
        """
        if kwargs.get("weighted_metrics"):
            raise InputError("All `metrics` ignore void pixels. Pass them as `metrics`. Received: weighted_metrics")
        loss = compiling.resolve_loss(loss)
        loss_weights = compiling.resolve_loss_weights(loss_weights, self.sides)
        extra = compiling.resolve_metrics(metrics, self.output_choices)
        if not isinstance(accumulation_steps, int | np.integer) or accumulation_steps < 1:
            raise InputError(f"`accumulation_steps` must be an integer of 1 or more. Received: {accumulation_steps!r}")
        if (accumulation_steps > 1 or remat) and not _ON_TENSORFLOW:
            raise InputError(
                "Only TensorFlow accumulates gradients and recomputes activations. Unset KERAS_BACKEND. "
                f"Received: {accumulation_steps=}, {remat=}"
            )
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)  # so that files always hold its state
        averages = getattr(self.optimizer, "inner_optimizer", self.optimizer)  # inside a `LossScaleOptimizer`
        if _ON_TENSORFLOW and hasattr(averages, "update_ema_statistics"):
            norms = [norm for norm in batch_norms(self) if norm.trainable]
            averages.update_ema_statistics([s for norm in norms for s in (norm.moving_mean, norm.moving_variance)])
        expect_reduced_gradients(self.optimizer)
        self.loss, self.loss_weights = loss, loss_weights
        self.accumulation_steps, self.remat = accumulation_steps, remat
        if remat:
            self._recomputed = recomputed(self)
        losses = tuple(MeanLoss(loss, name=f"{side}_loss") for side in self.sides)
        self._metric_set = _Metrics(losses, self._metric_set.confusions, extra)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model as `keras.Model.fit`, without `class_weight`: the loss has class weights."""
        compiling.refuse_class_weight(keras.Model.fit, self, *args, **kwargs)
        return super().fit(*args, **kwargs)

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Trains one step as `keras.Model.train_on_batch`, without `class_weight`."""
        compiling.refuse_class_weight(keras.Model.train_on_batch, self, *args, **kwargs)
        return super().train_on_batch(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        reading = {} if self.reading == DEFAULT_READING else {"reading": asdict(self.reading)}
        return super().get_config() | {**self._arguments, "weights": None, "dtype": self.dtype_policy.name, **reading}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Segmenter":
        """Builds the model of a configuration, with the dtype policy of the original model."""
        reading = ImageReading(**config.pop("reading", {}))
        with precision.policy(config.pop("dtype")):
            model = super().from_config(config, custom_objects)
        model.reading = reading
        return model

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile` for a `.keras` file, without those that only save memory or time."""
        config = super().get_compile_config()  # empty before `compile`
        config.pop("jit_compile", None)  # files may be opened on other machines and backends
        return config and config | {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "loss_weights": dict(self.loss_weights),
            "metrics": compiling.serialize(self._metric_set.extra),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model as it was when a `.keras` file was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def compute_loss(
        self,
        x: Any = None,
        y: KerasTensor | None = None,
        y_pred: dict[str, KerasTensor] | None = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> KerasTensor:
        """Returns the paper's loss (section 3.3): the sum of both outputs' losses on the same labels.

        Training and evaluation call this method on all backends; a subclass may add to it or replace it. A step that
        computes micro-batches (on several devices, or one after another) averages their losses. All micro-batches have
        the same denominators, so that the result is the mean over the valid pixels of the whole batch.

        Args:
            x: Images, which are not used.
            y: Labels, integers `(B, H, W)`; 255 is void. They are checked unless the current step has checked them.
            y_pred: Logits of each of `sides`, `(B, H, W, C)`.
            sample_weight: Factors of the images' losses, `(B,)`, or of the pixels' losses, `(B, H, W)`, as in Keras.
            training: Whether gradients of the loss are needed.

        Raises:
            InputError: Labels or weights have the wrong shape or type, or a label is not a class id (`check_labels`).
        """
        step = current_step.get()
        labels = y if step else check_labels(y, self.num_classes, y_pred[self.sides[0]])
        weights = pixel_weights(sample_weight, labels)
        numerators = [self.loss.numerators(labels, y_pred[side], weights) for side in self.sides]
        if step and step.denominators is not None:
            denominators = step.denominators
            step.numerators = numerators
        else:
            denominators = self.loss.denominators(labels)
            self._count_losses(numerators, denominators)
        loss = self._sum_losses(self.loss.total(numerator, denominators) for numerator in numerators)
        for regularization in self.losses:
            loss = loss + ops.cast(ops.sum(regularization), "float32")
        if not _ON_TENSORFLOW or self.jit_compile:  # compiled functions cannot raise
            loss = ops.where(are_labels(labels, self.num_classes), loss, math.nan)
        return loss

    def _sum_losses(self, losses: Iterable[KerasTensor]) -> KerasTensor:
        return sum(self.loss_weights[side] * loss for side, loss in zip(self.sides, losses, strict=True))

    def _count_losses(self, numerators: Iterable[KerasTensor], denominators: KerasTensor) -> None:
        for metric, numerator in zip(self._metric_set.losses, numerators, strict=True):
            metric.update_state(numerator, denominators)

    @property
    def _loss_is_sum_of_outputs(self) -> bool:  # neither a subclass nor a layer changes it
        return getattr(self.compute_loss, "__func__", None) is Segmenter.compute_loss and not self.losses

    def mean_losses(self) -> dict[str, KerasTensor]:
        """Returns `loss` and, for each output, `{output}_loss`, over all batches since `reset_metrics`.

        Losses of outputs are means over all valid pixels, and `loss` is their sum. If a subclass or layer adds to the
        loss, `loss` is the mean over the batches. If a subclass replaces it, there are no losses of outputs.
        """
        metrics = self._metric_set.losses
        losses = {metric.name: metric.result() for metric in metrics}
        if self._loss_is_sum_of_outputs:
            return {"loss": self._sum_losses(losses.values()), **losses}
        return {"loss": self.loss_tracker.result(), **(losses if all(metric.counted for metric in metrics) else {})}

    def get_metrics_result(self) -> dict[str, KerasTensor]:
        """Returns all metrics over the batches since `reset_metrics`."""
        results = self.mean_losses()
        for confusion in self._metric_set.confusions:
            results |= confusion.result()
        return results | {name: metric.result() for name, (_, metric) in self._metric_set.extra.items()}

    def compute_metrics(self, x: Any, y: Any, y_pred: dict[str, KerasTensor], sample_weight: Any = None) -> dict:
        """Adds a batch to every output's metrics and returns them. As in Keras, they ignore sample weights."""
        labels = y if current_step.get() else check_labels(y, self.num_classes, y_pred[self.sides[0]])
        for confusion in self._metric_set.confusions:
            confusion.count(labels, ops.argmax(self.scores(y_pred, confusion.name), axis=-1))

        def predictions(output: str) -> KerasTensor:
            scores = self.scores(y_pred, output)
            return self.probabilities(scores, output) if output == ENSEMBLE else scores

        compiling.update_metrics(self._metric_set.extra, labels, predictions)
        return self.get_metrics_result()

    def scores(self, logits: dict[str, KerasTensor], output: str) -> KerasTensor:
        """Returns the scores whose argmax is an output's class, `(B, H, W, C)`: logits, or summed probabilities."""
        if output == ENSEMBLE:
            return sum(ops.softmax(logits[side], axis=-1) for side in self.sides)
        return logits[output]

    def probabilities(self, scores: KerasTensor, output: str) -> KerasTensor:
        """Returns the class probabilities of an output's `scores`, `(..., C) -> (..., C)`."""
        return scores / len(self.sides) if output == ENSEMBLE else ops.softmax(scores, axis=-1)

    if _ON_TENSORFLOW:

        def train_step(self, data: Any) -> dict[str, KerasTensor]:
            """Trains one step: a forward pass for both networks, one sum of losses, a backward pass.

            The loss is the mean over the valid pixels of the whole batch, on all devices. Unlike Keras's step, which
            other backends use, it updates no confusion matrices: on augmented crops they say little and take time.
            """
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            labels = check_labels(y, self.num_classes, x)
            count = replicas.num_replicas() * self.accumulation_steps
            denominators = replicas.all_reduce_sum(self.loss.denominators(labels))
            no_numerators = [ops.zeros_like(denominators) for _ in self.sides]
            zeros = no_numerators, ops.zeros(()), [ops.zeros_like(weight) for weight in self.trainable_variables]
            tensors = (x, labels) if sample_weight is None else (x, labels, sample_weight)
            gradients = partial(self._gradients, count=count, no_numerators=no_numerators)
            with run_step(denominators / count) as step:
                sums = accumulate(gradients, tensors, self.accumulation_steps, zeros)
            numerators, loss, gradients = replicas.all_reduce_sum(sums)
            self.optimizer.apply(gradients, self.trainable_variables)
            if step.numerators is not None:
                self._count_losses(numerators, denominators)
            self._track_loss(loss, y)
            return replicas.add_replica_axis(self.mean_losses())

        def _gradients(
            self,
            x: KerasTensor,
            y: KerasTensor,
            sample_weight: KerasTensor | None = None,
            *,
            count: int,
            no_numerators: list[KerasTensor],
        ) -> tuple:
            """Returns a micro-batch's share of each output's numerators, of the loss and of the gradients."""
            with tf.GradientTape() as tape:
                y_pred = self._recomputed(x) if self.remat else self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True) / count
                scaled_loss = self.optimizer.scale_loss(loss)
            numerators = current_step.get().numerators
            gradients = tape.gradient(scaled_loss, self.trainable_variables)
            return no_numerators if numerators is None else numerators, loss, gradients

        def _track_loss(self, loss: KerasTensor, y: KerasTensor) -> None:
            if not self._loss_is_sum_of_outputs:
                self.loss_tracker.update_state(loss, sample_weight=ops.shape(y)[0])

        def test_step(self, data: Any) -> dict[str, KerasTensor]:
            """Evaluates a batch; each of several devices evaluates a part of it."""
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            results = self.measure(y, self(x, training=False), x=x, sample_weight=sample_weight)
            return replicas.add_replica_axis(results)

        def measure(
            self, y: KerasTensor, y_pred: dict[str, KerasTensor], *, x: Any = None, sample_weight: Any = None
        ) -> dict[str, KerasTensor]:
            """Adds a batch to the loss and metrics, and returns their values; see `compute_loss`."""
            labels = check_labels(y, self.num_classes, y_pred[self.sides[0]])
            with run_step():
                loss = self.compute_loss(x=x, y=labels, y_pred=y_pred, sample_weight=sample_weight, training=False)
                self._track_loss(loss, labels)
                return self.compute_metrics(x, labels, y_pred, sample_weight)

        def make_test_function(self, force: bool = False) -> Any:
            """Makes Keras's function, but never compiles it with XLA, which has no kernel for confusion matrices."""
            jit_compile, self.jit_compile = self.jit_compile, False
            try:
                return super().make_test_function(force)
            finally:
                self.jit_compile = jit_compile

    def segment(
        self, image: ImageLike, output: str | None = None, *, probabilities: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Segments one image; see `evaluation.Inference` for large ones.

        Args:
            image: A file's path, read as `reading` says, a PIL image, or an array `(H, W, 3)` of RGB in [0, 255].
            output: One of `output_choices`; by default the last one, which is the ensemble of two networks.
            probabilities: Whether to also return the probabilities of all classes.

        Returns:
            Class ids, uint8 `(H, W)` at the image's own size; with `probabilities=True` also float32 `(H, W, C)`.

        Raises:
            InputError: The image cannot be read or is too large for the memory, or there is no such output.

        Example:
            >>> from keras_crosscoop import DeepLabV3Plus
            >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, decoder_channels=8)
            >>> classes, probabilities = model.segment(np.zeros((20, 30, 3), "uint8"), probabilities=True)
            >>> classes.shape, probabilities.shape
            ((20, 30), (20, 30, 3))
        """
        output = self.resolve_output(output)
        image = as_rgb(image, self.reading)
        large = _ON_TENSORFLOW and image.shape[0] * image.shape[1] > LARGE
        if large and not fits_in_memory(required_memory(self, (1, *image.shape))):
            raise InputError(
                "The image needs more memory than is free. Segment it in windows: "
                f"evaluation.Inference(model, window=513). Received: {image.shape[1]}x{image.shape[0]} pixels"
            )
        logits = self.predict_on_batch(image[None])
        scores = self.scores(logits, output)[0]
        classes = ops.convert_to_numpy(ops.argmax(scores, axis=-1)).astype("uint8")
        return (classes, ops.convert_to_numpy(self.probabilities(scores, output))) if probabilities else classes
