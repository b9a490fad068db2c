"""From files to tensors: the `tf.data` pipeline of every data set."""

import os

import numpy as np
import tensorflow as tf

from keras_crosscoop.data.catalogue import dataset
from keras_crosscoop.data.graph_calls import numpy_function
from keras_crosscoop.data.spec import Dataset
from keras_crosscoop.data.transforms import augment
from keras_crosscoop.errors import InputError
from keras_crosscoop.images import image_size


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
    batch_size: int | None = None,
    repeat: bool = False,
    seed: int = 0,
    start: int = 0,
) -> tf.data.Dataset:
    """The samples of a split, `(image, label)`: RGB, uint8 `(H, W, 3)`, and class ids, 255 void, uint8 `(H, W)`.

    For training, every epoch shuffles the split anew and changes each sample at random (`transforms.augment`). Sample n
    of this stream depends on `seed` and n alone, so it is the same bits on every run, with any number of threads, and
    wherever the stream starts. Otherwise samples come whole, unchanged and in order.

    Args:
        name: a data set of the catalogue, or an opened one.
        split: one of the data set's splits.
        data_dir: the folder of the data set; see `dataset`.
        training: shuffle and augment.
        crop_size: height and width of training samples, pixels.
        scale: see `augment`.
        flip: see `augment`.
        photometric: see `augment`.
        batch_size: samples a batch, `(B, H, W, 3), (B, H, W)`; None for single samples.
        repeat: go on without end, batches running across epochs and all full. Otherwise the stream ends with the epoch,
            and the last batch may be smaller.
        seed: of shuffling and augmentation.
        start: the sample to start at, counted over all epochs.

    Raises:
        InputError: the data set cannot be opened, its files do not pair (`Dataset.pairs`), a setting makes no sense, or
            whole images of different sizes would share a batch. A file that turns out broken only when it is read
            raises then: this error inside `readable_errors()`, a `tf.errors.OpError` outside.
    """
    _check_settings(crop_size, scale, batch_size, start)
    source = name if isinstance(name, Dataset) else dataset(name, data_dir)
    pairs = source.pairs(split)
    if not training and batch_size not in (None, 1):
        _check_equal_sizes([image for image, _ in pairs])

    def read(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return source.read(*pairs[index])

    def sample(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        index = number % len(pairs)
        if training:
            epoch_seed = tf.stack([seed, number // len(pairs)])
            index = tf.random.experimental.index_shuffle(index, epoch_seed, len(pairs) - 1)
        image, label = numpy_function(read, [index], [tf.uint8, tf.uint8])
        image, label = tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(label, [None, None])
        if not training:
            return image, label
        return augment(
            image,
            label,
            tf.stack([seed, number]),
            crop_size=crop_size,
            scale=scale,
            flip=flip,
            photometric=photometric,
        )

    numbers = tf.data.Dataset.counter(start)
    if not repeat:
        numbers = numbers.take(len(pairs) - start % len(pairs))
    samples = numbers.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if batch_size is not None:
        samples = samples.batch(batch_size, drop_remainder=repeat)
    return samples.prefetch(tf.data.AUTOTUNE)


def _check_settings(crop_size: int, scale: tuple[float, float], batch_size: int | None, start: int) -> None:
    if crop_size < 1:
        raise InputError(f"`crop_size` must be at least 1 pixel. Received: crop_size={crop_size}.")
    if not 0 < scale[0] <= scale[1]:
        raise InputError(f"`scale` must be two positive factors, the smaller one first. Received: scale={scale}.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, or None for single samples. Received: {batch_size=}.")
    if start < 0:
        raise InputError(f"`start` must be a sample's number, from 0 up. Received: {start=}.")


def _check_equal_sizes(images: list[os.PathLike]) -> None:
    first = image_size(images[0])
    for path in images:
        if image_size(path) != first:
            raise InputError(
                f"Whole images of different sizes cannot share a batch. Use batch_size=1. Received: {images[0]}, {path}"
            )
