"""Inference on whole images of any size: in windows, at several scales, mirrored; the probabilities are averaged.

Results come in strips of rows, each as soon as no later window overlaps it. So the memory depends on the height of a
window, not on the height of the image.

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
from keras_crosscoop.models.memory import LARGE, fits_in_memory, required_memory
from keras_crosscoop.models.segmenter import Segmenter

WINDOW = 513  # pixels; the window for images that need more memory than is free

_log = logging.getLogger(__name__)

T = TypeVar("T", tf.Tensor, np.ndarray)

BeforeWindow = Callable[[], object]  # called before each window; may raise to stop
Strips = Iterator[tf.Tensor]  # of an image from its top to its bottom, each (S, h, W, C) for S networks


class Inference:
    """Segments images of any size; a call returns class probabilities.

    Args:
        model: The networks.
        window: Height and width of the windows, in pixels of the scaled image; smaller images are one window. None for
            the whole image. If that needs more memory than is free, windows have 513 pixels, and a message is logged.
        overlap: The minimum overlap of neighbouring windows, as a share of their width, in [0, 1). Overlapping windows
            are blended.
        scales: Factors of the image's size; the probabilities at all of them are averaged.
        flip: Whether to average with the probabilities of the mirrored image.

    Raises:
        InputError: A window, overlap or scale is out of range.

    Example:
        >>> from keras_crosscoop import DeepLabV3Plus
        >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, decoder_channels=8)
        >>> inference = Inference(model, window=32, flip=True)
        >>> inference(np.zeros((40, 50, 3), "uint8"))["single"].shape
        (40, 50, 3)
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
        self._logged = False  # whether the lack of memory was logged
        self._needs: dict[tuple[int, int], float] = {}  # bytes, by height and width
        if window is not None and window < 1:
            raise InputError(f"A window must be at least 1 pixel, or None for whole images. Received: {window=}")
        if not 0 <= overlap < 1:
            raise InputError(f"The overlap of windows must be in [0, 1), a share of their width. Received: {overlap=}")
        if not self.scales or not all(0.01 <= scale <= 10 for scale in self.scales):
            raise InputError(f"Scales must be factors in 0.01 to 10, such as 0.5,1,1.5. Received: scales={self.scales}")

    def __call__(self, image: ImageLike) -> dict[str, np.ndarray]:
        """Returns the class probabilities of every output, float32 `(H, W, C)` at the image's own size.

        Args:
            image: A file's path, a PIL image, or an array `(H, W, 3)` of RGB in [0, 255]. Files are read as the model's
                `reading` says.

        Raises:
            InputError: The image cannot be read, or a window is too large for the memory.
        """
        networks = np.concatenate([strip.numpy() for strip in self.strips(as_rgb(image, self.model.reading))], axis=1)
        return dict(zip(self.model.output_choices, with_ensemble(networks), strict=True))

    def classes(self, image: np.ndarray, before_window: BeforeWindow = lambda: None) -> dict[str, np.ndarray]:
        """Returns the class ids of every output, uint8 `(H, W)`; keeps the probabilities of one strip at a time.

        Raises:
            InputError: A window is too large for the memory.
        """
        strips = (with_ensemble(tf.unstack(strip)) for strip in self.strips(image, before_window))
        ids = [[tf.argmax(output, axis=-1).numpy().astype("uint8") for output in strip] for strip in strips]
        return dict(zip(self.model.output_choices, map(np.concatenate, zip(*ids, strict=True)), strict=True))

    def is_whole(self, height: int, width: int) -> bool:
        """Whether an image of this size is one window at the largest scale."""
        height, width = (round(max(self.scales) * side) for side in (height, width))
        if self.window is not None:
            return max(height, width) <= self.window
        return self._fits(height, width)

    def strips(self, image: np.ndarray, before_window: BeforeWindow = lambda: None) -> Strips:
        """Yields the class probabilities of each network, float32 `(S, h, W, C)`; the heights add up to H.

        Raises:
            InputError: A window is too large for the memory, or probabilities are NaN.
        """
        for strip in self.unchecked_strips(image, before_window):
            check_numbers(strip)
            yield strip

    def unchecked_strips(self, image: np.ndarray, before_window: BeforeWindow = lambda: None) -> Strips:
        """Yields the same as `strips`, without the check for NaN."""
        window = self.window
        if window is None and not self.is_whole(*image.shape[:2]):
            window = self._fall_back(image)
        if window is None:
            try:  # whole images are predicted before the first strip is yielded
                yield from list(self._averaged(image, None, before_window))
                return
            except tf.errors.ResourceExhaustedError as error:  # by a GPU
                if max(image.shape[:2]) * max(self.scales) <= WINDOW:
                    raise self._too_large(image) from error
            window = self._fall_back(image)
        elif not self._fits(*(min(window, round(max(self.scales) * side)) for side in image.shape[:2])):
            raise self._too_large(image)
        try:
            yield from self._averaged(image, window, before_window)
        except tf.errors.ResourceExhaustedError as error:
            raise self._too_large(image) from error

    def _fall_back(self, image: np.ndarray) -> int:
        """Returns the window for images that need more memory than is free, and logs the first of them."""
        if not self._logged:
            self._logged = True
            height, width, _ = image.shape
            _log.info(
                f"Images of {width}x{height} pixels need more memory than is free, and are segmented in windows of "
                f"{WINDOW} pixels. Choose another size with --window, or evaluation.window."
            )
        return WINDOW

    def _averaged(self, image: np.ndarray, window: int | None, before_window: BeforeWindow) -> Strips:
        return _average([self._at_scale(image, scale, window, before_window) for scale in self.scales])

    def _at_scale(self, image: np.ndarray, scale: float, window: int | None, before_window: BeforeWindow) -> Strips:
        size = image.shape[:2]
        scaled_size = tuple(max(1, round(scale * length)) for length in size)
        if scaled_size == size:
            return self._in_windows(tf.constant(image), window, before_window)
        scaled = tf.image.resize(image, scaled_size)  # bilinear without smoothing, as training images are
        return _resize(self._in_windows(scaled, window, before_window), scaled_size, size)

    def _in_windows(self, image: tf.Tensor, window: int | None, before_window: BeforeWindow) -> Strips:
        rows, columns = (_windows(length, window or length, self.overlap) for length in image.shape[:2])

        def predict(row: _Window, column: _Window) -> tf.Tensor:
            before_window()
            return self._predict(image[row.start : row.stop, column.start : column.stop])

        def predict_row(row: _Window) -> tf.Tensor:
            windows = (predict(row, column) for column in columns)
            return tf.concat(list(_blend(windows, columns, axis=2)), axis=2)

        return _blend(map(predict_row, rows), rows, axis=1)

    def _predict(self, window: tf.Tensor) -> tf.Tensor:
        """Returns the class probabilities of a window, `(S, H, W, C)`."""
        probabilities = self._network(window)
        if not self.flip:
            return probabilities
        return (probabilities + self._network(window[:, ::-1])[:, :, ::-1]) / 2

    @cached_property
    def _network(self) -> Callable[[tf.Tensor], tf.Tensor]:
        return tf.function(self._probabilities, reduce_retracing=True)

    def _probabilities(self, window: tf.Tensor) -> tf.Tensor:
        logits = self.model(tf.cast(window, "float32")[None], training=False)
        return tf.stack([tf.nn.softmax(logits[side][0]) for side in self.model.sides])

    def _fits(self, height: int, width: int) -> bool:
        """Whether the memory is enough for a window of this size."""
        if height * width <= LARGE:
            return True
        if (height, width) not in self._needs:
            self._needs[height, width] = required_memory(self._probabilities, (height, width, 3))
        return fits_in_memory(self._needs[height, width])

    def _too_large(self, image: np.ndarray) -> InputError:
        height, width, _ = image.shape
        return InputError(
            "The image needs more memory than is free. Segment it in smaller windows: --window 513. "
            f"Received: {width}x{height} pixels, window={self.window}"
        )


