"""Videos, frame by frame, through imageio and ffmpeg, which the extra `video` installs."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write

SOUND_ALONE = 0.05  # of a video's duration, which is that of its longest stream: sound may go on so much longer


class About(NamedTuple):
    """What a video's header tells."""

    fps: float
    frames: int  # by its duration: a damaged file has fewer


def about(path: Path) -> About:
    """Reads a video's header.

    Raises:
        InputError: it cannot be read, or the extra is missing.
    """
    with _opened(path) as reader:
        header = reader.get_meta_data()
    return About(header["fps"], round(header["duration"] * header["fps"]))


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Each frame, RGB, uint8 `(H, W, 3)`, upright and at a constant rate.

    Raises:
        InputError: as `about`, one of them cannot be read, or many fewer come than the header tells: ffmpeg does not
            say that a file breaks off.
    """
    expected, count = about(path).frames, 0
    with _opened(path) as reader:
        for frame in reader:
            count += 1
            yield np.asarray(frame)
    if expected - count > max(2, SOUND_ALONE * expected):
        raise InputError(f"The video ends after {count} of {expected} frames. Is the file complete? Received: {path}")


@contextmanager
def movie(path: Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Gives what appends a frame to an MP4 file (H.264), which is there whole when the block ends, or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with (
            atomic_write(path) as partial,
            closing(imageio().get_writer(partial, format="FFMPEG", mode="I", fps=fps, macro_block_size=1)) as writer,
        ):

            def append(frame: np.ndarray) -> None:
                height, width, _ = frame.shape  # H.264 asks for even ones
                writer.append_data(np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge"))

            yield append
    except OSError as error:
        reason = error.strerror or "ffmpeg failed"
        raise InputError(f"The video cannot be written ({reason}). Is there room? Received: {path}") from error


def imageio() -> ModuleType:
    """The library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import imageio.v2
        import imageio_ffmpeg  # noqa: F401 - without which imageio fails later, and not in one line
    except ModuleNotFoundError as error:
        raise InputError(
            'Videos are read by ffmpeg, which is not installed: pip install "keras-crosscoop[video]". '
            f"Received: no module {error.name}"
        ) from error
    return imageio.v2


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with closing(imageio().get_reader(path, format="FFMPEG")) as reader:
            yield reader
    except InputError:
        raise
    except Exception as error:  # of many kinds, with many lines about ffmpeg
        raise InputError(f"The video cannot be read. Replace or remove it. Received: {path}") from error
