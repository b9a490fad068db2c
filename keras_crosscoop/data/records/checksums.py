"""`SHA256SUMS`: what `sha256sum -c SHA256SUMS` checks, for records that were copied or stored for long."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.resources import threads

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Writes the checksums of all files in the folder beside them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = (f"{digest}  {path.name}\n" for path, digest in zip(files, _digests(files), strict=True))
    (folder / SUMS).write_text("".join(lines), "utf-8", newline="\n")


def verify(folder: Path) -> list[Path]:
    """The files of records that are missing or not as they were written, and shards that have no checksum.

    Args:
        folder: what `find_records` gives.

    Raises:
        InputError: its checksums are missing or cannot be understood.
    """
    expected = {}
    try:
        for line in (folder / SUMS).read_text("utf-8").splitlines():
            digest, name = line.split("  ", 1)
            expected[folder / name] = digest
    except (OSError, ValueError) as error:
        raise InputError(
            f"The checksums of the records cannot be read. Are they complete, and written by `crosscoop-tf data "
            f"prepare`? Received: {folder / SUMS}"
        ) from error
    changed = [path for path, found in zip(expected, _digests(expected), strict=True) if found != expected[path]]
    return changed + sorted(set(folder.glob("*.tfrecord-*")) - expected.keys())


def _digests(paths: Iterable[Path]) -> Iterable[str | None]:
    with ThreadPoolExecutor(threads()) as pool:
        yield from pool.map(_digest, paths)


def _digest(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
