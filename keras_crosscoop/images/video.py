"""Reading and writing of videos with imageio and ffmpeg, from the extra `video`."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write

# The header gives the duration of the longest stream. Sound may be longer than the pictures by this share.
_LONGER_SOUND = 0.05


class VideoHeader(NamedTuple):
    """Frames per second, and the number of frames, computed from the duration. Truncated files have fewer frames."""

    fps: float
    frames: int


def read_header(path: Path) -> VideoHeader:
    """Reads the header of a video.

    Raises:
        InputError: The video cannot be read, or the extra is missing.
    """
    with _open(path) as reader:
        header = reader.get_meta_data()
    return VideoHeader(header["fps"], round(header["duration"] * header["fps"]))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields each frame, RGB, uint8 `(H, W, 3)`, upright and at a constant rate.

    Raises:
        InputError: The video cannot be read, or many frames are missing, which ffmpeg does not report.
    """
    expected, count = read_header(path).frames, 0
    with _open(path) as reader:
        for frame in reader:
            count += 1
            yield np.asarray(frame)
    if expected - count > max(2, _LONGER_SOUND * expected):
        raise InputError(f"The video ends after {count} of {expected} frames. Is the file complete? Received: {path}")


@contextmanager
def open_writer(path: Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Opens an MP4 file (H.264) and yields a function that appends a frame. An error leaves no partial file.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with (
            atomic_write(path) as partial,
            closing(
                import_imageio().get_writer(partial, format="FFMPEG", mode="I", fps=fps, macro_block_size=1)
            ) as writer,
        ):

            def append(frame: np.ndarray) -> None:
                height, width, _ = frame.shape  # H.264 needs even sizes
                writer.append_data(np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge"))

            yield append
    except OSError as error:
        reason = error.strerror or "ffmpeg failed"
        raise InputError(f"The video cannot be written ({reason}). Check free space. Received: {path}") from error


def import_imageio() -> ModuleType:
    """Imports `imageio.v2`.

    Raises:
        InputError: The extra `video` is not installed.
    """
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401 - without it, imageio fails later and with a long message
    except ModuleNotFoundError as error:
        raise InputError(
            'Videos need ffmpeg, which is not installed: pip install "keras-crosscoop[video]". '
            f"Received: no module {error.name}"
        ) from error
    return imageio.v2


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with closing(import_imageio().get_reader(path, format="FFMPEG")) as reader:
            yield reader
    except InputError:
        raise
    except Exception as error:  # of any type, with pages of ffmpeg's output
        raise InputError(f"The video cannot be read. Replace or remove it. Received: {path}") from error
