"""Rotated crops: geometry against NumPy and SciPy, the drawn angles, and what lies outside of the image."""

import numpy as np
import pytest
from helpers import in_memory
from scipy import ndimage

from keras_crosscoop.data import load_dataset
from keras_crosscoop.data.rotation import sample_rotated_crop

RNG = np.random.default_rng(0)


def crops(image, label, count, **settings):
    stream = load_dataset(in_memory([(image, label)]), "train", training=True, repeat=True, **settings)
    return list(stream.take(count).as_numpy_iterator())


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_are_exact(size, turns):
    image, label = RNG.integers(0, 256, (size, size, 3), np.uint8), RNG.integers(0, 99, (size, size), np.uint8)
    crop = sample_rotated_crop((size, size), (0, 0.3, 0.8), 90 * turns, crop_size=size, scale=(1, 1))
    turned, turned_label, outside = crop.cut(image[crop.rows, crop.columns], label[crop.rows, crop.columns])
    np.testing.assert_allclose(turned.astype(int), np.rot90(image.astype(int), turns), atol=1)  # Pillow rounds down
    np.testing.assert_array_equal(turned_label, np.rot90(label, turns))
    assert not outside.any()


@pytest.mark.parametrize("degrees", [-45, -10, 0.5, 30])
@pytest.mark.parametrize("factor", [0.6, 1.7])
@pytest.mark.parametrize("size", [(90, 70), (40, 200)])
def test_crops_agree_with_scipy(degrees, factor, size):
    """SciPy rotates and scales the whole image about the crop's centre."""
    image = ndimage.gaussian_filter(RNG.uniform(0, 255, (*size, 3)), (1, 1, 0)).astype(np.uint8)
    label = RNG.integers(0, 99, size, np.uint8)
    crop = sample_rotated_crop(size, (0.5, 0.2, 0.9), degrees, crop_size=50, scale=(factor, factor))
    actual, actual_label, outside = crop.cut(image[crop.rows, crop.columns], label[crop.rows, crop.columns])

    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / factor  # of (row, column)
    box = np.abs(turn).sum(1) * 50  # the crop's bounding box lies within an image ...
    upright = (50 / factor) ** 2 / box  # ... that is not smaller; one smaller than this lies within the crop
    free = np.where(size >= box, size - box, np.where(size <= upright, size - upright, 0))
    centre = np.array(size) / 2 + np.array([-0.3, 0.4]) * free
    offset = centre - 0.5 - turn @ [24.5, 24.5]  # SciPy counts from the centre of the first pixel
    options = {"output_shape": (50, 50), "prefilter": False}
    expected = [ndimage.affine_transform(image[..., i] + 0.0, turn, offset, order=1, **options) for i in range(3)]
    expected_label = ndimage.affine_transform(label, turn, offset, order=0, cval=255, **options)
    positions = np.einsum("ij,jyx->iyx", turn, np.mgrid[:50, :50]) + offset[:, None, None]
    limits = np.array(size)[:, None, None]
    inner = ((positions > 0.01) & (positions < limits - 1.01)).all(0)
    outer = ((positions < -0.51) | (positions > limits - 0.49)).any(0)

    np.testing.assert_allclose(actual[inner] + 0.5, np.stack(expected, -1)[inner], atol=0.6)  # Pillow rounds down
    nearest = inner & (np.abs((positions + 0.5) % 1 - 0.5) < 0.499).all(0)  # not as near to another pixel
    np.testing.assert_array_equal(actual_label[nearest], expected_label[nearest])
    assert (actual[outer] == 128).all()
    assert (actual_label[outer] == 255).all()
    assert outside[outer].all()
    assert not outside[inner].any()


