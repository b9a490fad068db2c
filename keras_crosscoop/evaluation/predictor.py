"""What one output of a model says of an image: class ids, and probabilities if they are wanted."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.models.inference import Inference, check_numbers
from keras_crosscoop.models.memory import LARGE


class Prediction(NamedTuple):
    """Of one image."""

    ids: np.ndarray  # uint8 (H, W)
    probabilities: np.ndarray | None  # float16 (H, W, C)


class Predictor:
    """Makes predictions.

    Args:
        inference: how a model looks at images.
        output: one of the model's `output_choices`; the last of them by default, so the ensemble where there is one.
        probabilities: whether they are wanted.

    Raises:
        InputError: the model has no such output.
    """

    def __init__(self, inference: Inference, output: str | None = None, *, probabilities: bool = False) -> None:
        self.inference = inference
        self.sides = inference.model.sides_of(inference.model.chosen(output))
        self.probabilities = probabilities

    def takes_together(self, height: int, width: int) -> bool:
        """Whether images of this size can go through the network together: whole, once, and none of them large."""
        look = self.inference
        return look.window is None and look.scales == (1.0,) and not look.flip and height * width <= LARGE

    def __call__(self, image: np.ndarray) -> Prediction:
        """Of an image, RGB `(H, W, 3)`; of the probabilities, no more is kept at a time than is wanted or needed.

        Raises:
            InputError: the image is too large for the memory.
        """
        indices = [self.inference.model.sides.index(side) for side in self.sides]
        means = (_mean([strip[index] for index in indices]) for strip in self.inference.strips(image))
        strips = [[part.numpy() for part in self._told(mean)] for mean in means]
        ids, *probabilities = (np.concatenate(parts) for parts in zip(*strips, strict=True))
        return Prediction(ids, *(probabilities or [None]))

    def batch(self, images: np.ndarray) -> list[Prediction]:
        """Of images `(B, H, W, 3)`, together.

        Raises:
            InputError: of one of them, probabilities are no numbers.
            tf.errors.ResourceExhaustedError: they are too large, or too many.
        """
        total, *told = self._network(images)
        check_numbers(total)
        ids, *probabilities = (part.numpy() for part in told)
        return [Prediction(*parts) for parts in zip(ids, *(probabilities or [[None] * len(ids)]), strict=True)]

    @cached_property
    def _network(self) -> tf.types.experimental.PolymorphicFunction:
        model = self.inference.model

        def told(images: tf.Tensor) -> list[tf.Tensor]:
            logits = model(tf.cast(images, "float32"), training=False)
            probabilities = _mean([tf.nn.softmax(logits[side]) for side in self.sides])
            return [tf.reduce_sum(probabilities), *self._told(probabilities)]

        return tf.function(told, reduce_retracing=True)

    def _told(self, probabilities: tf.Tensor) -> list[tf.Tensor]:
        """Of probabilities `(..., C)` the class ids `(...)`, then if wanted themselves."""
        ids = tf.cast(tf.argmax(probabilities, -1, output_type="int32"), "uint8")
        return [ids, tf.cast(probabilities, "float16")] if self.probabilities else [ids]


def _mean(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    return sum(tensors) / len(tensors)
