"""TensorFlow checkpoints, as they lie on a disk or in the archives that DeepLab's models were released in."""

import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.weights.transfer import Source, unreadable

_INDEX = ".index"
_DATA = ".data-"


class NoRoomError(InputError):
    """An archive cannot be unpacked here, which says nothing about the archive."""


@contextmanager
def opened_checkpoint(path: Path) -> Iterator[Source]:
    """Opens a checkpoint: an archive (`.tar.gz`) or folder that holds one, or its prefix (`model.ckpt`).

    Raises:
        InputError: there is none, or several to choose from; it cannot be read, or is unsafe to unpack.
        NoRoomError: there is no place to unpack the archive in.
    """
    packed = path.is_file() and path.suffix != _INDEX and _DATA not in path.name
    with ExitStack() as stack:
        place = _unpacked(path, stack) if packed else path
        yield _source(_prefix(place, path), path)


def _prefix(place: Path, path: Path) -> Path:
    """The prefix of the checkpoint at that place; errors name `path`."""
    if not place.is_dir():
        prefix = place.with_name(place.name.partition(_DATA)[0].removesuffix(_INDEX))
        if not prefix.with_name(prefix.name + _INDEX).is_file():
            raise InputError(
                f"There is no such checkpoint. Give the archive, the folder, or the path without {_INDEX!r}. "
                f"Received: {path}"
            )
        return prefix
    found = sorted(place.rglob(f"[!.]*{_INDEX}"))  # macOS leaves `._model.ckpt.index` beside the other
    if len(found) != 1:
        names = f" ({', '.join(index.name for index in found[:5])})" if found else ""
        raise InputError(
            f"A folder or archive must hold one checkpoint, a file {'*' + _INDEX!r} with its data, but this has "
            f"{len(found)}{names}. Give another, or a checkpoint's path without {_INDEX!r}. Received: {path}"
        )
    return found[0].with_suffix("")


def _source(prefix: Path, path: Path) -> Source:
    import tensorflow as tf  # where the format lives; no other backend needs it for anything else

    def tried(call: Callable[[str], Any], argument: str) -> Any:
        try:
            return call(argument)
        except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:  # IndexError where a file is short
            raise unreadable(f"The checkpoint {prefix.name} is damaged: fetch it again, whole", path, error) from error

    reader = tried(tf.train.load_checkpoint, str(prefix))
    shapes = {name: tuple(shape) for name, shape in sorted(reader.get_variable_to_shape_map().items())}
    return Source(path, shapes, lambda name: tried(reader.get_tensor, name))


def _unpacked(archive: Path, stack: ExitStack) -> Path:
    """A folder of the stack's with the archive's checkpoints and nothing else; what could land elsewhere is refused."""
    try:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscoop-")))
        with tarfile.open(archive) as members:
            for member in members:
                name = PureWindowsPath(member.name)  # which knows both kinds of separators and of absolute paths
                if name.anchor or ".." in name.parts:
                    raise InputError(
                        f"The archive is unsafe: {member.name!r} would be written outside of the folder that it is "
                        f"unpacked in. Fetch it from where it was published. Received: {archive}"
                    )
                if member.isfile() and (name.suffix == _INDEX or _DATA in name.name):
                    target = folder / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with members.extractfile(member) as packed, target.open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename != str(archive):  # not gzip's
            place = tempfile.tempdir or "any folder for temporary files"
            raise NoRoomError(
                f"The archive cannot be unpacked in {place} ({error}). Make room there, or name another place with "
                f"TMPDIR. Received: {archive}"
            ) from error
        subject = (
            'The archive is damaged, cut short or none: a ".tar.gz" that holds a TensorFlow checkpoint is wanted. '
            "Fetch it again, whole"
        )
        raise unreadable(subject, archive, error) from error
    return folder
