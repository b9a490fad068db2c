"""Zip files whose members are read in place, without extraction."""

import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from keras_crosscoop.errors import InputError

# The errors of `zipfile` for damaged files; `RuntimeError` also for encrypted members and unknown compression.
_ZIP_ERRORS = (BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error)


class Archive:
    """An open zip file. Any number of threads can read its members. It is closed when nothing refers to it.

    Raises:
        InputError: The file cannot be opened, or its list of members, which stands at its end, is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = ZipFile(path)
        except _ZIP_ERRORS as error:
            raise InputError(
                f"The archive cannot be opened ({_reason(error)}). Is it fully downloaded? Get it again. "
                f"Received: {path}"
            ) from error
        weakref.finalize(self, self.zip.close)  # `ZipFile.__del__` may run after a warning about the open file

    def __reduce__(self) -> tuple:
        return Archive, (self.path,)  # an unpickled copy opens the file itself

    def files(self, folder: str, suffix: str) -> dict[str, "Member"]:
        """Maps the part of the name between `folder` and `suffix` to the member, for all members with both."""
        return {
            name.removeprefix(f"{folder}/").removesuffix(suffix): Member(self, name)
            for name in self.zip.namelist()
            if name.startswith(f"{folder}/") and name.endswith(suffix)
        }


@dataclass(frozen=True)
class Member:
    """A file in an archive, as a `ReadableFile`."""

    archive: Archive
    path: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Opens the content, which is unpacked as far as it is read. Damage raises errors of `zipfile`."""
        return self.archive.zip.open(self.path)

    def read_bytes(self) -> bytes:
        """Reads the whole content and compares its checksum.

        Raises:
            InputError: The content is damaged.
        """
        try:
            return self.archive.zip.read(self.path)
        except _ZIP_ERRORS as error:
            raise InputError(
                f"A file in an archive cannot be unpacked ({_reason(error)}). The archive is damaged: get it again. "
                f"Received: {self}"
            ) from error

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.path}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or "it ends too early"
