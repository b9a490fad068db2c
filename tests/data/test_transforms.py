"""Image and label are transformed together, within the documented ranges, and label values are never mixed."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import in_memory
from scipy import ndimage

from keras_crosscoop.data import load_dataset
from keras_crosscoop.data.photometric import jitter
from keras_crosscoop.data.transforms import apply_crop, orient, sample_crop

PLAIN = {"flip": False, "photometric": "none"}
RNG = np.random.default_rng(0)


def ramps(height, width):
    """A pair whose pixels hold their position: red is twice the row, green twice the column, the label the row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([2 * rows, 2 * columns, np.full_like(rows, 7)], -1), rows


def crops(image, label, count, **settings):
    """The first samples of a training stream of one pair."""
    stream = load_dataset(in_memory([(image, label)]), "train", training=True, repeat=True, **settings)
    size = settings["crop_size"]
    assert [spec.shape for spec in stream.element_spec] == [(size, size, 3), (size, size)]
    return list(stream.take(count).as_numpy_iterator())


def eager_crop(image, label, draws, *, crop_size, scale=(0.5, 2.0)):
    """A sample of the default settings, made eagerly by its seven draws."""
    rows, columns = sample_crop(label.shape, draws[:3].numpy(), crop_size=crop_size, scale=scale)
    crop = apply_crop(
        tf.constant(image[rows.source, columns.source]),
        tf.constant(label[rows.source, columns.source]),
        tf.constant(rows.target),
        tf.constant(columns.target),
        crop_size=crop_size,
        photometric=lambda image: jitter(image, draws[4:]),
    )
    return tuple(part.numpy() for part in orient(*crop, mirror=draws[3] < 0.5))


def test_unit_scale_cuts_out_pixels_as_they_are():
    image, label = RNG.integers(0, 256, (30, 40, 3), np.uint8), RNG.integers(0, 12, (30, 40), np.uint8)
    corners = set()
    for crop, crop_label in crops(image, label, 80, crop_size=28, scale=(1, 1), **PLAIN):
        (corner,) = [(y, x) for y in range(3) for x in range(13) if np.array_equal(image[y : y + 28, x : x + 28], crop)]
        y, x = corner
        np.testing.assert_array_equal(crop_label, label[y : y + 28, x : x + 28])
        corners.add(corner)
    assert {y for y, _ in corners} == {0, 1, 2}
    assert {x for _, x in corners} >= {0, 12}
    assert len(corners) > 25  # of 39: rows and columns are drawn apart


def test_image_and_label_stay_aligned_at_any_scale():
    """The label's row differs from the image's by at most the half pixel of rounding, and not to one side."""
    image, label = ramps(120, 120)
    errors = []
    for crop, crop_label in crops(image, label, 100, crop_size=40, **PLAIN):
        error = crop[..., 0] / 2 - crop_label
        assert np.abs(error).max() <= 0.75  # half a pixel, and a quarter for red's own rounding
        errors.append(error.mean())
    assert abs(np.mean(errors)) < 0.03


def test_labels_are_never_mixed():
    """Between ids 2 and 200 no third one appears, at any scale and position, flipped or not."""
    label = np.where(RNG.random((50, 50)) < 0.5, 2, 200).astype(np.uint8)
    image = np.zeros((50, 50, 3), np.uint8)
    for _, crop_label in crops(image, label, 30, crop_size=64):
        assert set(np.unique(crop_label)) <= {2, 200, 255}


def test_scale_fills_its_range_uniformly():
    image, label = ramps(120, 120)
    scales = []
    for crop, _ in crops(image, label, 400, crop_size=40, **PLAIN):
        scales.append(2 * 30 / (crop[34, 20, 0] / 1.0 - crop[4, 20, 0]))  # 30 rows lie 30 / scale source rows apart
        across = 2 * 30 / (crop[20, 34, 1] / 1.0 - crop[20, 4, 1])
        assert across == pytest.approx(scales[-1], rel=0.05)  # the picture keeps its proportions
    assert min(scales) == pytest.approx(0.5, abs=0.03)
    assert max(scales) == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(np.quantile(scales, [0.25, 0.5, 0.75]), [0.875, 1.25, 1.625], atol=0.12)


@pytest.mark.parametrize("photometric", ["none", "weak", "strong"])
def test_small_images_lie_anywhere_amid_grey_and_void(photometric):
    """A 20x30 image halved in a crop of 40: 10x15 pixels of it, everything else 128 and 255."""
    image, label = np.full((20, 30, 3), 10, np.uint8), np.full((20, 30), 3, np.uint8)
    corners = []
    settings = {"crop_size": 40, "scale": (0.5, 0.5), "flip": False, "photometric": photometric}
    for crop, crop_label in crops(image, label, 60, **settings):
        rows, columns = np.nonzero(crop_label != 255)
        top, left = rows.min(), columns.min()
        assert (rows.max() - top + 1, columns.max() - left + 1) == (10, 15)
        inside = np.zeros((40, 40), bool)
        inside[top : top + 10, left : left + 15] = True
        assert set(crop_label[inside]) == {3}
        assert set(crop_label[~inside]) == {255}
        assert set(crop[~inside].ravel()) == {128}
        assert photometric != "none" or set(crop[inside].ravel()) == {10}
        corners.append((top, left))
    tops, lefts = zip(*corners, strict=True)
    assert min(tops) <= 2
    assert max(tops) >= 28
    assert min(lefts) <= 2
    assert max(lefts) >= 23


