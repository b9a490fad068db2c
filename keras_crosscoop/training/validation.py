"""Measures a network on the validation split while it trains, as `evaluate` does when it is done.

Images that the networks see as a whole go through Keras's `evaluate`, on all devices. Others, which are larger than
`evaluation.window` or than the memory holds, follow one at a time, in windows.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop.config import Settings
from keras_crosscoop.data import Dataset, OnError, Skipped, load_dataset, readable_errors
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import image_size
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.models import Segmenter, inference
from keras_crosscoop.models.inference import Between, Inference
from keras_crosscoop.training import parts
from keras_crosscoop.training.strategy import on_any_machine, on_first_replica, several_machines

_log = logging.getLogger(__name__)


class Validation:
    """Gives the figures of a model's `evaluate`, of whole images and of those that are seen in windows.

    Of an image in windows the losses are those of its strips, one after another, from the probabilities that its
    windows come to together: a loss that looks at whole images, such as Dice or `hard_pixel_fraction`, looks at strips there.
    Several devices do not share such an image, and several machines all look at it.

    Args:
        settings: of the run.
        data: what is trained on.
        on_error: see `load_dataset`.

    Raises:
        InputError: the split cannot be used.
    """

    def __init__(self, settings: Settings, data: Dataset, on_error: OnError) -> None:
        self.settings, self.data, self.on_error = settings, data, on_error
        self.pairs = data.find(settings.data.val_split)
        self.batches, self.steps = parts.validation_batches(settings, data, on_error)
        self.sizes = [self._size(pair) for pair in self.pairs]
        self.large: list[Pair] = []
        self._look: Inference | None = None
        self._windows: Inference | None = None  # how it looks at large images
        self._count: Callable[[tf.Tensor, tf.Tensor], None] | None = None  # labels and probabilities of a strip

    def __call__(
        self, model: Segmenter, callbacks: keras.callbacks.CallbackList, between: Between = lambda: None
    ) -> dict[str, float]:
        """Measures.

        Args:
            model: compiled; always the same.
            callbacks: are told, as by `evaluate`.
            between: is called before each look through a window.

        Raises:
            InputError: a file cannot be used, or the memory does not hold what is seen at once.
        """
        look = self.looking(model)
        try:
            figures = self._measure_whole(model, callbacks)
        except tf.errors.ResourceExhaustedError as error:  # by a GPU, which cannot be asked before
            if several_machines() or look.window or not self._set_apart(lambda size: max(size) > inference.WINDOW):
                raise InputError(
                    "The memory does not hold what the networks make of a validation image. Set evaluation.window to "
                    f"less, or evaluation.crop. Received: {look.window}"
                ) from error
            figures = self._measure_whole(model, callbacks)
        if not self.large:
            return figures
        for number, pair in enumerate(self.large):
            if not self.steps:
                callbacks.on_test_batch_begin(number)
            self._measure_in_windows(pair, between)
            if not self.steps:
                callbacks.on_test_batch_end(number)
        figures = {name: float(figure) for name, figure in model.get_metrics_result().items()}
        if not self.steps:
            callbacks.on_test_end(figures)
        return figures

    def looking(self, model: Segmenter) -> Inference:
        """How the model looks at images; always the same."""
        if self._look is None:
            look = self._look = Inference(model, window=self.settings.evaluation.window)
            # Not as the memory allows each time: several machines must look through the same windows.
            self._windows = look if look.window else Inference(model, window=inference.WINDOW)
            self._count = _counter(model)
            self._set_apart(lambda size: on_any_machine(not look.is_whole(*size)))  # which may have less memory
        return self._look

    def _set_apart(self, is_large: Callable[[tuple[int, int]], bool]) -> bool:
        """Whether there are large images; if so, they are measured in windows from now on."""
        apart = {size: is_large(size) for size in dict.fromkeys(self.sizes)}
        whole = [pair for pair, size in zip(self.pairs, self.sizes, strict=True) if not apart[size]]
        self.large = [pair for pair, size in zip(self.pairs, self.sizes, strict=True) if apart[size]]
        if self.large:
            self.batches, self.steps = None, 0
            if whole:
                of_whole = replace(self.data, find=lambda _: whole)
                self.batches, self.steps = parts.validation_batches(self.settings, of_whole, self.on_error)
            told = len(self.large), len(self.pairs), self._windows.window
            _log.info("%d of %d validation images are seen in windows of %d pixels.", *told)
        return bool(self.large)

    def _measure_whole(self, model: Segmenter, callbacks: keras.callbacks.CallbackList) -> dict[str, float]:
        if self.steps:
            return model.evaluate(self.batches, steps=self.steps, callbacks=callbacks, verbose=0, return_dict=True)
        callbacks.on_test_begin()
        model.reset_metrics()
        return {}

    def _measure_in_windows(self, pair: Pair, between: Between) -> None:
        alone = replace(self.data, find=lambda _: [pair])
        split, crop = self.settings.data.val_split, self.settings.evaluation.crop
        try:
            with readable_errors():
                [(image, labels)] = load_dataset(alone, split, center_crop=crop).as_numpy_iterator()
        except InputError as error:
            if not isinstance(self.on_error, Skipped):
                raise
            self.on_error.add(pair[0], error)
            return
        row = 0
        for strip in self._windows.unchecked_strips(image, between):
            rows = slice(row, row := row + strip.shape[1])
            self._count(on_first_replica(labels[rows], np.full_like(labels[rows], IGNORE_LABEL)), strip)

    def _size(self, pair: Pair) -> tuple[int, int]:
        if crop := self.settings.evaluation.crop:
            return crop, crop
        try:
            return image_size(pair[0])
        except InputError:  # it is told of, or skipped, when its turn comes
            return 0, 0


def _counter(model: Segmenter) -> Callable[[tf.Tensor, tf.Tensor], None]:
    """Counts a strip, labels `(H, W)` and probabilities `(S, H, W, C)`, as the model's `evaluate` counts a batch."""

    def measure(labels: tf.Tensor, probabilities: tf.Tensor) -> None:
        logits = tf.math.log(tf.maximum(probabilities, np.finfo("float32").tiny))[:, None]
        of_sides = dict(zip(model.sides, tf.unstack(logits), strict=True))
        model.measure(labels[None], of_sides)

    strategy = tf.distribute.get_strategy()
    return tf.function(lambda *strip: strategy.run(measure, strip), reduce_retracing=True)
