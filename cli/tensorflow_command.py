"""Commands that load TensorFlow and silence its log messages, which users cannot act on."""

import contextlib
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.terminal import STDERR_GONE, SurvivingStream

_FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


class TensorFlowCommand(click.Command):
    """A command that loads TensorFlow silently, after its arguments have been parsed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Loads TensorFlow and runs the command; log messages of this library go to stderr."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _loading_message():
            with _native_stderr_discarded():
                import tensorflow  # noqa: F401
            from PIL import Image

            from keras_crosscoop.system.processes import CHATTER
            from keras_crosscoop.system.resources import cores

        # TensorFlow respects CPU affinity but not the CPU quota of a container.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores()))
        with warnings.catch_warnings(), native_messages_filtered(CHATTER), _library_log_shown():
            # Pillow warns at half of its pixel limit; large scans are legitimate.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # Its warnings about damaged metadata do not name the file; damaged pixels are errors anyway.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            return super().invoke(ctx)


@contextlib.contextmanager
def native_messages_filtered(chatter: str) -> Iterator[None]:
    """Discards known messages that native code writes to file descriptor 2; other messages pass.

    A separate process filters them. A thread would die with this process and lose its last messages.

    Args:
        chatter: Regular expression that matches the beginning of lines to discard.
    """
    stderr = os.dup(2)
    try:
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER, chatter],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # no signals from the terminal: it ends when its input closes
        )
    except OSError:  # no memory for a process: show everything
        os.close(stderr)
        yield
        return
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        with _python_stderr_on(stderr):
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a child process may still hold the pipe open
            reader.wait(timeout=2)


@contextlib.contextmanager
def _python_stderr_on(descriptor: int) -> Iterator[None]:
    """Moves Python's stderr from file descriptor 2 to another descriptor; does nothing if tests replaced stderr."""
    try:
        native = sys.stderr.fileno() == 2
    except (AttributeError, OSError):
        native = False
    if not native:
        yield
        return
    own = os.fdopen(os.dup(descriptor), "w", 1, sys.stderr.encoding, "backslashreplace")  # like the original
    try:
        with contextlib.redirect_stderr(SurvivingStream(own, STDERR_GONE)):
            yield
    finally:
        with contextlib.suppress(OSError):  # the reader is gone
            own.close()


@contextlib.contextmanager
def _library_log_shown() -> Iterator[None]:
    """Shows INFO messages of this library and errors of TensorFlow; hides their warnings to programmers."""
    levels = {"keras_crosscoop": logging.INFO, "tensorflow": logging.ERROR, "absl": logging.ERROR}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    library = logging.getLogger("keras_crosscoop")
    library.addHandler(handler := logging.StreamHandler())
    library.propagate = False  # TFDS gives the root logger a handler, too
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.propagate = True
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _loading_message() -> Iterator[None]:
    """Shows "Loading" on a terminal meanwhile."""
    on_terminal = sys.stderr.isatty()
    if on_terminal:
        click.echo("Loading", nl=False, err=True)
    try:
        yield
    finally:
        if on_terminal:
            click.echo("\x1b[2K\r", nl=False, err=True)


@contextlib.contextmanager
def _native_stderr_discarded() -> Iterator[None]:
    """Discards messages that native libraries write on import, before the log level applies. Exceptions still show."""
    stderr = os.dup(2)
    with Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
