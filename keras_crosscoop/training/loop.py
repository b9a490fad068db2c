"""The training loop, which can begin at any step; Keras's own loop begins only at the start of an epoch."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import keras

from keras_crosscoop.keras_internals import train_function
from keras_crosscoop.models import Segmenter
from keras_crosscoop.training.checkpoint_manager import CheckpointManager
from keras_crosscoop.training.state import use_ema_weights

Validate = Callable[[keras.callbacks.CallbackList, Callable[[], object]], dict[str, float]]


def train(
    model: Segmenter,
    batches: Iterator[Any],
    validate: Validate,
    callbacks: keras.callbacks.CallbackList,
    manager: CheckpointManager,
    *,
    epochs: int,
    steps: int,
    validate_every: int,
) -> None:
    """Trains a compiled model like its method `fit`, from the position of the checkpoint manager.

    Args:
        model: The compiled model; its `steps_per_execution` divides `steps`.
        batches: Infinite training batches, from the first remaining step on.
        validate: Returns the validation metrics, of averaged weights if the optimizer keeps them. It takes the
            callbacks, and a function to call wherever a signal may interrupt it.
        callbacks: Called as by `fit`; the manager is the last of them.
        manager: Writes checkpoints.
        epochs: Total number of epochs.
        steps: Steps per epoch.
        validate_every: Epochs between validations; the last epoch is always validated.
    """
    model.stop_training = False
    train_steps = train_function(model)
    first_epoch, first_step = manager.position
    callbacks.on_train_begin()
    for epoch in range(first_epoch, epochs):
        if not first_step:
            model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        for step in range(first_step, steps, model.steps_per_execution):
            last = step + model.steps_per_execution - 1
            callbacks.on_train_batch_begin(step)
            losses = train_steps(batches)
            callbacks.on_train_batch_end(last, losses)
            manager.after_step(epoch, last + 1, float(losses["loss"]))
            if model.stop_training:  # a callback ends the epoch here
                break
        manager.check_weights()  # before validation, after which they may be saved as the best
        first_step = 0
        logs = {name: float(loss) for name, loss in model.mean_losses().items()}
        validates = (epoch + 1) % validate_every == 0 or epoch + 1 == epochs
        with use_ema_weights(model) if validates else nullcontext():
            if validates:
                metrics = validate(callbacks, manager.heed_signals)
                logs |= {f"val_{name}": value for name, value in metrics.items()}
            callbacks.on_epoch_end(epoch, logs)
        manager.after_step(epochs if model.stop_training else epoch + 1, 0)
        if model.stop_training:
            break
    callbacks.on_train_end()
