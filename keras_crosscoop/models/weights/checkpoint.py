"""TensorFlow checkpoints, in folders or in archives such as DeepLab's."""

import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.weights.transfer import Source, unreadable

_INDEX = ".index"
_DATA = ".data-"

_LARGEST_ARCHIVE = 4 << 30  # bytes when unpacked; ten times the largest one of DeepLab's model zoo
_LARGEST_HEADER = 1 << 20  # bytes


class NoRoomError(InputError):
    """The disk has no room to unpack an archive; the archive itself may be intact."""


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Source]:
    """Opens a checkpoint, given an archive (`.tar.gz`) or folder that holds it, or its prefix (`model.ckpt`).

    Raises:
        InputError: There is no checkpoint, or there are several; it cannot be read, or is unsafe to unpack.
        NoRoomError: The archive cannot be unpacked here.
    """
    packed = path.is_file() and path.suffix != _INDEX and _DATA not in path.name
    with ExitStack() as stack:
        place = _unpacked(path, stack) if packed else path
        yield _source(_prefix(place, path), path)


def _prefix(place: Path, path: Path) -> Path:
    """Returns the prefix of the checkpoint in the folder `place`, or of the one with this path; errors name `path`."""
    if not place.is_dir():
        prefix = place.with_name(place.name.partition(_DATA)[0].removesuffix(_INDEX))
        if not prefix.with_name(prefix.name + _INDEX).is_file():
            raise InputError(
                f"There is no such checkpoint. Give the archive, the folder, or the path without {_INDEX!r}. "
                f"Received: {path}"
            )
        return prefix
    indices = sorted(place.rglob(f"[!.]*{_INDEX}"))  # not macOS's `._model.ckpt.index`
    if len(indices) != 1:
        names = f" ({', '.join(index.name for index in indices[:5])})" if indices else ""
        raise InputError(
            f"A folder or archive must hold one checkpoint, a file {'*' + _INDEX!r} with its data, but this one has "
            f"{len(indices)}{names}. Give another one, or a checkpoint's path without {_INDEX!r}. Received: {path}"
        )
    return indices[0].with_suffix("")


def _source(prefix: Path, path: Path) -> Source:
    import tensorflow as tf  # reads this format on every backend; nothing else does

    def attempt(call: Callable[[str], Any], argument: str) -> Any:
        try:
            return call(argument)
        except (tf.errors.OpError, LookupError, RuntimeError, TypeError, ValueError) as error:  # of damaged files
            raise unreadable(f"The checkpoint {prefix.name} is damaged: fetch it again", path, error) from error

    reader = attempt(tf.train.load_checkpoint, str(prefix))
    shapes = {name: tuple(shape) for name, shape in sorted(reader.get_variable_to_shape_map().items())}
    return Source(path, shapes, lambda name: np.asarray(attempt(reader.get_tensor, name)))


class _BoundedMember(tarfile.TarInfo):
    """A member of an archive; `tarfile` reads members that are not files, such as long names, into memory at once."""

    @classmethod
    def frombuf(cls, *arguments: Any) -> "_BoundedMember":
        member = super().frombuf(*arguments)
        if not member.isreg() and not 0 <= member.size <= _LARGEST_HEADER:
            raise tarfile.ReadError("its headers are too large")
        return member


def _unpacked(archive: Path, stack: ExitStack) -> Path:
    """Unpacks the checkpoints of an archive into a temporary folder; refuses members with a path outside of it."""
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscoop-")))
        with tarfile.open(archive, tarinfo=_BoundedMember) as members:
            for member in members:
                if not 0 <= member.size <= _LARGEST_ARCHIVE - member.offset_data:
                    raise tarfile.ReadError("it is larger than any checkpoint")
                name = PureWindowsPath(member.name)  # understands both separators and all absolute paths
                if name.anchor or ".." in name.parts:
                    raise InputError(
                        f"The archive is unsafe: {member.name!r} would be written outside of the folder. "
                        f"Fetch it from where it was published. Received: {archive}"
                    )
                if member.isfile() and (name.suffix == _INDEX or _DATA in name.name):
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with members.extractfile(member) as inside, target.open("wb") as outside:
                        shutil.copyfileobj(inside, outside)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename != str(archive):  # from the disk
            place = tempfile.tempdir or "any folder for temporary files"
            raise NoRoomError(
                f"The archive cannot be unpacked in {place} ({error}). Make room there, or name another place with "
                f"TMPDIR. Received: {archive}"
            ) from error
        subject = (
            'The archive is damaged or incomplete. It must be a ".tar.gz" with a TensorFlow checkpoint. Fetch it again'
        )
        raise unreadable(subject, archive, error) from error
    return folder