def check_numbers(probabilities: tf.Tensor) -> None:
    """Refuses NaN and infinite probabilities, whose argmax would be class 0.

    Raises:
        InputError: Probabilities are not finite.
    """
    if not tf.reduce_all(tf.math.is_finite(probabilities)):
        raise InputError(
            "The networks output NaN: training diverged, or the weights overflow in this precision. Train again with a "
            "lower train.learning_rate, or with train.precision=float32. Received: NaN"
        )


def with_ensemble(networks: Sequence[T]) -> list[T]:
    """Returns the probabilities of all outputs: the networks, and for two networks also their mean, the ensemble."""
    if len(networks) == 1:
        return [*networks]
    top, bottom = networks
    return [top, bottom, (top + bottom) / 2]


class _Window(NamedTuple):
    """The position of a window along one side of an image, and its weight at each of its pixels, `(n,)`."""

    start: int
    stop: int
    weights: np.ndarray


def _windows(length: int, size: int, overlap: float) -> list[_Window]:
    """Returns the fewest evenly spread windows with this overlap. Weights peak in the middle of a window; the weights
    of all windows sum to 1 at every pixel.
    """
    size = min(size, length)
    stride = max(1, int(size * (1 - overlap)))
    starts = np.linspace(0, length - size, -(-(length - size) // stride) + 1).round().astype(int)
    hat = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype("float32")
    total = np.zeros(length, "float32")
    for start in starts:
        total[start : start + size] += hat
    return [_Window(start, start + size, hat / total[start : start + size]) for start in starts.tolist()]


def _blend(predictions: Iterable[tf.Tensor], windows: Sequence[_Window], axis: int) -> Iterator[tf.Tensor]:
    """Yields the weighted sum of the windows' predictions along an axis, piece by piece from its start."""
    if len(windows) == 1:
        yield from predictions
        return
    pending = None  # the sum so far where the next window overlaps
    for prediction, window, following in zip(predictions, windows, [*windows[1:], None], strict=True):
        total = prediction * np.expand_dims(window.weights, tuple(range(1, 4 - axis)))
        if pending is not None:
            edges = np.zeros((4, 2), int)
            edges[axis, 1] = total.shape[axis] - pending.shape[axis]
            total += tf.pad(pending, edges)
        done = (window.stop if following is None else following.start) - window.start
        piece, pending = tf.split(total, [done, total.shape[axis] - done], axis)
        yield piece


def _resize(strips: Strips, size: tuple[int, int], new_size: tuple[int, int]) -> Strips:
    """Resizes an image strip by strip, with the result of a bilinear `tf.image.resize` of the whole image."""
    (height, _), (new_height, new_width) = size, new_size
    positions = (np.arange(new_height) + 0.5) * (height / new_height) - 0.5  # of the new rows, in old rows
    above, below = np.floor(positions).clip(0).astype(int), np.ceil(positions).clip(0, height - 1).astype(int)
    share = (positions - np.floor(positions)).astype("float32")[:, None, None]  # weight of the row below
    held, first, done = None, 0, 0  # old rows, the number of the first of them, and the number of finished new rows
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
    """Averages images whose strips end at different rows."""
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
