"""TensorFlow without its start-up messages, which say nothing that a user of this command can act on."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click


class TensorFlowCommand(click.Command):
    """A command that loads TensorFlow, quietly, once its arguments are understood."""

    def invoke(self, ctx: click.Context) -> Any:
        """Loads, then runs; what the library reports on the way goes to stderr."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _native_stderr_closed():
            import tensorflow  # noqa: F401
        from PIL import Image

        from keras_crosscoop.resources import cores

        # TensorFlow heeds the affinity of a process, but not a container's share of the time.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores()))
        library = logging.getLogger("keras_crosscoop")
        library.setLevel(logging.INFO)
        library.addHandler(handler := logging.StreamHandler())
        try:
            with warnings.catch_warnings():
                # Pillow warns of half as many pixels as it refuses: scans, which are meant.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                # And of damaged metadata, without a word of whose; damaged pixels are errors.
                warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
                return super().invoke(ctx)
        finally:
            library.removeHandler(handler)


@contextlib.contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Its libraries write before their log level counts, past Python, to the file descriptor. Exceptions still show."""
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
