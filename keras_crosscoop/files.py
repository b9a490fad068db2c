"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to; it takes the name `path` when the block ends, and goes if it fails."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")  # in front: some writers go by the ending
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):  # it is a folder that is none, say: what failed before tells more
            partial.unlink(missing_ok=True)
