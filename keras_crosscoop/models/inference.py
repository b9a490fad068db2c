"""Inference on whole images of any size: in windows, at several scales, mirrored; averaged as class probabilities.

An image passes in strips: the rows that no window below changes any more. What is kept of it at a time is bounded by
the height of a window, not of the image.

Reference: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, section 4.1 (scales and
mirror images at test time).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import ImageLike, as_rgb
from keras_crosscoop.models.memory import LARGE, fits, needed
from keras_crosscoop.models.segmenter import Segmenter

WINDOW = 513  # pixels of the sides of windows, where none are asked for and the memory does not hold the whole image
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # of the DeepLab papers

_log = logging.getLogger(__name__)

T = TypeVar("T", tf.Tensor, np.ndarray)

Between = Callable[[], object]  # is called before each look through a window, and may raise to end it all
Strips = Iterator[tf.Tensor]  # of an image from its top to its bottom, each (S, h, W, C), S networks


class Inference:
    """How a model looks at an image; calling it gives class probabilities.

    Args:
        model: the networks.
        window: height and width of what the networks see at once, pixels of the scaled image. A larger window than
            the image is as large as the image. None for all of the image, or where the memory does not hold what the
            networks make of it, windows of 513 pixels: that is logged.
        overlap: of neighbouring windows, the least share of their width, in [0, 1). Probabilities fade from one to the
            next.
        scales: factors of the image's size; the probabilities at all of them are averaged.
        flip: whether to average with the probabilities of the mirrored image.

    Raises:
        InputError: a window, overlap or scale cannot be.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        window: int | None = None,
        overlap: float = 1 / 3,
        scales: Iterable[float] = (1.0,),
        flip: bool = False,
    ) -> None:
        self.model = model
        self.window = window
        self.overlap = overlap
        self.scales = tuple(scales)
        self.flip = flip
        self._told = False  # of images that the memory does not hold
        self._known_needs: dict[tuple[int, int], float] = {}  # bytes, of sizes asked for
        if window is not None and window < 1:
            raise InputError(f"A window is at least 1 pixel, or None for whole images. Received: {window=}")
        if not 0 <= overlap < 1:
            raise InputError(f"Windows overlap by at least 0 and less than 1 of their width. Received: {overlap=}")
        if not self.scales or not all(0.01 <= scale <= 10 for scale in self.scales):
            raise InputError(f"Scales are factors from 0.01 to 10, such as 0.5,1,1.5. Received: scales={self.scales}")

    def __call__(self, image: ImageLike) -> dict[str, np.ndarray]:
        """Class probabilities of every output of the model, float32 `(H, W, C)` at the image's own size.

        Args:
            image: a file's path, a Pillow image, or an array `(H, W, 3)` of RGB in [0, 255].

        Raises:
            InputError: the image cannot be read, or a window is too large for the memory.
        """
        whole = np.concatenate([strip.numpy() for strip in self.strips(as_rgb(image))], axis=1)
        return dict(zip(self.model.output_choices, with_ensemble(whole), strict=True))

    def classes(self, image: np.ndarray, between: Between = lambda: None) -> dict[str, np.ndarray]:
        """The likeliest class of every output of the model, uint8 `(H, W)`; probabilities are held by strips alone.

        Args:
            image: RGB in [0, 255], `(H, W, 3)`.
            between: is called before each look through a window.

        Raises:
            InputError: a window is too large for the memory.
        """
        strips = (with_ensemble(tf.unstack(strip)) for strip in self.strips(image, between))
        ids = [
            [tf.argmax(each, axis=-1, output_type="int32").numpy().astype("uint8") for each in row] for row in strips
        ]
        return dict(zip(self.model.output_choices, map(np.concatenate, zip(*ids, strict=True)), strict=True))

    def is_whole(self, height: int, width: int) -> bool:
        """Whether all of an image of this size is seen at once, at the largest scale."""
        height, width = (round(max(self.scales) * side) for side in (height, width))
        if self.window is not None:
            return max(height, width) <= self.window
        return height * width <= LARGE or fits(self._needed(height, width))

    def strips(self, image: np.ndarray, between: Between = lambda: None) -> Strips:
        """Class probabilities of each network, strip by strip, float32 `(S, h, W, C)`; the heights add up to H.

        Args:
            image: RGB in [0, 255], `(H, W, 3)`.
            between: is called before each look through a window.

        Raises:
            InputError: a window is too large for the memory, or probabilities are no numbers.
        """
        for strip in self.unchecked_strips(image, between):
            check_numbers(strip)
            yield strip

    def unchecked_strips(self, image: np.ndarray, between: Between = lambda: None) -> Strips:
        """As `strips`, but for the check that probabilities are numbers."""
        window = self.window
        if window is None and not self.is_whole(*image.shape[:2]):
            window = self._fall_back(image)
        if window is not None and window**2 > LARGE:
            height, width = (min(window, round(max(self.scales) * side)) for side in image.shape[:2])
            if height * width > LARGE and not fits(self._needed(height, width)):
                raise self._too_large(image)
        begun = False
        try:
            for strip in self._averaged(image, window, between):
                begun = True
                yield strip
        except tf.errors.ResourceExhaustedError as error:  # by a GPU
            if begun or window is not None or max(image.shape[:2]) * max(self.scales) <= WINDOW:
                raise self._too_large(image) from error
        else:
            return
        try:
            yield from self._averaged(image, self._fall_back(image), between)
        except tf.errors.ResourceExhaustedError as error:
            raise self._too_large(image) from error

    def _fall_back(self, image: np.ndarray) -> int:
        height, width, _ = image.shape
        if not self._told:
            self._told = True
            _log.info(
                "The memory does not hold what the networks make of %dx%d pixels at once: they look at such images "
                "through windows of %d. Choose others by --window, or evaluation.window.",
                *(width, height, WINDOW),
            )
        return WINDOW

    def _averaged(self, image: np.ndarray, window: int | None, between: Between) -> Strips:
        return _average([self._at_scale(image, scale, window, between) for scale in self.scales])

    def _at_scale(self, image: np.ndarray, scale: float, window: int | None, between: Between) -> Strips:
        size = image.shape[:2]
        scaled_size = tuple(max(1, round(scale * length)) for length in size)
        if scaled_size == size:
            return self._in_windows(tf.constant(image), window, between)
        scaled = tf.image.resize(image, scaled_size)  # bilinear, without smoothing: as training images are scaled
        return _resized(self._in_windows(scaled, window, between), scaled_size, size)

    def _in_windows(self, image: tf.Tensor, window: int | None, between: Between) -> Strips:
        rows, columns = (_windows(length, window or length, self.overlap) for length in image.shape[:2])

        def view(row: _Window, column: _Window) -> tf.Tensor:
            between()
            return self._view(image[row.start : row.stop, column.start : column.stop])

        def across(row: _Window) -> tf.Tensor:
            return tf.concat(list(_blended((view(row, column) for column in columns), columns, axis=2)), axis=2)

        return _blended(map(across, rows), rows, axis=1)

    def _view(self, image: tf.Tensor) -> tf.Tensor:
        """Class probabilities `(S, H, W, C)` of what the networks see at once."""
        probabilities = self._network(image)
        if not self.flip:
            return probabilities
        return (probabilities + self._network(image[:, ::-1])[:, :, ::-1]) / 2

    @cached_property
    def _network(self) -> tf.types.experimental.PolymorphicFunction:
        return tf.function(self._probabilities, reduce_retracing=True)

    def _probabilities(self, image: tf.Tensor) -> tf.Tensor:
        logits = self.model(tf.cast(image, "float32")[None], training=False)
        return tf.stack([tf.nn.softmax(logits[side][0]) for side in self.model.sides])

    def _needed(self, height: int, width: int) -> float:
        if (height, width) not in self._known_needs:
            self._known_needs[height, width] = needed(self._probabilities, (height, width, 3))
        return self._known_needs[height, width]

    def _too_large(self, image: np.ndarray) -> InputError:
        height, width, _ = image.shape
        return InputError(
            "The memory does not hold what the networks make of the image. Look at it through a smaller window: "
            f"--window 513, say. Received: {width}x{height} pixels, window={self.window}"
        )


