"""The loop over steps and epochs. Keras's own begins with whole epochs; this one goes on from any step."""

from collections.abc import Callable, Container, Iterator
from contextlib import nullcontext
from typing import Any

import keras

from keras_crosscoop.keras_internals import train_function
from keras_crosscoop.models import Segmenter
from keras_crosscoop.training.ema import ema_weights
from keras_crosscoop.training.saving import CheckpointManager

Validation = Callable[[Segmenter, keras.callbacks.CallbackList, Callable[[], object]], dict[str, float]]


def train(
    model: Segmenter,
    batches: Iterator[Any],
    validation: Validation,
    callbacks: keras.callbacks.CallbackList,
    saver: CheckpointManager,
    *,
    epochs: int,
    steps: int,
    validated: Container[int],
) -> None:
    """Trains a compiled model as its `fit` does, from where the saver stands.

    Args:
        model: compiled; its `steps_per_execution` divides `steps`.
        batches: of training, without end, from the first that is still to do.
        validation: measures it; where the optimizer keeps averaged weights, these are measured.
        callbacks: are told of everything, as by `fit`; the saver is the last of them.
        saver: keeps checkpoints.
        epochs: how many in all.
        steps: of one epoch.
        validated: the epochs, counted from 1, after which there is validation.
    """
    model.stop_training = False
    train = train_function(model)
    first, done = saver.position
    callbacks.on_train_begin()
    for epoch in range(first, epochs):
        if not done:
            model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        for step in range(done, steps, model.steps_per_execution):
            last = step + model.steps_per_execution - 1
            callbacks.on_train_batch_begin(step)
            losses = train(batches)
            callbacks.on_train_batch_end(last, losses)
            saver.after_step(epoch, last + 1, float(losses["loss"]))
            if model.stop_training:  # by a callback that looks at steps; the epoch ends here
                break
        saver.check_weights()  # before they are measured, and kept for the best
        done = 0
        figures = {name: float(loss) for name, loss in model.mean_losses().items()}
        measuring = epoch + 1 in validated
        with ema_weights(model) if measuring else nullcontext():
            if measuring:
                measured = validation(model, callbacks, saver.heed_signals)
                figures |= {f"val_{name}": figure for name, figure in measured.items()}
            callbacks.on_epoch_end(epoch, figures)
        saver.after_step(epochs if model.stop_training else epoch + 1, 0)
        if model.stop_training:
            break
    callbacks.on_train_end()
