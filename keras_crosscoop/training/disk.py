"""What becomes of a run's folder while it trains: a full disk, a file system gone read-only, a folder removed."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import unwritable_file
from keras_crosscoop.runs import Run
from keras_crosscoop.system.files import remedy

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no reader meets these, and some writers tell no path


@contextmanager
def disk_errors(run: Run) -> Iterator[None]:
    """Says in one line why a run can no longer be written, and how to go on.

    Raises:
        InputError: instead of the error of what tried. Errors of anything else pass unchanged.
    """
    try:
        yield
    except (OSError, InputError, tf.errors.OpError) as error:
        if run.writes and not run.folder.is_dir():
            raise InputError(
                f"The run's folder is gone: it was removed or renamed while the run trained. Train again, or put it "
                f"back and go on by `crosscoop-tf fit --resume {run.folder}`. Received: {run.folder}"
            ) from error
        if (told := _told(error, run.folder)) is None:
            raise
        reason, file = told
        again = f"go on by `crosscoop-tf fit --resume {run.folder}`" if run.checkpoints.exists() else "train again"
        raise InputError(
            f"The run cannot be written ({reason}). {remedy(error)}, then {again}. Received: {file}"
        ) from error


def _told(error: Exception, folder: Path) -> tuple[str, str] | None:
    """Why something cannot be written, and what; None if it is no such error."""
    if isinstance(error, tf.errors.OpError):  # of the writer of TensorBoard's files, which tells it in the text alone
        return unwritable_file(error, str(folder / "tensorboard"))
    if not isinstance(error, OSError):
        return None
    file = error.filename if isinstance(error.filename, str) else str(folder)
    of_run = error.errno and error.filename and Path(file).is_relative_to(folder)
    return (error.strerror, file) if of_run or error.errno in _WRITING else None
