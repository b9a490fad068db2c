"""Predictions of one output of a model: class ids and, on request, probabilities."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from keras_crosscoop.models.inference import Inference, check_numbers


class Prediction(NamedTuple):
    """The prediction for one image."""

    ids: np.ndarray  # uint8 (H, W)
    probabilities: np.ndarray | None  # float16 (H, W, C)


class Predictor(Protocol):
    """Predicts with a model in this process (`LocalPredictor`) or on a server (`ServerPredictor`)."""

    can_batch: bool

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predicts for an image, RGB uint8 `(H, W, 3)`.

        Raises:
            InputError: The prediction fails; the message says why.
        """

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Predicts for images `(B, H, W, 3)` together, if `can_batch`.

        Raises:
            InputError: The prediction of an image fails.
            tf.errors.ResourceExhaustedError: The batch does not fit into memory.
        """


class LocalPredictor:
    """Predicts one output of a model in this process.

    Args:
        inference: Runs the model.
        output: One of the model's `output_choices`; by default the last one: the ensemble, if there are two networks.
        probabilities: Whether predictions contain probabilities.

    Raises:
        InputError: The model has no such output.
    """

    def __init__(self, inference: Inference, output: str | None = None, *, probabilities: bool = False) -> None:
        self.inference = inference
        self.sides = inference.model.sides_of(inference.model.resolve_output(output))
        self.probabilities = probabilities
        self.can_batch = inference.window is None and inference.scales == (1.0,) and not inference.flip

    def __call__(self, image: np.ndarray) -> Prediction:
        """Predicts for an image. Without `probabilities`, keeps those of one window at a time."""
        indices = [self.inference.model.sides.index(side) for side in self.sides]
        means = (_mean([strip[index] for index in indices]) for strip in self.inference.strips(image))
        strips = [[tensor.numpy() for tensor in self._ids_and_probabilities(mean)] for mean in means]
        ids, *probabilities = map(np.concatenate, zip(*strips, strict=True))
        return Prediction(ids, *(probabilities or [None]))

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Predicts for images in one forward pass."""
        total, ids, *probabilities = self._network(images)
        check_numbers(total)
        probabilities = probabilities[0].numpy() if probabilities else [None] * len(images)
        return list(map(Prediction, ids.numpy(), probabilities))

    @cached_property
    def _network(self) -> tf.types.experimental.PolymorphicFunction:
        model = self.inference.model

        def predict(images: tf.Tensor) -> list[tf.Tensor]:
            logits = model(tf.cast(images, "float32"), training=False)
            probabilities = _mean([tf.nn.softmax(logits[side]) for side in self.sides])
            return [tf.reduce_sum(probabilities), *self._ids_and_probabilities(probabilities)]

        return tf.function(predict, reduce_retracing=True)

    def _ids_and_probabilities(self, probabilities: tf.Tensor) -> list[tf.Tensor]:
        ids = tf.cast(tf.argmax(probabilities, -1, output_type="int32"), "uint8")
        return [ids, tf.cast(probabilities, "float16")] if self.probabilities else [ids]


def _mean(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return tf.add_n(tensors) / len(tensors)
