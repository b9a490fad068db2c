"""A valid file that is damaged, and how the package reads it."""

from collections.abc import Callable
from typing import NamedTuple


class Seed(NamedTuple):
    """A valid file.

    Attributes:
        name: of the file, which some readers go by.
        content: its bytes.
        mutate: `(content, rng, others)` -> damaged content.
        run: reads a file of such content, as a command would.
        supported: whether it is read at all while it is whole.
    """

    name: str
    content: bytes
    mutate: Callable
    run: Callable
    supported: bool = True


def in_file(path, read, content):
    """Reads content from a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return read(path)