def check_numbers(probabilities: tf.Tensor) -> None:
    """Refuses what would be class 0 everywhere.

    Raises:
        InputError: probabilities are not finite.
    """
    if not tf.reduce_all(tf.math.is_finite(probabilities)):
        raise InputError(
            "The networks give no numbers: their weights are ruined, or too large for their precision. Train again "
            "with a lower train.learning_rate, or with train.precision=float32. Received: NaN"
        )


def with_ensemble(of_networks: Sequence[T]) -> list[T]:
    """The networks' probabilities as all outputs': after those of two comes their mean, the ensemble."""
    if len(of_networks) == 1:
        return [*of_networks]
    top, bottom = of_networks
    return [top, bottom, (top + bottom) / 2]


class _Window(NamedTuple):
    """Where a window lies along one side of an image, and how much it counts at each of its pixels, `(n,)`."""

    start: int
    stop: int
    fade: np.ndarray


def _windows(length: int, size: int, overlap: float) -> list[_Window]:
    """As few as overlap by so much, evenly spread. Each counts most in its middle, and all sum to 1 at every pixel."""
    size = min(size, length)
    stride = max(1, int(size * (1 - overlap)))
    starts = np.linspace(0, length - size, -(-(length - size) // stride) + 1).round().astype(int)
    hat = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype("float32")
    total = np.zeros(length, "float32")
    for start in starts:
        total[start : start + size] += hat
    return [_Window(start, start + size, hat / total[start : start + size]) for start in starts.tolist()]


def _blended(parts: Iterable[tf.Tensor], windows: Sequence[_Window], axis: int) -> Iterator[tf.Tensor]:
    """What windows show along an axis, faded into each other: pieces from the first to the last."""
    if len(windows) == 1:
        yield from parts
        return
    pending = None  # what windows so far add to this one
    for part, window, following in zip(parts, windows, [*windows[1:], None], strict=True):
        blend = part * np.expand_dims(window.fade, tuple(range(1, 4 - axis)))
        if pending is not None:
            edges = np.zeros((4, 2), int)
            edges[axis, 1] = blend.shape[axis] - pending.shape[axis]
            blend += tf.pad(pending, edges)
        done = (window.stop if following is None else following.start) - window.start
        piece, pending = tf.split(blend, [done, blend.shape[axis] - done], axis)
        yield piece


def _resized(strips: Strips, size: tuple[int, int], new_size: tuple[int, int]) -> Strips:
    """Strips of a picture, as strips of it in another size: bilinear, as `tf.image.resize` of it all would be."""
    (height, _), (new_height, new_width) = size, new_size
    places = (np.arange(new_height) + 0.5) * (height / new_height) - 0.5  # of new rows among the old ones
    above, below = np.floor(places).clip(0).astype(int), np.ceil(places).clip(0, height - 1).astype(int)
    share = (places - np.floor(places)).astype("float32")[:, None, None]  # of the row below
    held, first, done = None, 0, 0  # old rows, the number of the first, and how many new ones are out
    for strip in strips:
        held = strip if held is None else tf.concat([held, strip], axis=1)
        ready = int(np.searchsorted(below, first + held.shape[1]))
        if ready == done:
            continue
        new = slice(done, ready)
        rows = [tf.gather(held, side[new] - first, axis=1) for side in (above, below)]
        yield tf.image.resize(rows[0] + (rows[1] - rows[0]) * share[new], [ready - done, new_width])
        done = ready
        if done == new_height:
            return
        held, first = held[:, above[done] - first :], int(above[done])


def _average(streams: Sequence[Strips]) -> Strips:
    """The mean of pictures whose strips end at different rows."""
    if len(streams) == 1:
        yield from streams[0]
        return
    held = [next(stream) for stream in streams]
    while all(strip is not None for strip in held):
        rows = min(strip.shape[1] for strip in held)
        yield tf.add_n([strip[:, :rows] for strip in held]) / len(held)
        held = [
            strip[:, rows:] if strip.shape[1] > rows else next(stream, None)
            for strip, stream in zip(held, streams, strict=True)
        ]
