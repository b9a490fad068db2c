"""Validation during training, with the results of `evaluate`.

Keras's `evaluate` processes images that the network sees as a whole, on all devices. Images larger than
`evaluation.window`, or too large for the memory, follow one at a time, in windows.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, Skipped, load_dataset, readable_errors
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models import Segmenter, inference
from keras_crosscoop.models.inference import BeforeWindow, Inference
from keras_crosscoop.training import builders
from keras_crosscoop.training.strategy import on_any_machine, on_first_replica, several_machines

_log = logging.getLogger(__name__)


class Validation:
    """Measures a model on the validation split.

    The loss of an image in windows is computed strip by strip, from the blended probabilities of the windows. A loss of
    whole images, such as Dice or `hard_pixel_fraction`, then sees strips. Such an image is not split over devices, and
    every machine processes it.

    Args:
        model: The compiled model.
        settings: The settings of the run.
        data: The data set.
        on_error: See `load_dataset`.

    Raises:
        InputError: The split cannot be used.
    """

    def __init__(self, model: Segmenter, settings: Settings, data: Dataset, on_error: OnError) -> None:
        self.model, self.settings, self.data, self.on_error = model, settings, data, on_error
        self.pairs = data.find(settings.data.val_split)
        self.batches, self.steps = builders.validation_batches(settings, data, on_error)
        self.sizes = [self._size(pair) for pair in self.pairs]
        self.large: list[Pair] | None = None  # images in windows; None before the first validation

    def __call__(
        self, callbacks: keras.callbacks.CallbackList, before_window: BeforeWindow = lambda: None
    ) -> dict[str, float]:
        """Returns the loss and the metrics.

        Args:
            callbacks: Called as by `evaluate`.
            before_window: Called before each window.

        Raises:
            InputError: A file cannot be used, or an image or window does not fit into memory.
        """
        if self.large is None:
            # Decided once for all machines, because some may have less memory.
            self._select_large(lambda size: on_any_machine(not self.inference.is_whole(*size)))
        try:
            metrics = self._measure_whole(callbacks)
        except tf.errors.ResourceExhaustedError as error:  # on a GPU, whose free memory is not known in advance
            self._select_large(lambda size: max(size) > inference.WINDOW)
            if several_machines() or self.inference.window or not self.large:
                raise InputError(
                    "The features of a validation image do not fit into memory. Lower evaluation.window, or set "
                    f"evaluation.crop. Received: {self.inference.window}"
                ) from error
            metrics = self._measure_whole(callbacks)
        if not self.large:
            return metrics
        for number, pair in enumerate(self.large):
            if not self.steps:
                callbacks.on_test_batch_begin(number)
            self._measure_in_windows(pair, before_window)
            if not self.steps:
                callbacks.on_test_batch_end(number)
        metrics = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        if not self.steps:
            callbacks.on_test_end(metrics)
        return metrics

    @cached_property
    def inference(self) -> Inference:
        """The inference for images that fit into memory."""
        return Inference(self.model, window=self.settings.evaluation.window)

    @cached_property
    def _windowed(self) -> Inference:
        """The inference for large images, with the same windows on all machines, whatever memory they have."""
        return self.inference if self.inference.window else Inference(self.model, window=inference.WINDOW)

    @cached_property
    def _count(self) -> Callable[[tf.Tensor, tf.Tensor], None]:
        """Adds a strip to the metrics like `evaluate`: labels `(H, W)` and probabilities `(S, H, W, C)`."""

        def measure(labels: tf.Tensor, probabilities: tf.Tensor) -> None:
            logits = tf.math.log(tf.maximum(probabilities, np.finfo("float32").tiny))[:, None]
            self.model.measure(labels[None], dict(zip(self.model.sides, tf.unstack(logits), strict=True)))

        strategy = tf.distribute.get_strategy()
        return tf.function(lambda *strip: strategy.run(measure, strip), reduce_retracing=True)

    def _select_large(self, is_large: Callable[[tuple[int, int]], bool]) -> None:
        """Selects the images to measure in windows from now on."""
        by_size = {size: is_large(size) for size in dict.fromkeys(self.sizes)}
        selected = [by_size[size] for size in self.sizes]
        self.large = [pair for pair, large in zip(self.pairs, selected, strict=True) if large]
        if not self.large:
            return
        self.batches, self.steps = None, 0
        if whole := [pair for pair, large in zip(self.pairs, selected, strict=True) if not large]:
            data = replace(self.data, find=lambda _: whole)
            self.batches, self.steps = builders.validation_batches(self.settings, data, self.on_error)
        counts = len(self.large), len(self.pairs), self._windowed.window
        _log.info("%d of %d validation images are measured in windows of %d pixels.", *counts)

    def _measure_whole(self, callbacks: keras.callbacks.CallbackList) -> dict[str, float]:
        if self.steps:
            options = {"steps": self.steps, "callbacks": callbacks, "verbose": 0, "return_dict": True}
            return self.model.evaluate(self.batches, **options)
        callbacks.on_test_begin()
        self.model.reset_metrics()
        return {}

    def _measure_in_windows(self, pair: Pair, before_window: BeforeWindow) -> None:
        data = replace(self.data, find=lambda _: [pair])
        split, crop = self.settings.data.val_split, self.settings.evaluation.crop
        try:
            with readable_errors():
                [(image, labels)] = load_dataset(data, split, center_crop=crop).as_numpy_iterator()
        except InputError as error:
            if not isinstance(self.on_error, Skipped):
                raise
            self.on_error.add(pair[0], error)
            return
        row = 0
        for strip in self._windowed.unchecked_strips(image, before_window):
            rows = slice(row, row := row + strip.shape[1])
            self._count(on_first_replica(labels[rows], np.full_like(labels[rows], IGNORE_LABEL)), strip)

    def _size(self, pair: Pair) -> tuple[int, int]:
        if crop := self.settings.evaluation.crop:
            return crop, crop
        try:
            return self.data.size(*pair)
        except InputError:  # reading the image will report it
            return 0, 0
