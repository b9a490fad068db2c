"""Files: an interface for reading, atomic writing, folders, free space and checksums."""

import errno
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from keras_crosscoop.errors import InputError, reason


class ReadableFile(Protocol):
    """The part of `Path` that readers use, so that a file can also be in an archive or a record."""

    @property
    def name(self) -> str:
        """The file's name, without its folder."""

    def open(self, mode: str) -> BinaryIO:
        """Opens the file; `mode` is "rb"."""

    def read_bytes(self) -> bytes:
        """Reads the whole file."""

    def __str__(self) -> str:
        """Returns the location of the file, for messages."""


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the same folder; the file is renamed to `path` at the end, or removed after an error.

    Args:
        path: The final path.
        durable: Whether to wait until the content is on the disk, so that a power cut cannot lose it.
    """
    partial = _partial(path)
    try:
        yield partial
        if durable:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):  # the parent may not be a folder; the earlier error is more informative
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str, subject: str) -> None:
    """Writes a text file atomically.

    Raises:
        InputError: The file cannot be written; the message begins with the subject.
    """
    try:
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="replace")  # file names need not be Unicode
    except OSError as error:
        raise InputError(f"The {subject} cannot be written ({reason(error)}). Received: {path}") from error


def _partial(path: Path) -> Path:
    """Returns a new hidden path in the same folder, with the ending of `path`, on which some writers depend."""
    return path.with_name(f".{uuid4().hex}-{path.name[-50:]}")


def max_name_length(folder: Path) -> int:
    """Returns the maximum length of a file name in a folder, in bytes. The folder need not exist."""
    for place in (folder, *folder.absolute().parents):
        with suppress(OSError, AttributeError, ValueError):  # it does not exist yet; Windows has no `pathconf`
            return os.pathconf(place, "PC_NAME_MAX")
    return 255


def is_case_insensitive(folder: Path) -> bool:
    """Returns whether a folder ignores the case of names, as on macOS and Windows. The folder need not exist."""
    for place in (folder.absolute(), *folder.absolute().parents):
        swapped = place.with_name(place.name.swapcase()) if place.name else place
        with suppress(OSError):
            if swapped.name != place.name and place.exists():
                return swapped.exists() and swapped.samefile(place)
    return False


def walk_files(folders: Iterable[Path], *, hidden: bool = False) -> Iterator[Path]:
    """Yields all files in folders and their subfolders, and follows links. Each folder is entered once.

    If several paths lead to a folder, it is entered by a path without links, if there is one. Broken links are yielded,
    too, so that an error can name them. Pipes and devices are not, because to read them may never end.

    Args:
        folders: The folders to begin with.
        hidden: Whether to include files and folders whose names begin with a dot.
    """
    entered: set[tuple[int, int]] = set()
    folders, links = deque(folders), deque[Path]()
    while folders or links:
        folder = (folders or links).popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:  # the folder is gone or unreadable
            continue
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                continue
            kind = _kind(entry)
            if kind == "folder":
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            elif kind == "file":
                yield Path(entry.path)


def _kind(entry: os.DirEntry) -> str:
    """Returns "folder", "file" (also for a broken link), or "other" for pipes and devices."""
    with suppress(OSError):  # a link to itself
        if entry.is_dir():
            return "folder"
        if not entry.is_file() and Path(entry.path).exists():
            return "other"
    return "file"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder beside `folder`; it is renamed to `folder` at the end, or removed after an error.

    Raises:
        InputError: `folder` already exists, or cannot be made.
    """
    partial, missing = _partial(folder), []
    try:
        if folder.exists():
            raise _already_there(folder)
        missing = [parent for parent in folder.parents if not parent.exists()]
        partial.mkdir(parents=True)
    except OSError as error:
        raise _not_made(folder, error) from error
    try:
        yield partial
        if folder.exists():  # made in the meantime; `rename` would replace an empty folder
            raise _already_there(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # a folder that is not empty
            for parent in missing:
                parent.rmdir()


def _already_there(folder: Path) -> InputError:
    return InputError(f"The folder already exists. Remove it, or name another. Received: {folder}")


def _not_made(folder: Path, error: OSError) -> InputError:
    return InputError(f"The folder cannot be made ({error.strerror}). Name another. Received: {folder}")


def check_new_file(path: Path, *suffixes: str, force: bool = False) -> None:
    """Checks the path of a new file before its content is computed.

    Raises:
        InputError: The path has none of the suffixes, its folder is missing, or it exists (without `force`).
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"The name of the file must end in {suffixes[0]}. Received: {path}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"The folder of the file does not exist. Make it, or name another. Received: {path}")
    if path.exists() and not force:
        raise InputError(f"The file already exists. Overwrite it with --force. Received: {path}")


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents, unless they exist.

    Raises:
        InputError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_made(folder, error) from error


def require_free_space(folder: Path, size: int) -> None:
    """Checks the free space before writing with a library that crashes on a full disk, such as HDF5.

    Raises:
        OSError: Fewer than `size` bytes are free.
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def remedy(error: Exception) -> str:
    """Returns the remedy for a writing error, as the beginning of a sentence."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
    return "Make room" if full else "Fix the cause"


def keras_home() -> Path:
    """Returns the folder where Keras keeps its downloads, by the rule of `keras.utils.get_file`."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser()
    home = Path.home()
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


def file_digest(path: Path, algorithm: str) -> str:
    """Returns the checksum of a file in hexadecimal digits, by an algorithm of `hashlib`."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
