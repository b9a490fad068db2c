"""Zip files whose members are read where they are: nothing is extracted."""

import io
import weakref
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from keras_crosscoop.errors import InputError

# What `zipfile` raises on damage; `RuntimeError` is of a member that is encrypted, or packed as it cannot unpack.
_DAMAGE = (BadZipFile, OSError, EOFError, RuntimeError, ValueError, zlib.error)


class Archive:
    """A zip file, opened: `zipfile` lets any number of threads read its members. It is closed when nobody holds it.

    Raises:
        InputError: it cannot be opened, or its list of members, which stands at its end, is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with ExitStack() as stack:
                file = stack.enter_context(path.open("rb"))
                self.zip = ZipFile(file)
                stack.pop_all()
        except _DAMAGE as error:
            raise InputError(
                f"The archive cannot be opened ({_reason(error)}). Is it fully downloaded? Get it again. "
                f"Received: {path}"
            ) from error
        weakref.finalize(self, file.close)  # `ZipFile.__del__` may come too late, after the warning that it is open

    def __reduce__(self) -> tuple:
        return Archive, (self.path,)  # a copy opens the file for itself

    def files(self, folder: str, suffix: str) -> dict[str, "Member"]:
        """The members below `folder` whose names end in `suffix`, by the part between the two."""
        return {
            name.removeprefix(f"{folder}/").removesuffix(suffix): Member(self, name)
            for name in self.zip.namelist()
            if name.startswith(f"{folder}/") and name.endswith(suffix)
        }


@dataclass(frozen=True)
class Member:
    """A file in an archive, as `keras_crosscoop.system.files.Stored` wants it.

    Attributes:
        archive: where it is.
        path: its path in there.
    """

    archive: Archive
    path: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def open(self, mode: str = "rb") -> "_Stream":
        """Its content, unpacked as far as it is read.

        Raises:
            InputError: it is damaged as far as that; reading raises the same.
        """
        with self._unpacked():
            return _Stream(self, self.archive.zip.open(self.path))

    def read_bytes(self) -> bytes:
        """All of its content.

        Raises:
            InputError: it is damaged: its checksum tells.
        """
        with self._unpacked():
            return self.archive.zip.read(self.path)

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.path}"

    @contextmanager
    def _unpacked(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise InputError(
                f"A file in an archive cannot be unpacked ({_reason(error)}). The archive is damaged: get it again. "
                f"Received: {self}"
            ) from error


class _Stream(io.RawIOBase):
    """`ZipFile.open`, with damage told as `Member` tells it."""

    def __init__(self, member: Member, content: IO[bytes]) -> None:
        self._member = member
        self._content = content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._member._unpacked():
            return self._content.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:
        with self._member._unpacked():
            return self._content.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._content.close()
        super().close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or "it ends too early"
