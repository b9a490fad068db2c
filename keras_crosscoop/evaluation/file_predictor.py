"""Predictions for image and video files. Threads decode files and write results while the network computes."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat, takewhile
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.evaluation.pipeline import batched, pipelined
from keras_crosscoop.evaluation.predictor import Prediction, Predictor
from keras_crosscoop.evaluation.sources import IDS, OVERLAY, PROBABILITIES, VIDEO, Source, add_ending
from keras_crosscoop.images import video
from keras_crosscoop.images.io import read_image, write_label
from keras_crosscoop.images.overlays import add_legend, blend, draw_overlay, save
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DEFAULT_READING, ImageReading
from keras_crosscoop.models.memory import LARGE
from keras_crosscoop.system.files import atomic_write, make_folder

THREADS = 4  # for reading images, and as many for writing; videos need one thread each, to keep their frames in order

T = TypeVar("T")


class Picture(NamedTuple):
    """An image, or a frame of a video; each frame has its own target."""

    source: Source
    pixels: np.ndarray  # RGB, uint8 (H, W, 3)


@dataclass(frozen=True)
class FilePredictor:
    """Predicts for files and writes the results, whose kinds `Source.endings` lists."""

    predictor: Predictor
    classes: Sequence[str]
    palette: Sequence[RGB]
    batch_size: int = 1  # the largest number of successive images of one size in a batch
    reading: ImageReading = DEFAULT_READING  # how the values and channels of files become RGB, as in training

    def __call__(self, sources: Iterable[Source]) -> Iterator[InputError | None]:
        """Predicts for images, then for videos. An error in one file does not stop the others.

        Yields:
            For each image and each frame, None after it was written, or the error. A video ends at its first error.

        Raises:
            OSError: The disk is full.
        """
        sources = list(sources)
        reads = (partial(self._read, source) for source in sources if not source.is_video)
        yield from self._predict_and_write(reads, self._write_image, THREADS)
        for source in sources:
            if source.is_video:
                yield from self._predict_video(source)

    def _read(self, source: Source) -> Picture:
        return Picture(source, read_image(source.path, reading=self.reading))

    def _predict_video(self, source: Source) -> Iterator[InputError | None]:
        frames = (
            Picture(replace(source, target=source.target / f"{number:06}"), pixels)
            for number, pixels in enumerate(video.read_frames(source.path), 1)
        )
        reads = repeat(partial(next, frames, None))
        is_new, written = not source.target.exists(), 0
        try:
            fps = video.read_header(source.path).fps
            make_folder(source.target)
            writer = (
                video.open_writer(add_ending(source.target, VIDEO), fps) if OVERLAY in source.endings else nullcontext()
            )
            with writer as append:
                for error in self._predict_and_write(reads, partial(self._write_frame, append), threads=1):
                    if error:
                        raise error
                    written += 1
                    yield None
            _remove_frames(source.target, after=written)
        except InputError as error:
            yield error
        finally:
            if is_new:
                with suppress(OSError):  # It contains frames.
                    source.target.rmdir()

    def _predict_and_write(
        self,
        reads: Iterable[Callable[[], Picture | None]],
        write: Callable[[Picture, Prediction], None],
        threads: int,
    ) -> Iterator[InputError | None]:
        """Predicts and writes what `reads` return, until a read returns None."""
        pending = threads + self.batch_size

        def finish(picture: Picture | InputError, prediction: Prediction | InputError) -> InputError | None:
            if isinstance(prediction, InputError):
                return prediction
            return _attempt(partial(write, picture, prediction), picture.source.path)

        with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(threads) as writers:
            results = pipelined(readers, (partial(_attempt, read) for read in reads), pending, prefetch=True)
            pictures = takewhile(lambda picture: picture is not None, results)
            finishes = (
                partial(finish, picture, prediction)
                for batch in batched(pictures, self.batch_size, key=_shape)
                for picture, prediction in zip(batch, self._predict(batch), strict=True)
            )
            yield from pipelined(writers, finishes, pending)

    def _predict(self, batch: list[Picture] | list[InputError]) -> list[Prediction | InputError]:
        if isinstance(batch[0], InputError):
            return batch
        height, width, _ = batch[0].pixels.shape
        if len(batch) > 1 and self.predictor.can_batch and height * width <= LARGE:
            with suppress(tf.errors.ResourceExhaustedError, InputError):  # Below, single images may succeed.
                return self.predictor.batch(np.stack([picture.pixels for picture in batch]))
        return [_attempt(partial(self._predict_alone, picture), picture.source.path) for picture in batch]

    def _predict_alone(self, picture: Picture) -> Prediction:
        try:
            return self.predictor(picture.pixels)
        except InputError as error:
            raise InputError(f"{error}, {picture.source.path}") from error

    def _write_image(self, picture: Picture, prediction: Prediction) -> None:
        self._write_prediction(picture.source, prediction)
        if OVERLAY in picture.source.endings:
            drawn = draw_overlay(picture.pixels, prediction.ids, self.classes, self.palette)
            save(drawn, add_ending(picture.source.target, OVERLAY))

    def _write_frame(self, append: Callable[[np.ndarray], None] | None, frame: Picture, prediction: Prediction) -> None:
        self._write_prediction(frame.source, prediction)
        if append:  # All frames show the complete legend, so that they have the same height.
            blended = blend(frame.pixels, prediction.ids, self.palette)
            append(np.asarray(add_legend(blended, range(len(self.classes)), self.classes, self.palette, clear=True)))

    def _write_prediction(self, source: Source, prediction: Prediction) -> None:
        write_label(add_ending(source.target, IDS), prediction.ids, self.palette)
        if prediction.probabilities is not None:
            path = add_ending(source.target, PROBABILITIES)
            try:
                with atomic_write(path) as partial_path:
                    np.savez(partial_path, probabilities=prediction.probabilities, classes=np.array(self.classes))
            except OSError as error:
                raise InputError(f"The probabilities cannot be written ({reason(error)}). Received: {path}") from error


def _remove_frames(folder: Path, *, after: int) -> None:
    """Removes later frames of a longer video, which was written to the same folder earlier."""
    for path in folder.iterdir():
        if path.suffix in (IDS, PROBABILITIES) and re.fullmatch(r"\d{6,}", path.stem) and int(path.stem) > after:
            path.unlink()


def _shape(picture: Picture | InputError) -> tuple[int, ...] | None:
    return None if isinstance(picture, InputError) else picture.pixels.shape


def _attempt(call: Callable[[], T], path: Path | None = None) -> T | InputError:
    """Returns the result or the `InputError` of a call; with a `path`, also an `InputError` for lack of memory."""
    try:
        return call()
    except MemoryError:
        if path is None:
            raise
        return InputError(f"The image's results do not fit into memory. Crop or shrink it. Received: {path}")
    except InputError as error:
        if getattr(error.__cause__, "errno", None) == errno.ENOSPC:  # The other results would not fit either.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(error).rpartition("Received: ")[2]) from error
        return error
