"""The checksum file `SHA256SUMS` of records, which `sha256sum -c SHA256SUMS` also checks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import file_digest
from keras_crosscoop.system.resources import threads

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Writes the checksums of all files in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    lines = (f"{digest}  {path.name}\n" for path, digest in zip(files, _digests(files), strict=True))
    (folder / SUMS).write_text("".join(lines), "utf-8", newline="\n")


def changed_files(folder: Path) -> list[Path]:
    """Returns the files of records that are missing or changed, and the shards without a checksum.

    Raises:
        InputError: The checksums are missing or invalid.
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
    digests = dict(zip(expected, _digests(list(expected)), strict=True))
    changed = [path for path in expected if digests[path] != expected[path]]
    return changed + sorted(set(folder.glob("*.tfrecord-*")) - expected.keys())


def _digests(paths: Sequence[Path]) -> list[str | None]:
    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(_digest, paths))


def _digest(path: Path) -> str | None:
    try:
        return file_digest(path, "sha256")
    except OSError:
        return None
