"""One-line errors for failures outside of training: a full disk, a removed run folder, a lost machine."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import lost_machine, unwritable_file
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import remedy
from keras_crosscoop.training.strategy import several_machines

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # only writers meet these, and some name no path


@contextmanager
def disk_errors(run: Run) -> Iterator[None]:
    """Turns errors of writing to the run's folder into an explanation.

    Raises:
        InputError: In place of an error of writing. Other errors pass unchanged.
    """
    try:
        yield
    except (OSError, InputError, tf.errors.OpError) as error:
        again = f"continue with `crosscoop-tf fit --resume {run.folder}`"
        if run.writes and not run.folder.is_dir():
            raise InputError(
                f"The run's folder was removed or renamed during training. Train again, or put it back and {again}. "
                f"Received: {run.folder}"
            ) from error
        if (failure := _write_failure(error, run.folder)) is None:
            raise
        reason, file = failure
        raise InputError(
            f"The run cannot be written ({reason}). {remedy(error)}, "
            f"then {again if run.checkpoints.exists() else 'train again'}. Received: {file}"
        ) from error


def _write_failure(error: Exception, folder: Path) -> tuple[str, str] | None:
    """Returns the reason and the file of a writing error; None for other errors."""
    if isinstance(error, tf.errors.OpError):  # the TensorBoard writer names the file only in its message
        return unwritable_file(error, str(folder / "tensorboard"))
    if not isinstance(error, OSError):
        return None
    file = error.filename if isinstance(error.filename, str) else str(folder)
    in_run = error.errno and error.filename and Path(file).is_relative_to(folder)
    return (error.strerror, file) if in_run or error.errno in _WRITING else None


@contextmanager
def lost_machines(folder: Path) -> Iterator[None]:
    """Turns errors about a lost connection to another machine into an explanation.

    Raises:
        InputError: In place of TensorFlow's error about the lost connection. Other errors pass unchanged.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        if not several_machines():
            raise
        machine = lost_machine(error)
        name = f" ({machine})" if machine else ""
        reason = re.sub(r"{{.*?}} ", "", error.message.splitlines()[0])
        raise InputError(
            f"The connection to another machine of this training{name} is lost. Look at its last output, then continue "
            f"on all machines with `crosscoop-tf fit --resume {folder}`. Received: {reason}"
        ) from error
