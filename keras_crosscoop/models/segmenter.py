"""What every network of this package is: a Keras model of one image, several outputs and one label map."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop import precision, replicas
from keras_crosscoop.errors import InputError, unknown
from keras_crosscoop.images import ImageLike, as_rgb
from keras_crosscoop.losses import Averaged, CrossEntropy, SegmentationLoss
from keras_crosscoop.metrics import Confusion, MeanLoss

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    from keras_crosscoop.models.accumulation import accumulate
    from keras_crosscoop.models.memory import LARGE, fits, needed
    from keras_crosscoop.models.remat import recomputed

ENSEMBLE = "ensemble"

_JIT_COMPILE = False if _ON_TENSORFLOW else "auto"


@dataclass(frozen=True)  # no list or dict: Keras would save these figures among the weights
class _Figures:
    losses: tuple[MeanLoss, ...]  # none before `compile`
    confusions: tuple[Confusion, ...]


class Segmenter(keras.Model):
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
            raise unknown("argument", min(unexpected), inspect.signature(type(self)).parameters)
        super().__init__(inputs=image, outputs=logits, **kwargs)
        self._arguments = MappingProxyType(arguments)
        self.num_classes = next(iter(logits.values())).shape[-1]
        self.sides = tuple(logits)
        confusions = (Confusion(self.num_classes, name=name) for name in self.output_choices)
        self._figures = _Figures((), tuple(confusions))

    @property
    def output_choices(self) -> tuple[str, ...]:
        """Every output that can be asked for and is measured: the networks', then their ensemble if there are two."""
        return self.sides if len(self.sides) == 1 else (*self.sides, ENSEMBLE)

    def chosen(self, output: str | None) -> str:
        """An output that can be asked for: this one, or by default the last, so the ensemble where there is one.

        Raises:
            InputError: there is no such output.
        """
        if output not in (None, *self.output_choices):
            raise unknown("output", output, self.output_choices)
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
        return [*([self._loss_tracker] if self.compiled else []), *self._figures.losses, *self._figures.confusions]

    def compile(
        self,
        optimizer: Any = "sgd",
        loss: keras.losses.Loss | None = None,
        loss_weights: Mapping[str, float] | None = None,
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
            accumulation_steps: parts that a batch goes through the network in, one after another, for one step: less
                memory, and the same step but for batch normalisation, which sees parts. TensorFlow only.
            remat: whether the backward pass computes the backbones' activations again instead of keeping them: less
                memory, more time, the same step. TensorFlow only.
            jit_compile: whether XLA compiles the steps; by default on JAX alone, where they crawl without it.
            **kwargs: as in `keras.Model.compile`; metrics are built in.

        Raises:
            InputError: `loss_weights` names an output that the model does not have, or TensorFlow is missing.
        """
        loss_weights = {**dict.fromkeys(self.sides, 1.0), **(loss_weights or {})}
        if strange := loss_weights.keys() - set(self.sides):
            raise unknown("output to weigh the loss of", min(strange), self.sides)
        if (accumulation_steps > 1 or remat) and not _ON_TENSORFLOW:
            raise InputError(
                "Gradients are accumulated and activations recomputed on TensorFlow alone. Unset KERAS_BACKEND. "
                f"Received: {accumulation_steps=}, {remat=}"
            )
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)  # so that a file holds its state, trained or not
        replicas.expect_summed_gradients(self.optimizer)
        loss = CrossEntropy() if loss is None else loss
        self.loss = loss if isinstance(loss, SegmentationLoss) else Averaged(loss)
        self.loss_weights = loss_weights
        self.accumulation_steps = accumulation_steps
        self.remat = remat
        losses = (MeanLoss(self.loss, name=f"{side}_loss") for side in self.sides)
        self._figures = _Figures(tuple(losses), self._figures.confusions)

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
        return config and config | {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "loss_weights": dict(self.loss_weights),
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
        """The paper's loss (section 3.3): the sum of both outputs' losses on the same labels `(B, H, W)`."""
        sizes = self.loss.sizes(y)
        sums = [self.loss.sums(y, y_pred[side]) for side in self.sides]
        self._count_losses(sums, sizes)
        return self._sum_losses(self.loss.total(of_side, sizes) for of_side in sums)

    def _sum_losses(self, losses: Iterable[KerasTensor]) -> KerasTensor:
        return sum(self.loss_weights[side] * loss for side, loss in zip(self.sides, losses, strict=True))

    def _count_losses(self, sums: Iterable[KerasTensor], sizes: KerasTensor) -> None:
        for figure, of_side in zip(self._figures.losses, sums, strict=True):
            figure.update_state(of_side, sizes)

    def mean_losses(self) -> dict[str, KerasTensor]:
        """Of all batches since `reset_metrics`: `loss` and, for each output, `{output}_loss`."""
        losses = {figure.name: figure.result() for figure in self._figures.losses}
        return {"loss": self._sum_losses(losses.values()), **losses}

    def get_metrics_result(self) -> dict[str, KerasTensor]:
        """All figures of the batches since `reset_metrics`."""
        figures = self.mean_losses()
        for confusion in self._figures.confusions:
            figures |= confusion.result()
        return figures

    def compute_metrics(
        self, x: Any, y: KerasTensor, y_pred: dict[str, KerasTensor], sample_weight: Any = None
    ) -> dict[str, KerasTensor]:
        """Counts the pixels of a batch into every output's confusion matrix, and gives all figures so far."""
        for confusion in self._figures.confusions:
            confusion.update_state(y, ops.argmax(self.scores(y_pred, confusion.name), axis=-1))
        return self.get_metrics_result()

    def scores(self, logits: dict[str, KerasTensor], output: str) -> KerasTensor:
        """What the class of an output is the largest of, `(B, H, W, C)`: logits, or the sum of both's probabilities."""
        if output == ENSEMBLE:
            return sum(ops.softmax(logits[side], axis=-1) for side in self.sides)
        return logits[output]

    def probabilities(self, scores: KerasTensor, output: str) -> KerasTensor:
        """Of all classes, what `scores` of an output come to: `(..., C)` alike."""
        return scores / len(self.sides) if output == ENSEMBLE else ops.softmax(scores, axis=-1)

    if _ON_TENSORFLOW:

        def train_step(self, data: Any) -> dict[str, KerasTensor]:
            """One forward pass for both networks, one sum of losses, one backward pass; on each replica, of its part.

            The loss is the mean over the pixels of the whole batch, wherever they are. Unlike Keras's own step, which
            other backends take, it measures no classes: on augmented crops that tells little and takes time.
            """
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            sizes = replicas.total(self.loss.sizes(y))
            nothing = [ops.zeros_like(sizes) for _ in self.sides], [ops.zeros_like(w) for w in self.trainable_variables]
            gradients = accumulate(partial(self._gradients, sizes=sizes), (x, y), self.accumulation_steps, nothing)
            sums, gradients = replicas.total(gradients)
            self.optimizer.apply(gradients, self.trainable_variables)
            self._count_losses(sums, sizes)
            return replicas.as_keras_reduces(self.mean_losses())

        def _gradients(self, x: KerasTensor, y: KerasTensor, *, sizes: KerasTensor) -> tuple:
            """What images add to each output's loss, before division by `sizes`, and to the gradients."""
            import tensorflow as tf

            with tf.GradientTape() as tape:
                y_pred = recomputed(self)(x) if self.remat else self(x, training=True)
                sums = [self.loss.sums(y, y_pred[side]) for side in self.sides]
                loss = self._sum_losses(self.loss.total(of_side, sizes) for of_side in sums)
                scaled_loss = self.optimizer.scale_loss(loss)
            return sums, tape.gradient(scaled_loss, self.trainable_variables)

        def test_step(self, data: Any) -> dict[str, KerasTensor]:
            """Measures a batch; on each replica, its part of it."""
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            y_pred = self(x, training=False)
            self.compute_loss(x, y, y_pred, training=False)
            return replicas.as_keras_reduces(self.compute_metrics(x, y, y_pred))

        def make_test_function(self, force: bool = False) -> Any:
            """As Keras's, but never by XLA, which has no kernel for confusion matrices."""
            jit_compile, self.jit_compile = self.jit_compile, False
            try:
                return super().make_test_function(force)
            finally:
                self.jit_compile = jit_compile

        def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
            """Nothing: all is built. Keras would average the images of all machines for it (keras issue 20585)."""

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
