"""The checksum file `SHA256SUMS` of records, which `sha256sum -c SHA256SUMS` also checks."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import file_digest
from keras_crosscoop.system.resources import threads

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Writes the checksums of all files in a folder."""
    digests = _digests(sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS))
    lines = (f"{digest}  {path.name}\n" for path, digest in digests.items())
    (folder / SUMS).write_text("".join(lines), "utf-8", newline="\n")


def changed_files(folder: Path) -> list[Path]:
    """Returns the files of records that are missing or changed, and the shards without a checksum.

    Raises:
        InputError: The checksums are missing or invalid.
    """
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text("utf-8").splitlines()]
        expected = {folder / name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise InputError(
            f"The checksums of the records cannot be read. Are they complete, and written by `crosscoop-tf data "
            f"prepare`? Received: {folder / SUMS}"
        ) from error
    changed = [path for path, digest in _digests(expected).items() if digest != expected[path]]
    return changed + sorted(set(folder.glob("*.tfrecord-*")) - expected.keys())


def _digests(paths: Iterable[Path]) -> dict[Path, str | None]:
    """Returns the checksum of each file, or None if it cannot be read."""

    def digest(path: Path) -> str | None:
        try:
            return file_digest(path, "sha256")
        except OSError:
            return None

    with ThreadPoolExecutor(threads()) as pool:
        return dict(zip(paths, pool.map(digest, paths), strict=True))
