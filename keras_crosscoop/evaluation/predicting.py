"""Predictions on image and video files: decoded ahead and written behind in threads, while the network computes."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import repeat, takewhile
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation.pipeline import ahead, batches, behind
from keras_crosscoop.evaluation.predictor import Prediction, Predictor
from keras_crosscoop.evaluation.sources import IDS, OVERLAY, PROBABILITIES, VIDEO, Source, ending
from keras_crosscoop.images import video
from keras_crosscoop.images.io import RGB, read_image, write_label
from keras_crosscoop.images.overlays import add_legend, blend, draw_overlay, save
from keras_crosscoop.system.files import atomic_write, make_folder

THREADS = 4  # that read, and as many that write; of a video, whose frames come one after another, one

T = TypeVar("T")


class Picture(NamedTuple):
    """An image or a frame, read."""

    path: Path  # of its file
    target: Path
    pixels: np.ndarray  # RGB, uint8 (H, W, 3)


Write = Callable[[Picture, Prediction], None]


@dataclass(frozen=True)
class Predicting:
    """Writes predictions on files: palette PNGs of class ids, and what else is wanted.

    Args:
        predictor: gives them; probabilities are written if it gives any.
        classes: the name of each class id.
        palette: the colour of each class id.
        overlay: whether to draw each image under its classes' colours with a legend; of a video, as a video.
        batch_size: how many images of one size, one after another, go through the network together.
    """

    predictor: Predictor
    classes: Sequence[str]
    palette: Sequence[RGB]
    overlay: bool = True
    batch_size: int = 1

    def __call__(self, sources: Iterable[Source]) -> Iterator[InputError | None]:
        """Predicts on images, then on videos, whatever becomes of the others.

        Yields:
            For each image and each frame None when it is written, or why it could not be; a video ends with that.

        Raises:
            OSError: the disk is full.
        """
        sources = list(sources)
        reads = (partial(_read, source) for source in sources if not source.is_video)
        yield from self._pipelined(reads, self._write_image, THREADS)
        for source in sources:
            if source.is_video:
                yield from self._film(source)

    def _film(self, source: Source) -> Iterator[InputError | None]:
        frames = (
            Picture(source.path, source.target / f"{number:06}", pixels)
            for number, pixels in enumerate(video.read_frames(source.path), 1)
        )
        reads = repeat(partial(next, frames, None))
        new, written_frames = not source.target.exists(), 0
        try:
            fps = video.about(source.path).fps
            make_folder(source.target)
            with video.movie(ending(source.target, VIDEO), fps) if self.overlay else nullcontext() as append:
                for error in self._pipelined(reads, partial(self._write_frame, append), threads=1):
                    if error:
                        raise error
                    written_frames += 1
                    yield None
            _remove_frames(source.target, after=written_frames)
        except InputError as error:
            yield error
        finally:
            if new:
                with suppress(OSError):  # it holds frames
                    source.target.rmdir()

    def _pipelined(
        self, reads: Iterable[Callable[[], Picture | None]], write: Write, threads: int
    ) -> Iterator[InputError | None]:
        """Reads until None comes, predicts and writes."""
        pending = threads + self.batch_size

        def finish(picture: Picture | InputError, prediction: Prediction | InputError) -> InputError | None:
            if isinstance(prediction, InputError):
                return prediction
            return _attempt(partial(write, picture, prediction), picture.path)

        with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as writers:
            read = ahead(readers, (partial(_attempt, call) for call in reads), pending)
            pictures = takewhile(lambda picture: picture is not None, read)
            finishes = (
                partial(finish, picture, prediction)
                for batch in batches(pictures, self.batch_size, alike=_shape)
                for picture, prediction in zip(batch, self._predict(batch), strict=True)
            )
            yield from behind(writers, finishes, pending)

    def _predict(self, batch: list[Picture] | list[InputError]) -> list[Prediction | InputError]:
        if isinstance(batch[0], InputError):
            return batch
        if self.predictor.takes_together(*batch[0].pixels.shape[:2]):
            with suppress(
                tf.errors.ResourceExhaustedError, InputError
            ):  # alone they may do, or it is told what is wrong
                return self.predictor.batch(np.stack([picture.pixels for picture in batch]))
        return [_attempt(partial(self._predict_alone, picture), picture.path) for picture in batch]

    def _predict_alone(self, picture: Picture) -> Prediction:
        try:
            return self.predictor(picture.pixels)
        except InputError as error:
            raise InputError(f"{error}, {picture.path}") from error

    def _write_image(self, picture: Picture, prediction: Prediction) -> None:
        self._write_classes(picture, prediction)
        if self.overlay:
            drawn = draw_overlay(picture.pixels, prediction.ids, self.classes, self.palette)
            save(drawn, ending(picture.target, OVERLAY))

    def _write_frame(self, append: Callable[[np.ndarray], None] | None, frame: Picture, prediction: Prediction) -> None:
        self._write_classes(frame, prediction)
        if append:  # of one height all along, and so of one legend
            coloured = blend(frame.pixels, prediction.ids, self.palette)
            append(np.asarray(add_legend(coloured, range(len(self.classes)), self.classes, self.palette)))

    def _write_classes(self, picture: Picture, prediction: Prediction) -> None:
        write_label(ending(picture.target, IDS), prediction.ids, self.palette)
        if prediction.probabilities is not None:
            write_probabilities(ending(picture.target, PROBABILITIES), prediction.probabilities, self.classes)


def write_probabilities(path: Path, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """Writes `probabilities` `(H, W, C)` and the names `classes` `(C,)` as an `.npz` file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(path) as partial_path:
            np.savez(partial_path, probabilities=probabilities, classes=np.array(classes))
    except OSError as error:
        raise InputError(
            f"The probabilities cannot be written ({error.strerror or error}). Received: {path}"
        ) from error


def _remove_frames(folder: Path, *, after: int) -> None:
    """Removes results of a longer video that was there before: they are none of this one's."""
    for path in folder.iterdir():
        if path.suffix in (IDS, PROBABILITIES) and re.fullmatch(r"\d{6,}", path.stem) and int(path.stem) > after:
            path.unlink()


def _read(source: Source) -> Picture:
    return Picture(source.path, source.target, read_image(source.path))


def _shape(picture: Picture | InputError) -> tuple[int, ...] | None:
    return None if isinstance(picture, InputError) else picture.pixels.shape


def _attempt(call: Callable[[], T], path: Path | None = None) -> T | InputError:
    """What the call gives, or why it fails: for an image of this `path`, also for want of memory."""
    try:
        return call()
    except MemoryError:
        if path is None:
            raise
        return InputError(f"The memory does not hold what is made of the image. Cut or shrink it. Received: {path}")
    except InputError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENOSPC:  # the others' results would not fit either
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(error).rpartition("Received: ")[2]) from error
        return error
