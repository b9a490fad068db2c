"""The `tf.data` input pipeline of every data set."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from keras_crosscoop.data.catalogue import dataset
from keras_crosscoop.data.graph_calls import numpy_function
from keras_crosscoop.data.mixing import MIX_PROBABILITY, Mix, Sample, mix_samples
from keras_crosscoop.data.photometric import Photometric, distort, jitter
from keras_crosscoop.data.rare_classes import ClassPositions
from keras_crosscoop.data.rotation import LARGEST_ROTATION, apply_rotated_crop, sample_rotated_crop
from keras_crosscoop.data.skipping import Skipped
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.data.statistics import sample_labels
from keras_crosscoop.data.transforms import CENTRE, Orientation, apply_crop, orient, sample_crop
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.resources import cores

_PREFETCH = 4  # batches; AUTOTUNE would fill half of the memory

OnError = Literal["fail", "skip"] | Skipped

# Random numbers of their own, so that one kind of augmentation does not change the others' numbers
_RARE, _GEOMETRY, _PHOTOMETRIC, _MIX = range(1, 5)


class ReplicaRange(NamedTuple):
    """The replicas `start:stop` of `total` that one input pipeline serves.

    Every batch is split evenly among all replicas. The pipeline yields the shares of its own replicas one by one.
    """

    start: int
    stop: int
    total: int


def load_dataset(
    name: str | Dataset,
    split: str,
    *,
    data_dir: str | os.PathLike | None = None,
    training: bool = False,
    crop_size: int = 513,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    rotation: float = 0,
    orientation: Orientation = "upright",
    photometric: Photometric = "weak",
    mix: Mix = "none",
    rare_classes: float = 0.0,
    positions: ClassPositions | None = None,
    center_crop: int | None = None,
    batch_size: int | None = None,
    repeat: bool = False,
    seed: int = 0,
    start: int = 0,
    replicas: ReplicaRange | None = None,
    on_error: OnError = "fail",
) -> tf.data.Dataset:
    """Loads a split as a `tf.data.Dataset` of `(image, label)`.

    Images are RGB, uint8 `(H, W, 3)`. Labels are class ids, 255 void, uint8 `(H, W)`.

    With `training=True`, every epoch is shuffled anew and each sample is randomly scaled, cropped and augmented. Sample
    n depends on `seed` and n alone: it has the same bits on every run, with any number of threads, and from any
    `start`. With `training=False`, images come in order, whole or as centre crops.

    Args:
        name: A data set of the catalogue, or an opened `Dataset`.
        split: One of the data set's splits.
        data_dir: The folder of the data set; see `dataset`.
        training: Whether to shuffle and augment.
        crop_size: Height and width of training samples, in pixels.
        scale: The smallest and largest random scale of training images.
        flip: Whether to mirror half of the training samples.
        rotation: The largest angle of random rotations in degrees, at most 45. Pixels outside of the image are mid-grey
            and void.
        orientation: "upright"; or "any" for pictures without an up, such as aerial ones: training samples are also
            turned by 0, 90, 180 or 270 degrees. With `flip`, these are the eight symmetries of the square.
        photometric: "none"; "weak" to vary brightness, contrast and saturation of training images; or "strong" to also
            vary their hue, gamma, sharpness, noise and JPEG quality.
        mix: "none"; or whether half of the training samples are mixed with a second, independently drawn one.
            "cutmix" pastes a random box of it, "classmix" half of its classes. Void pixels are never pasted.
        rare_classes: The share of training samples that are drawn to show a class, mostly a rare one. For class c of
            frequency f_c, the probability is `softmax((1 - f_c) / 0.01)`. The image and one of its pixels of the class
            are then drawn uniformly, and the crop contains this pixel (Hoyer et al., "DAFormer", CVPR 2022).
        positions: Where the classes are, for `rare_classes`. By default, all labels of the split are decoded first.
        center_crop: With `training=False`, height and width of the centre crop, pixels. Smaller images are padded with
            mid-grey and void. None for whole images.
        batch_size: Samples per batch, `(B, H, W, 3), (B, H, W)`; None for single samples.
        repeat: Whether to repeat without end. All batches are then full and run across epochs. Otherwise the stream
            ends after one epoch, and its last batch may be smaller.
        seed: The seed of shuffling and augmentation.
        start: The number of the first sample, counted over all epochs.
        replicas: For distributed training, the replicas that this stream serves. Without `repeat`, samples with void
            labels then fill up the last batch.
        on_error: What to do about an unusable file: "fail" raises an error. "skip" takes the next sample of the split,
            with a void label unless `training`, and fails once more than 1 % of the split is unusable. A `Skipped` does
            the same and records the files.

    Returns:
        The stream.

    Raises:
        InputError: The data set cannot be opened, files have no partner (see `Dataset.pairs`), a setting is invalid, or
            whole images of different sizes would share a batch. A file that proves to be damaged while the stream is
            read raises this error inside `readable_errors()`, and a `tf.errors.OpError` outside.

    Example:
        >>> from keras_crosscoop import load_dataset
        >>> stream = load_dataset("folder", "train", data_dir="MY_DATA", training=True, crop_size=65, batch_size=2)
        >>> image, label = next(iter(stream))
        >>> image.shape, label.shape
        (TensorShape([2, 65, 65, 3]), TensorShape([2, 65, 65]))
    """
    _check_settings(crop_size, scale, center_crop, batch_size, start)
    _check_augmentation(rotation, orientation, photometric, mix, rare_classes)
    if replicas is not None and (batch_size is None or batch_size % replicas.total):
        raise InputError(
            f"The batch size must be a multiple of the number of devices, {replicas.total}. Received: {batch_size=}"
        )
    if on_error not in ("fail", "skip") and not isinstance(on_error, Skipped):
        raise InputError(f'`on_error` must be "fail", "skip" or a `Skipped`. Received: on_error={on_error!r}.')
    source = name if isinstance(name, Dataset) else dataset(name, data_dir)
    pairs = source.pairs(split, headers=on_error == "fail")
    skipped = Skipped() if on_error == "skip" else on_error
    if isinstance(skipped, Skipped):
        skipped.images = max(skipped.images, len(pairs))
    rare_classes = rare_classes if training else 0.0
    if rare_classes and positions is None:
        positions = sample_labels(source, split, None).positions
    if rare_classes and positions.split_size != len(pairs):
        raise InputError(
            f"The positions of classes were found in a split of {positions.split_size:,} images. Restore the split, or "
            f"find them again. Received: {len(pairs):,} images"
        )
    crop_size, scale = (crop_size, scale) if training else (center_crop, (1, 1))
    rotates = training and rotation > 0
    device_batch = batch_size // (replicas.total if replicas else 1) if batch_size else None
    if crop_size is None and (device_batch or 1) > 1:
        _check_equal_sizes(source, pairs)

    def decode(files: Pair, draws: np.ndarray, degrees: np.ndarray, position: int | None) -> tuple[np.ndarray, ...]:
        pair = source.open(*files)
        height, width = pair.size
        if crop_size is None:
            return pair.read(slice(0, height), slice(0, width))
        if position is not None and position >= height * width:
            raise InputError(
                "An image is smaller than when the positions of its classes were found. Put the former one back. "
                f"Received: {files[0]}"
            )
        options = {"crop_size": crop_size, "scale": scale}
        options["pixel"] = None if position is None else divmod(position, width)
        if rotates:
            crop = sample_rotated_crop(pair.size, draws, degrees, **options)
            return crop.cut(*pair.read(crop.rows, crop.columns))
        rows, columns = sample_crop(pair.size, draws, **options)
        return *pair.read(rows.source, columns.source), np.int32(rows.target), np.int32(columns.target)

    def read(
        index: np.ndarray, draws: np.ndarray, degrees: np.ndarray, rare_draws: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        candidates = _candidates(int(index), len(pairs), rare_draws, rare_classes, positions)
        for distance, (candidate, position) in enumerate(candidates):
            pair = pairs[candidate]
            try:
                image, label, *target = decode(pair, draws, degrees, position)
            except InputError as error:
                if skipped == "fail":
                    raise
                skipped.add(pair[0], error)
            else:
                return image, label if training or not distance else np.full_like(label, IGNORE_LABEL), *target
        raise InputError(f"No file of the split can be used. Run `crosscoop-tf data check`. Received: {split!r}")

    def load(
        index: tf.Tensor,
        draws: Sequence[float] | tf.Tensor = CENTRE,
        degrees: float | tf.Tensor = 0.0,
        rare_draws: Sequence[tf.Tensor] = (),
        photometric: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> Sample:
        dtypes = [tf.uint8] * 2 + ([] if crop_size is None else [tf.bool] if rotates else [tf.int32] * 2)
        image, label, *geometry = numpy_function(read, [index, draws, degrees, *rare_draws], dtypes)
        image, label = tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(label, [None, None])
        if crop_size is None:
            return image, label
        if rotates:
            (outside,) = geometry
            return apply_rotated_crop(image, label, outside, crop_size=crop_size, photometric=photometric)
        rows, columns = (tf.ensure_shape(axis, [3]) for axis in geometry)
        return apply_crop(image, label, rows, columns, crop_size=crop_size, photometric=photometric)

    def augment(index: tf.Tensor, key: tf.Tensor) -> Sample:
        """Returns a training sample of a pair. `key` is the seed of its random numbers."""
        draws = tf.random.stateless_uniform([7], key)
        turn, quarter = tf.unstack(tf.random.stateless_uniform([2], tf.random.fold_in(key, _GEOMETRY)))
        degrees = rotation * (2 * turn - 1) if rotates else 0.0
        changes = {
            "none": None,
            "weak": lambda image: jitter(image, draws[4:]),
            "strong": lambda image: distort(image, draws[4:], tf.random.fold_in(key, _PHOTOMETRIC)),
        }
        return orient(
            *load(index, draws[:3], degrees, [_rare_draws(key)] if rare_classes else [], changes[photometric]),
            mirror=draws[3] < 0.5 if flip else None,
            quarter_turns=tf.cast(4 * quarter, tf.int32) if orientation == "any" else None,
        )

    def sample(number: tf.Tensor) -> Sample:
        if training:
            key = tf.stack([seed, number])
            image, label = first = augment(_shuffled(number, len(pairs), seed), key)
            if mix != "none":
                is_mixed, index, key = _second_sample(key, len(pairs))
                image, label = tf.cond(
                    is_mixed,
                    lambda: mix_samples(mix, first, augment(index, key), tf.random.fold_in(key, _MIX)),
                    lambda: first,
                )
        else:
            image, label = load(number % len(pairs))
        if stop is not None and replicas is not None:
            label = tf.where(number < stop, label, IGNORE_LABEL)
        return image, label

    stop = None if repeat else start + len(pairs) - start % len(pairs)
    numbers = _sample_numbers(start, stop, batch_size, replicas)
    # More calls than cores, because a slow sample delays later ones; AUTOTUNE stops at one per core. The limit saves
    # memory: a call takes about 15 MB for Cityscapes.
    samples = numbers.map(sample, num_parallel_calls=min(cores() + 2, 32), deterministic=True)
    if device_batch is not None:
        samples = samples.batch(device_batch, drop_remainder=repeat)
    return samples.prefetch(_PREFETCH)


def indices(
    numbers: Iterable[int],
    count: int,
    seed: int,
    *,
    mix: Mix = "none",
    rare_classes: float = 0.0,
    positions: ClassPositions | None = None,
) -> list[int]:
    """Returns the indices of the pairs that training samples show, unless they are unusable.

    Args:
        numbers: The numbers of the samples, counted over all epochs.
        count: The number of pairs in the split.
        seed: The seed of `load_dataset`.
        mix: The `mix` of `load_dataset`. The second pair of a mixed sample follows the first one.
        rare_classes: The share of samples that show a rare class, as for `load_dataset`.
        positions: Where the classes are, if `rare_classes` is not 0.

    Example:
        >>> from keras_crosscoop.data import indices
        >>> sorted(indices(range(4), count=4, seed=0))  # one epoch
        [0, 1, 2, 3]
    """

    def first_candidate(index: tf.Tensor, key: tf.Tensor) -> int:
        rare_draws = _rare_draws(key).numpy() if rare_classes else None
        return next(_candidates(int(index), count, rare_draws, rare_classes, positions))[0]

    shown = []
    for number in (tf.constant(number, tf.int64) for number in numbers):
        key = tf.stack([seed, number])
        shown.append(first_candidate(_shuffled(number, count, seed), key))
        is_mixed, *second = _second_sample(key, count)
        if mix != "none" and is_mixed:
            shown.append(first_candidate(*second))
    return shown


def _shuffled(number: tf.Tensor, count: int, seed: int) -> tf.Tensor:
    return tf.random.experimental.index_shuffle(number % count, tf.stack([seed, number // count]), count - 1)


def _second_sample(key: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns whether a sample is mixed with a second one, and the index and the key of that one."""
    key = tf.random.fold_in(key, _MIX)
    chance, pair = tf.unstack(tf.random.stateless_uniform([2], key))
    return chance < MIX_PROBABILITY, tf.cast(pair * count, tf.int64), tf.random.fold_in(key, 0)