def test_one_side_may_be_padded_and_the_other_cut():
    image, label = ramps(20, 100)
    [(crop, crop_label)] = crops(image, label, 1, crop_size=50, scale=(1, 1), **PLAIN)
    inside = crop_label != 255
    assert inside.sum() == 20 * 50
    np.testing.assert_array_equal(crop[inside][:, 0], 2 * crop_label[inside])
    np.testing.assert_array_equal(np.diff(crop[inside][:50, 1]), 2)


def test_flip_mirrors_both_in_half_of_all_cases():
    image, label = RNG.integers(0, 256, (40, 40, 3), np.uint8), RNG.integers(0, 12, (40, 40), np.uint8)
    settings = {"crop_size": 32, "photometric": "none"}
    pairs, straight_pairs = (crops(image, label, 100, flip=flip, **settings) for flip in (True, False))
    flips = 0
    for (crop, crop_label), (straight, straight_label) in zip(pairs, straight_pairs, strict=True):
        if np.array_equal(crop, straight):
            np.testing.assert_array_equal(crop_label, straight_label)
        else:
            flips += 1
            np.testing.assert_array_equal(crop, straight[:, ::-1])
            np.testing.assert_array_equal(crop_label, straight_label[:, ::-1])
    assert 40 < flips < 60


def test_bilinear_values_are_rounded():
    """Doubled, the step from 0 to 3 passes through 0.75 and 2.25, which are 1 and 2 and not 0 and 2."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 1] = 3
    [(crop, _)] = crops(image, np.zeros((2, 2), np.uint8), 1, crop_size=4, scale=(2, 2), **PLAIN)
    np.testing.assert_array_equal(crop[..., 0], [[0, 1, 2, 3]] * 4)


def test_same_bits_eagerly_and_in_a_stream():
    """At default settings, seven numbers decide about a sample. Other augmentations must not change these numbers."""
    image, label = RNG.integers(0, 256, (50, 60, 3), np.uint8), RNG.integers(0, 12, (50, 60), np.uint8)
    draws = [tf.random.stateless_uniform([7], [0, number]) for number in range(8)]
    eager = [eager_crop(image, label, numbers, crop_size=33) for numbers in draws]
    mapped = crops(image, label, 8, crop_size=33)
    bits = [[(crop.tobytes(), crop_label.tobytes()) for crop, crop_label in samples] for samples in (eager, mapped)]
    assert bits[0] == bits[1]
    assert len(set(bits[0])) == 8


@pytest.mark.parametrize("flip", [True, False])
def test_any_orientation_is_equally_likely(flip):
    """Without `flip`, these are the four rotations: no mirror image appears."""
    image, label = RNG.integers(0, 256, (8, 8, 3), np.uint8), RNG.integers(0, 12, (8, 8), np.uint8)
    symmetries = {}
    for mirrored in (False, True) if flip else (False,):
        for turns in range(4):
            pair = [np.rot90(x[:, ::-1] if mirrored else x, turns) for x in (image, label)]
            symmetries[pair[0].tobytes()] = pair[1], 0
    settings = {"crop_size": 8, "scale": (1, 1), "photometric": "none", "orientation": "any"}
    for crop, crop_label in crops(image, label, 400, flip=flip, **settings):
        expected, count = symmetries[crop.tobytes()]
        np.testing.assert_array_equal(crop_label, expected)
        symmetries[crop.tobytes()] = expected, count + 1
    shares = np.array([count for _, count in symmetries.values()]) / 400
    np.testing.assert_allclose(shares, 1 / len(symmetries), atol=0.07)


@pytest.mark.parametrize("photometric", ["none", "strong"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 3)])
def test_tiny_images(size, photometric):
    image, label = np.full((*size, 3), 9, np.uint8), np.full(size, 4, np.uint8)
    for crop, crop_label in crops(image, label, 20, crop_size=16, flip=False, photometric=photometric):
        assert set(np.unique(crop_label)) <= {4, 255}
        assert photometric != "none" or (crop[crop_label == 4] == 9).all()
        assert (crop_label == 4).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"orientation": "any", "scale": (1, 2)},
        {"rotation": 45, "scale": (1, 2)},  # a smaller scale would skip pixels that are not in the neighbourhood
        {"mix": "cutmix", "scale": (1, 1)},  # pasted pixels may be interpolated ones of a border
        {"orientation": "any", "mix": "classmix", "scale": (1, 1)},
    ],
    ids=str,
)
def test_image_and_label_stay_aligned_through_every_augmentation(settings):
    """The image is the label in colours. Amid pixels of one class, a crop has exactly the colour of the class."""
    label = RNG.integers(0, 5, (9, 11), np.uint8).repeat(8, 0).repeat(8, 1)
    colours = np.full((256, 3), 128, np.uint8)  # all outside is void and mid-grey
    colours[:5] = RNG.integers(0, 256, (5, 3))
    for crop, crop_label in crops(colours[label], label, 40, crop_size=48, photometric="none", **settings):
        even = ndimage.maximum_filter(crop_label, 5) == ndimage.minimum_filter(crop_label, 5)
        even[[0, 1, -2, -1]] = even[:, [0, 1, -2, -1]] = False  # their neighbours are not all known
        assert even.mean() > 0.1
        np.testing.assert_array_equal(crop[even], colours[crop_label[even]])
