"""Files: what reading one takes, wherever it lies, and how one appears whole or not at all."""

import errno
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, Protocol

from keras_crosscoop.errors import InputError


class ReadableFile(Protocol):
    """What a `Path` has of a file that can be read, also of one in an archive or a record: its bytes, and its name."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    def open(self, mode: str) -> BinaryIO:
        """Its content as a stream, for "rb"."""

    def read_bytes(self) -> bytes:
        """All of its content."""

    def __str__(self) -> str:
        """Where it is, for a person to find it."""


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Gives a path beside `path` to write to; it takes the name `path` when the block ends, and goes if it fails.

    If `durable`, its bytes are on the disk by then: or a power cut could leave the name without them.
    """
    partial = path.with_name(_partial_name(path))
    try:
        yield partial
        if durable:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with suppress(OSError):  # it is a folder that is none, say: what failed before tells more
            partial.unlink(missing_ok=True)


def _partial_name(path: Path) -> str:
    """The number of the process in front, as some writers go by the ending; of a long name a digest, to stay legal."""
    name = f".{os.getpid()}-{path.name}"
    if len(os.fsencode(name)) <= max_name_length(path.parent):
        return name
    return f".{os.getpid()}-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{path.suffix}"


def max_name_length(folder: Path) -> int:
    """How many bytes the name of a file may have in a folder, or in the one that it will be made in."""
    for place in (folder, *folder.absolute().parents):
        with suppress(OSError, AttributeError, ValueError):  # it is not there yet; Windows cannot be asked
            return os.pathconf(place, "PC_NAME_MAX")
    return 255


def is_case_insensitive(folder: Path) -> bool:
    """Whether names that differ in case alone are one there, as is usual on macOS and Windows."""
    for place in (folder.absolute(), *folder.absolute().parents):
        swapped = place.with_name(place.name.swapcase()) if place.name else place
        with suppress(OSError):
            if swapped.name != place.name and place.exists():
                return swapped.exists() and swapped.samefile(place)
    return False


def walk_files(folders: Iterable[Path], *, hidden: bool = False) -> Iterator[Path]:
    """All files in folders and their subfolders, links to others included. Each folder is entered once.

    Links that lead nowhere are among them, for an error to name them; pipes and devices, which may never end, are not.

    Of several ways to a folder, one without links is taken, so that a link to a folder above is no loop.

    Args:
        folders: where to begin.
        hidden: whether to take files and enter folders whose names begin with a dot.
    """
    entered: set[tuple[int, int]] = set()
    waiting, links = deque(folders), deque[Path]()
    while waiting or links:
        folder = (waiting or links).popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError:  # it is gone, or not ours to read
            continue
        for entry in listed:
            if entry.name.startswith(".") and not hidden:
                continue
            kind = _kind(entry)
            if kind == "folder":
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
            elif kind == "file":
                yield Path(entry.path)


def _kind(entry: os.DirEntry) -> str:
    """Whether it is, or links to, a "folder" or a "file", as is what leads nowhere, or "neither": a pipe, say."""
    with suppress(OSError):  # it links to itself
        if entry.is_dir():
            return "folder"
        if not entry.is_file() and Path(entry.path).exists():
            return "neither"
    return "file"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder beside `folder`, which takes that name when the block ends, and goes if it fails.

    Raises:
        InputError: `folder` is there already, or its place cannot be written.
    """
    try:
        if folder.exists():
            raise _there(folder)
        missing = [parent for parent in folder.parents if not parent.exists()]
    except OSError as error:  # it lies where nobody may look, or its name is too long
        raise _unmade(folder, error) from error
    make_folder(folder.parent)
    try:
        partial = _new_folder(folder)
        try:
            yield partial
            if folder.exists():  # by now; `rename` would replace it, were it empty
                raise _there(folder)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        with suppress(OSError):  # they hold something
            for parent in missing:
                parent.rmdir()


def _new_folder(folder: Path) -> Path:
    """A new one beside it for what becomes it, also where a process of this number was killed and left its own."""
    names = (f".{os.getpid()}-{number}-{folder.name}" for number in count())
    partial = next(path for path in map(folder.with_name, names) if not path.exists())
    try:
        partial.mkdir()
    except OSError as error:
        raise _unmade(folder, error) from error
    return partial


def _there(folder: Path) -> InputError:
    return InputError(f"The folder is there already. Remove it, or name another. Received: {folder}")


def _unmade(folder: Path, error: OSError) -> InputError:
    return InputError(f"The folder cannot be made ({error.strerror}). Name another. Received: {folder}")


def make_folder(folder: Path) -> None:
    """Makes a folder, and those that it lies in, where they are not there yet.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unmade(folder, error) from error


def require_free_space(folder: Path, size: int) -> None:
    """Asks for free bytes before a library writes that does not survive a full disk; HDF5 crashes.

    Raises:
        OSError: there are fewer.
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def remedy(error: Exception) -> str:
    """What to do about an error of writing a file, as the beginning of a sentence."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)
    return "Make room" if full else "Mend that"


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