def _rare_draws(key: tf.Tensor) -> tf.Tensor:
    """Draws whether a sample is a rare-class sample, the class, the image and the pixel."""
    return tf.random.stateless_uniform([4], tf.random.fold_in(key, _RARE))


def _candidates(
    index: int, count: int, rare_draws: Sequence[float] | None, share: float, positions: ClassPositions | None
) -> Iterator[tuple[int, int | None]]:
    """Yields the index of a sample's pair and the position that its crop must contain, if any; then replacements."""
    if rare_draws is not None and rare_draws[0] < share:
        yield from positions.candidates(rare_draws[1:])
    for distance in range(count):
        yield (index + distance) % count, None


def _sample_numbers(
    start: int, stop: int | None, batch_size: int | None, replicas: ReplicaRange | None
) -> tf.data.Dataset:
    if replicas is None:
        return tf.data.Dataset.counter(start) if stop is None else tf.data.Dataset.range(start, stop)
    share = batch_size // replicas.total
    local = (replicas.stop - replicas.start) * share  # samples of each batch
    if stop is None:
        positions = tf.data.Dataset.counter()
    else:
        positions = tf.data.Dataset.range(-(-(stop - start) // batch_size) * local)
    return positions.map(lambda n: start + n // local * batch_size + replicas.start * share + n % local)


def _check_settings(
    crop_size: int,
    scale: tuple[float, float],
    center_crop: int | None,
    batch_size: int | None,
    start: int,
) -> None:
    if crop_size < 1:
        raise InputError(f"`crop_size` must be at least 1 pixel. Received: {crop_size=}.")
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise InputError(f"`scale` must be two positive factors, the smaller one first. Received: {scale=}.")
    if center_crop is not None and center_crop < 1:
        raise InputError(f"`center_crop` must be at least 1 pixel, or None for whole images. Received: {center_crop=}.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"`batch_size` must be at least 1, or None for single samples. Received: {batch_size=}.")
    if start < 0:
        raise InputError(f"`start` must be the number of a sample, 0 or more. Received: {start=}.")


def _check_augmentation(rotation: float, orientation: str, photometric: str, mix: str, rare_classes: float) -> None:
    if not 0 <= rare_classes <= 1:
        raise InputError(f"`rare_classes` must be a share between 0 and 1. Received: {rare_classes=}.")
    if not 0 <= rotation <= LARGEST_ROTATION:
        raise InputError(f"`rotation` must be 0 to {LARGEST_ROTATION} degrees. Received: {rotation=}.")
    for name, value, kind in (
        ("orientation", orientation, Orientation),
        ("photometric", photometric, Photometric),
        ("mix", mix, Mix),
    ):
        if value not in get_args(kind):
            valid = ", ".join(f'"{choice}"' for choice in get_args(kind))
            raise InputError(f"`{name}` must be one of {valid}. Received: {name}={value!r}.")


def _check_equal_sizes(data: Dataset, pairs: list[Pair]) -> None:
    first = pairs[0][0]
    size = data.size(*pairs[0])
    for image, label in pairs[1:]:
        if data.size(image, label) != size:
            raise InputError(
                f"Whole images of different sizes cannot share a batch. Use batch_size=1. Received: {first}, {image}"
            )