def test_only_the_bounding_box_is_read():
    """It lies within a large image, and a small image lies within it."""
    for degrees in (-45, 0, 20):
        box = 100 / 0.8 * (np.cos(np.radians(degrees)) + np.sin(np.radians(abs(degrees))))
        for draw in (0, 0.4, 0.999):
            rows, columns, *_ = sample_rotated_crop((900, 90), (0, draw, draw), degrees, crop_size=100, scale=(0.8, 1))
            assert box <= rows.stop - rows.start + 2
            assert rows.stop - rows.start <= box + 4
            assert (columns.start, columns.stop) == (0, 90)
            assert rows.start == pytest.approx(draw * (900 - box), abs=2)


def test_angles_and_scales_fill_their_ranges_uniformly():
    """Red is twice the row and green twice the column, so that their slopes tell the angle and the scale."""
    rows, columns = np.mgrid[:120, :120].astype(np.uint8)
    image = np.stack([2 * rows, 2 * columns, 0 * rows], -1)
    settings = {"crop_size": 30, "scale": (1, 2), "flip": False, "photometric": "none"}
    angles, scales = [], []
    for crop, crop_label in crops(image, rows, 300, rotation=20, **settings):
        assert (crop_label != 255).all()
        slopes = (crop[20:, :, 0].mean() - crop[:10, :, 0].mean()), (crop[:, 20:, 0].mean() - crop[:, :10, 0].mean())
        angles.append(np.degrees(np.arctan2(slopes[1], slopes[0])))
        scales.append(2 * 20 / np.hypot(*slopes))
        assert np.abs(crop[..., 0] / 2 - crop_label).max() <= 1.3  # half the diagonal of a pixel, and rounding
    np.testing.assert_allclose(np.quantile(angles, [0, 0.25, 0.5, 0.75, 1]), [-20, -10, 0, 10, 20], atol=3)
    np.testing.assert_allclose(np.quantile(scales, [0, 0.25, 0.5, 0.75, 1]), [1, 1.25, 1.5, 1.75, 2], atol=0.1)
    assert abs(np.corrcoef(angles, scales)[0, 1]) < 0.15


@pytest.mark.parametrize("photometric", ["none", "weak", "strong"])
def test_small_images_lie_anywhere_amid_grey_and_void(photometric):
    """A 20x30 image halved in a crop of 40: about 150 pixels of it, wholly within the crop."""
    image, label = np.full((20, 30, 3), 10, np.uint8), np.full((20, 30), 3, np.uint8)
    centres = []
    settings = {"crop_size": 40, "scale": (0.5, 0.5), "photometric": photometric}
    for crop, crop_label in crops(image, label, 60, rotation=45, **settings):
        inside = crop_label == 3
        assert (crop_label[~inside] == 255).all()
        assert (crop[~inside] == 128).all()
        assert 140 <= inside.sum() <= 160
        assert photometric != "none" or (crop[inside] == 10).all()
        centres.append(np.argwhere(inside).mean(0))
    assert np.ptp(centres, axis=0).min() > 10


@pytest.mark.parametrize("factor", [0.3, 1, 2])
def test_a_given_pixel_is_shown(factor):
    """It has another class than all others. It may be at a corner, and smaller than a pixel of the crop."""
    rng = np.random.default_rng(1)
    for row, column in ((0, 0), (59, 30), (13, 79), (30, 40)):
        label = np.zeros((60, 80), np.uint8)
        label[row, column] = 7
        places = []
        for _ in range(60):
            settings = {"crop_size": 20, "scale": (factor, factor), "pixel": (row, column)}
            crop = sample_rotated_crop(label.shape, rng.random(3), rng.uniform(-45, 45), **settings)
            window = label[crop.rows, crop.columns]
            _, shown, outside = crop.cut(np.zeros((*window.shape, 3), np.uint8), window)
            assert (shown == 7).any()
            assert outside.mean() < 0.55
            assert factor == 0.3 or (row, column) != (30, 40) or not outside.any()
            places.append(np.argwhere(shown == 7).mean(0))
        assert np.ptp(places, axis=0).min() > (15 if factor > 0.3 and row == 30 else 0)
