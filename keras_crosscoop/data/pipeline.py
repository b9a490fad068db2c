"""From files to tensors: the `tf.data` pipeline of every data set."""

import math
import os
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.data.catalogue import dataset
from keras_crosscoop.data.graph_calls import numpy_function
from keras_crosscoop.data.skipping import Skipped
from keras_crosscoop.data.spec import Dataset, OpenPair, Pair
from keras_crosscoop.data.transforms import CENTRE, place, render
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import image_size
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.resources import cores

_PREFETCH = 4  # batches that wait for the device; AUTOTUNE would let them take half of the memory

OnError = Literal["fail", "skip"] | Skipped


class Parts(NamedTuple):
    """Which of the equal parts of every batch a stream gives, one after another, each as a batch of its own.

    Attributes:
        first: the number of the first one.
        last: the number behind the last one.
        of: how many there are.
    """

    first: int
    last: int
    of: int


def load_dataset(
    name: str | Dataset,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    training: bool = False,
    crop_size: int = 513,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    photometric: bool = True,
    center_crop: int | None = None,
    batch_size: int | None = None,
    repeat: bool = False,
    seed: int = 0,
    start: int = 0,
    parts: Parts | None = None,
    on_error: OnError = "fail",
) -> tf.data.Dataset:
    """The samples of a split, `(image, label)`: RGB, uint8 `(H, W, 3)`, and class ids, 255 void, uint8 `(H, W)`.

    For training, every epoch shuffles the split anew and changes each sample at random (see `transforms`). Sample n
    of this stream depends on `seed` and n alone, so it is the same bits on every run, with any number of threads, and
    wherever the stream starts. Otherwise samples come whole or as their centre crops, unchanged and in order.

    Args:
        name: a data set of the catalogue, or an opened one.
        split: one of the data set's splits.
        data_dir: the folder of the data set; see `dataset`.
        training: shuffle and augment.
        crop_size: height and width of training samples, pixels.
        scale: of training samples, the least and the greatest factor of the image's size; drawn uniformly.
        flip: mirror left and right in half of all training samples.
        photometric: vary brightness, contrast and saturation of training images.
        center_crop: height and width of samples not for training, pixels: the middle of larger images, and smaller
            ones amid mid-grey and void. None for whole images.
        batch_size: samples a batch, `(B, H, W, 3), (B, H, W)`; None for single samples.
        repeat: go on without end, batches running across epochs and all full. Otherwise the stream ends with the epoch,
            and the last batch may be smaller.
        seed: of shuffling and augmentation.
        start: the sample to start at, counted over all epochs.
        parts: for several readers that share batches: those of this one. Unless `repeat`, samples with nothing but void
            in their labels then fill the last batch up.
        on_error: what happens at a file that cannot be used: "fail" raises; with "skip", the next sample of the split
            takes its place, with nothing but void in its label where not for training, unless over 1 % of the split are
            bad. A `Skipped` does the same, and remembers them.

    Raises:
        InputError: the data set cannot be opened, its files do not pair (`Dataset.pairs`), a setting makes no sense, or
            whole images of different sizes would share a batch. A file that turns out broken only when it is read
            raises then: this error inside `readable_errors()`, a `tf.errors.OpError` outside.
    """
    _check_settings(crop_size, scale, center_crop, batch_size, start)
    if parts is not None and (batch_size is None or batch_size % parts.of):
        raise InputError(
            f"The batch size must be a multiple of the number of devices, {parts.of}. Received: batch_size={batch_size}"
        )
    if on_error not in ("fail", "skip") and not isinstance(on_error, Skipped):
        raise InputError(f'`on_error` must be "fail", "skip" or a `Skipped`. Received: on_error={on_error!r}.')
    source = name if isinstance(name, Dataset) else dataset(name, data_dir)
    pairs = source.pairs(split, headers=on_error == "fail")
    skipped = Skipped() if on_error == "skip" else on_error
    if isinstance(skipped, Skipped):
        skipped.images = max(skipped.images, len(pairs))
    crop_size, scale = (crop_size, scale) if training else (center_crop, (1, 1))
    if crop_size is None and (batch_size or 1) // (parts.of if parts else 1) > 1:
        _check_equal_sizes(pairs)

    def window(opened: OpenPair, draws: np.ndarray) -> tuple[np.ndarray, ...]:
        height, width = opened.size
        if crop_size is None:
            return *opened.window(slice(0, height), slice(0, width)), *_NOWHERE
        rows, columns = place(opened.size, draws, crop_size=crop_size, scale=scale)
        return *opened.window(rows.source, columns.source), np.int32(rows.target), np.int32(columns.target)

    def read(index: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, ...]:
        for distance in range(len(pairs)):
            pair = pairs[(index + distance) % len(pairs)]
            try:
                image, label, *target = window(source.open(*pair), draws)
            except InputError as error:
                if skipped == "fail":
                    raise
                skipped.add(pair[0], error)
            else:
                return image, label if training or not distance else np.full_like(label, IGNORE_LABEL), *target
        raise InputError(f"No file of the split can be used. Run `crosscoop-tf data check`. Received: {split!r}")

    def sample(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        index, draws, mirror, light = number % len(pairs), tf.constant(CENTRE), None, None
        if training:
            index = _shuffled(number, len(pairs), seed)
            draws = tf.random.stateless_uniform([7], tf.stack([seed, number]))
            mirror = draws[3] < 0.5 if flip else None
            light = tf.unstack(draws[4:]) if photometric else None
        image, label, rows, columns = numpy_function(read, [index, draws[:3]], [tf.uint8, tf.uint8, tf.int32, tf.int32])
        image, label = tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(label, [None, None])
        if stop is not None and parts is not None:
            label = tf.where(number < stop, label, IGNORE_LABEL)
        if crop_size is None:
            return image, label
        rows, columns = tf.ensure_shape(rows, [3]), tf.ensure_shape(columns, [3])
        return render(image, label, rows, columns, crop_size=crop_size, mirror=mirror, light=light)

    stop = None if repeat else start + len(pairs) - start % len(pairs)
    numbers = _numbers(start, stop, batch_size, parts)
    samples = numbers.map(sample, num_parallel_calls=_samples_under_way(), deterministic=True)
    if batch_size is not None:
        samples = samples.batch(batch_size // parts.of if parts else batch_size, drop_remainder=repeat)
    return samples.prefetch(_PREFETCH)


def indices(numbers: Iterable[int], count: int, seed: int) -> list[int]:
    """Which pairs of a split of `count` the samples of these numbers show, in training with that seed."""
    return [int(_shuffled(tf.constant(number, tf.int64), count, seed)) for number in numbers]


def _shuffled(number: tf.Tensor, count: int, seed: int) -> tf.Tensor:
    return tf.random.experimental.index_shuffle(number % count, tf.stack([seed, number // count]), count - 1)


def _numbers(start: int, stop: int | None, batch_size: int | None, parts: Parts | None) -> tf.data.Dataset:
    if parts is None:
        return tf.data.Dataset.counter(start) if stop is None else tf.data.Dataset.range(start, stop)
    share = batch_size // parts.of
    here = (parts.last - parts.first) * share  # samples of each batch
    if stop is None:
        counted = tf.data.Dataset.counter()
    else:
        counted = tf.data.Dataset.range(-(-(stop - start) // batch_size) * here)
    return counted.map(lambda n: start + n // here * batch_size + parts.first * share + n % here)


_NOWHERE = (np.zeros(3, np.int32),) * 2  # where a whole image goes


def _samples_under_way() -> int:
    """A few more than cores, at most 32: as they come in order, a slow one would make the cores of the others wait.

    AUTOTUNE stops at one a core. Of Cityscapes, each takes some 15 MB.
    """
    return min(cores() + 2, 32)


def _check_settings(
    crop_size: int, scale: tuple[float, float], center_crop: int | None, batch_size: int | None, start: int
) -> None:
    if crop_size < 1:
        raise InputError(f"`crop_size` must be at least 1 pixel. Received: crop_size={crop_size}.")
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise InputError(f"`scale` must be two positive factors, the smaller one first. Received: scale={scale}.")
    if center_crop is not None and center_crop < 1:
        raise InputError(f"`center_crop` must be at least 1 pixel, or None for whole images. Received: {center_crop=}.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, or None for single samples. Received: {batch_size=}.")
    if start < 0:
        raise InputError(f"`start` must be a sample's number, from 0 up. Received: {start=}.")


def _check_equal_sizes(pairs: list[Pair]) -> None:
    first, _ = pairs[0]
    size = image_size(first)
    for image, _ in pairs[1:]:
        if image_size(image) != size:
            raise InputError(
                f"Whole images of different sizes cannot share a batch. Use batch_size=1. Received: {first}, {image}"
            )
