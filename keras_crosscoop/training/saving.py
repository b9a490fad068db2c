"""When a training saves itself: at intervals, at its end, and before a signal ends it; never once it is ruined."""

import logging
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
from keras_crosscoop.training.checkpoints import Checkpoints
from keras_crosscoop.training.state import State, assign, sums, values, variables
from keras_crosscoop.training.strategy import on_any_machine

_log = logging.getLogger(__name__)
_NAMED = 32  # files, at most, in an error


class CheckpointManager(keras.callbacks.Callback):
    """Keeps the checkpoints of a training, for which it must be the last of its callbacks.

    Within `with saver:` SIGTERM, SIGHUP and Ctrl-C end the training only after the step, with a checkpoint, unless it
    runs in a thread of its own, which signals do not reach. A later one ends it at once.

    Args:
        model: what is trained, compiled.
        checkpoints: where the states go, and come from.
        callbacks: all others.
        every_steps: save after so many.
        every_seconds: save when so many have passed.
        writes: whether this is the one of several processes that does.
        files: the files that the batch of a step was made from, to be named if it ruined the model.

    Attributes:
        position: how many epochs are done, and how many steps of the next one.
        step: how many are done in all.
    """

    def __init__(
        self,
        model: Segmenter,
        checkpoints: Checkpoints,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        every_steps: float = math.inf,
        every_seconds: float = math.inf,
        writes: bool,
        files: Callable[[int], Sequence[str]],
    ) -> None:
        super().__init__()
        self.segmenter = model  # `model` is Keras's, and not there before the training begins
        self.checkpoints = checkpoints
        self.callbacks = callbacks
        self.states = CallbackStates(callbacks)
        self.every_steps = every_steps
        self.every_seconds = every_seconds
        self.writes = writes
        self.files = files
        self.position = (0, 0)
        self.step = 0  # the optimizer does not count those that it leaves out for infinite gradients
        self._remembered: dict[str, Any] = {}  # by callbacks, when it was resumed
        self._sums: dict[str, np.ndarray] = {}  # of the epoch's training, while validation counts its own
        self._signals = Signals()
        self._restart_interval()

    def resume(self) -> tuple[int, int]:
        """Goes to the last state that is whole, and gives the epochs done, and the steps of the next one.

        Raises:
            InputError: no checkpoint is whole, or it is of another network.
        """
        named = variables(self.segmenter)
        state = self.checkpoints.load({name: (tuple(each.shape), np.dtype(each.dtype)) for name, each in named.items()})
        if state is not None:
            assign(named, state.variables)
            self._remembered = state.callbacks
            self.position, self.step = (state.epoch, state.step), state.steps
            _log.info("Training goes on from step %d.", self.step)
        self._restart_interval()
        return self.position

    def __enter__(self) -> "CheckpointManager":
        """From now on signals wait for the end of a step."""
        self._handlers = handle_signals(self._note_signal)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        """Saves if all is done, or a signal stopped it; one that came at the very end counts too."""
        try:
            if kind in (None, Interrupted):
                self.save()
        finally:
            restore(self._handlers)
        if kind is None:
            self.heed_signals()

    def _note_signal(self, number: int, _: object) -> None:
        if self._signals.came(number):
            restore({number: self._handlers[number]})
            signal.raise_signal(number)

    def set_model(self, model: keras.Model) -> None:
        """Takes the others for new as they are with their model: Keras's `TensorBoard` only then names its folders."""
        super().set_model(model)
        self.states = CallbackStates(self.callbacks)

    def on_train_begin(self, logs: Any = None) -> None:
        """Gives callbacks back what they remembered, after they began anew."""
        self.states.set(self._remembered)

    def on_test_begin(self, logs: Any = None) -> None:
        """Remembers the losses of training: Keras is about to count validation's in their place."""
        self._sums = self._sums or values(sums(self.segmenter))  # it may begin again, after a device's memory was full

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Gives way to a signal."""
        self.heed_signals()

    def after_step(self, epoch: int, step: int, loss: float | None = None) -> None:
        """To be called after each step, and when an epoch is done: saves if it is time.

        Args:
            epoch: how many are done.
            step: how many of the next one's are done.
            loss: of the epoch so far; None at its end.

        Raises:
            InputError: the loss is no number any more, or the checkpoint cannot be written.
            Interrupted: a signal came.
        """
        self._sums = {}
        if loss is not None:
            self.step += self.segmenter.steps_per_execution
            if not math.isfinite(loss):
                raise self._ruined(f"loss is {loss}")
        self.position = epoch, step
        self.heed_signals()
        due = time.monotonic() - self._last_time >= self.every_seconds
        if due or self.step - self._last_step >= self.every_steps:
            self.save()

    def check_weights(self) -> dict[str, np.ndarray]:
        """All variables' values: an activation can hide from the loss that weights are ruined.

        Raises:
            InputError: they are no numbers any more.
        """
        held = values(variables(self.segmenter))
        figures = sums(self.segmenter)  # of validation, maybe, which may be no numbers
        if not all(np.isfinite(array).all() for name, array in held.items() if name not in figures):
            raise self._ruined("weights are no numbers", since=self._last_whole)
        self._last_whole = self.step
        return held

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: it cannot be written, or weights are no numbers any more.
        """
        held = self.check_weights() | self._sums
        if self.writes:
            self.checkpoints.save(State(*self.position, self.step, held, self.states.get()))
        self._restart_interval()

    def _restart_interval(self) -> None:
        self._last_step, self._last_time = self.step, time.monotonic()
        self._last_whole = self.step  # the last step whose weights were looked at

    @property
    def stopping(self) -> bool:
        """Whether a signal came to this process."""
        return self._signals.first is not None

    def heed_signals(self) -> None:
        """To be called where the work can be left: on all machines at the same times.

        Raises:
            Interrupted: a signal came.
        """
        # One machine's signal is all machines', or the others would wait for its part of the next step.
        if on_any_machine(self.stopping):
            folder = self.checkpoints.folder.parent
            raise Interrupted(
                f"stopped and saved at step {self.step}. Go on by: crosscoop-tf fit --resume {folder}",
                self._signals.first or signal.SIGTERM,
            )

    def _ruined(self, what: str, since: int | None = None) -> InputError:
        """The error for a state that is no numbers: since the last execution, or since some step."""
        first = self.step - self.segmenter.steps_per_execution if since is None else since
        executed = range(max(0, min(first, self.step - 1)), self.step)
        files = [file for step in executed[-_NAMED:] for file in self.files(step)][-_NAMED:]
        when = f"at step {self.step}" if len(executed) < 2 else f"between steps {executed[0] + 1} and {self.step}"
        last = next(iter(self.checkpoints.files), None)
        return InputError(
            f"Training is ruined {when}: its {what}. Lower train.learning_rate, set train.clip_norm, or look at the "
            f"files of its batch: {', '.join(files)}. The last good checkpoint: {last or 'none'}. Received: {what}"
        )
