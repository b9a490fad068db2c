"""TensorFlow without its own messages, which say nothing that a user of this command can act on."""

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
from crosscoop_tf.terminal import STDERR_GONE, Lasting

_FILTER = """
import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


class TensorFlowCommand(click.Command):
    """A command that loads TensorFlow, quietly, once its arguments are understood."""

    def invoke(self, ctx: click.Context) -> Any:
        """Loads, then runs; what the library reports on the way goes to stderr."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _loading_told():
            with _native_stderr_closed():
                import tensorflow  # noqa: F401
            from PIL import Image

            from keras_crosscoop.system.processes import CHATTER
            from keras_crosscoop.system.resources import cores

        # TensorFlow heeds the affinity of a process, but not a container's share of the time.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores()))
        with warnings.catch_warnings(), native_chatter_dropped(CHATTER), _reported():
            # Pillow warns of half as many pixels as it refuses: scans, which are meant.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # And of damaged metadata, without a word of whose; damaged pixels are errors.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            return super().invoke(ctx)


@contextlib.contextmanager
def native_chatter_dropped(chatter: str) -> Iterator[None]:
    """Drops known messages of native code, which go past Python to file descriptor 2; all others still show.

    A process of its own reads them: a thread would die with this one, and take along why it died.

    Args:
        chatter: a regular expression of how these lines begin.
    """
    stderr = os.dup(2)
    try:
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER, chatter],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # signals from the terminal are not meant for it: it ends when nobody writes
        )
    except OSError:  # no room for a process: better chatter than nothing
        os.close(stderr)
        yield
        return
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        with _python_writes_to(stderr):
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process of ours lives on, and may write
            reader.wait(timeout=2)


@contextlib.contextmanager
def _python_writes_to(descriptor: int) -> Iterator[None]:
    """Python's stderr goes to a file descriptor, if it goes to number 2, as it does but in tests."""
    try:
        native = sys.stderr.fileno() == 2
    except (AttributeError, OSError):
        native = False
    if not native:
        yield
        return
    own = os.fdopen(os.dup(descriptor), "w", 1, sys.stderr.encoding, "backslashreplace")  # as Python has it
    try:
        with contextlib.redirect_stderr(Lasting(own, STDERR_GONE)):
            yield
    finally:
        with contextlib.suppress(OSError):  # nobody reads it any more
            own.close()


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Shows what this library reports, and of TensorFlow and Keras errors alone: no hints for programmers."""
    levels = {"keras_crosscoop": logging.INFO, "tensorflow": logging.ERROR, "absl": logging.ERROR}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    library = logging.getLogger("keras_crosscoop")
    library.addHandler(handler := logging.StreamHandler())
    try:
        yield
    finally:
        library.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _loading_told() -> Iterator[None]:
    """Says on a terminal why nothing happens yet."""
    told = sys.stderr.isatty()
    if told:
        click.echo("Loading", nl=False, err=True)
    try:
        yield
    finally:
        if told:
            click.echo("\x1b[2K\r", nl=False, err=True)


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
