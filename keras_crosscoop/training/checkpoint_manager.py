"""Writes checkpoints at intervals, at the end of training, and after a signal, but never after divergence."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_crosscoop.errors import InputError, Interrupted
from keras_crosscoop.models import Segmenter
from keras_crosscoop.system.signals import Signals, handle_signals, restore
from keras_crosscoop.training.callback_states import CallbackStates
from keras_crosscoop.training.checkpoint_files import CheckpointFiles
from keras_crosscoop.training.state import TrainingState, assign, metric_variables, values, variables
from keras_crosscoop.training.strategy import on_any_machine

_MAX_NAMED = 32  # files in an error


class CheckpointManager(keras.callbacks.Callback):
    """Writes the checkpoints of a training run; it must be the last callback.

    Within `with manager:`, SIGTERM, SIGHUP and Ctrl-C end training after the current step, with a checkpoint. A second
    signal ends it at once. Training outside the main thread receives no signals.

    Args:
        model: The compiled model.
        checkpoints: The checkpoint files.
        callbacks: All other callbacks.
        every_steps: Steps between checkpoints.
        every_seconds: Seconds between checkpoints.
        writes: Whether this process writes files; only one of several processes does.
        files: Returns the files of a step's batch, for the error message after divergence.

    Attributes:
        position: The number of complete epochs, and of complete steps of the next epoch.
        step: The total number of complete steps.
    """

    def __init__(
        self,
        model: Segmenter,
        checkpoints: CheckpointFiles,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        every_steps: float = math.inf,
        every_seconds: float = math.inf,
        writes: bool,
        files: Callable[[int], Sequence[str]],
    ) -> None:
        super().__init__()
        self.segmenter = model  # Keras sets `model` only when the training begins
        self.checkpoints = checkpoints
        self.callbacks = callbacks
        self.states = CallbackStates(callbacks)
        self.every_steps = every_steps
        self.every_seconds = every_seconds
        self.writes = writes
        self.files = files
        self.position = (0, 0)
        self.step = 0  # the optimizer does not count steps that it skips for infinite gradients
        self._loaded_states: dict[str, Any] = {}
        self._training_losses: dict[str, np.ndarray] = {}  # during validation, which overwrites them in the model
        self._signals = Signals()
        self._restart_interval()

    def resume(self) -> None:
        """Loads the newest undamaged checkpoint, if there is one.

        Raises:
            InputError: All checkpoints are damaged, or one belongs to another network.
        """
        targets = variables(self.segmenter)
        shapes = {name: (tuple(target.shape), np.dtype(target.dtype)) for name, target in targets.items()}
        if (state := self.checkpoints.load(shapes)) is not None:
            assign(targets, state.variables)
            self._loaded_states = state.callbacks
            self.position, self.step = (state.epoch, state.step), state.steps
        self._restart_interval()

    def __enter__(self) -> "CheckpointManager":
        """Makes signals wait for the end of a step."""
        self._handlers = handle_signals(self._handle_signal)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Saves after the last step or a signal, including one that arrived at the very end."""
        try:
            if kind in (None, Interrupted):
                self.save()
        finally:
            restore(self._handlers)
        if kind is None:
            self.heed_signals()

    def _handle_signal(self, number: int, _: object) -> None:
        if self._signals.received(number):
            restore({number: self._handlers[number]})
            signal.raise_signal(number)

    def set_model(self, model: keras.Model) -> None:
        """Takes new snapshots of the callbacks' states: Keras's `TensorBoard` sets attributes in `set_model`."""
        super().set_model(model)
        self.states = CallbackStates(self.callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores the callbacks' states, after their own `on_train_begin`."""
        self.states.set(self._loaded_states)

    def on_test_begin(self, logs: Any = None) -> None:
        """Saves the training losses, because validation uses the same variables."""
        self._training_losses = self._training_losses or values(metric_variables(self.segmenter))

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends the training after a signal."""
        self.heed_signals()

    def after_step(self, epoch: int, step: int, loss: float | None = None) -> None:
        """Ends training after a signal, or saves a checkpoint if one is due. Call this after each step and each epoch.

        Args:
            epoch: The number of complete epochs.
            step: The number of complete steps of the next epoch.
            loss: The loss of the epoch so far; None after an epoch.

        Raises:
            InputError: The loss is not finite, or the checkpoint cannot be written.
            Interrupted: A signal arrived.
        """
        self._training_losses = {}
        if loss is not None:
            self.step += self.segmenter.steps_per_execution
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss}", self.step - self.segmenter.steps_per_execution)
        self.position = epoch, step
        self.heed_signals()
        due = time.monotonic() - self._last_time >= self.every_seconds
        if due or self.step - self._last_step >= self.every_steps:
            self.save()

    def check_weights(self) -> dict[str, np.ndarray]:
        """Checks that all weights are finite, and returns the values of all variables.

        An activation can hide non-finite weights from the loss.

        Raises:
            InputError: Weights are not finite.
        """
        arrays = values(variables(self.segmenter))
        metrics = metric_variables(self.segmenter)  # may be NaN after a validation
        if not all(np.isfinite(array).all() for name, array in arrays.items() if name not in metrics):
            raise self._diverged("weights are not finite", self._last_checked)
        self._last_checked = self.step
        return arrays

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: The checkpoint cannot be written, or weights are not finite.
        """
        arrays = self.check_weights() | self._training_losses
        if self.writes:
            self.checkpoints.save(TrainingState(*self.position, self.step, arrays, self.states.get()))
        self._restart_interval()

    def _restart_interval(self) -> None:
        self._last_step, self._last_time = self.step, time.monotonic()
        self._last_checked = self.step

    @property
    def stopping(self) -> bool:
        """Whether this process received a signal."""
        return self._signals.first is not None

    def heed_signals(self) -> None:
        """Ends training after a signal. All machines must call this at the same points.

        Raises:
            Interrupted: A signal arrived at any machine. All machines stop, because they would wait for that one.
        """
        if on_any_machine(self.stopping):
            folder = self.checkpoints.folder.parent
            raise Interrupted(
                f"stopped and saved at step {self.step}. Continue with: crosscoop-tf fit --resume {folder}",
                self._signals.first or signal.SIGTERM,
            )

    def _diverged(self, problem: str, last_good: int) -> InputError:
        """Returns the error for a state that is not finite, but was after `last_good` steps."""
        steps = range(max(0, min(last_good, self.step - 1)), self.step)
        files = [file for step in steps[-_MAX_NAMED:] for file in self.files(step)][-_MAX_NAMED:]
        when = f"at step {self.step}" if len(steps) < 2 else f"between steps {steps[0] + 1} and {self.step}"
        last = next(iter(self.checkpoints.files), "none")
        return InputError(
            f"Training diverged {when}: {problem}. Lower train.learning_rate, set train.clip_norm, or check the files "
            f"of the batch: {', '.join(files)}. Last good checkpoint: {last}. Received: {problem}"
        )
