"""Polygons and run lengths against independent implementations."""

import matplotlib.path
import numpy as np
import pytest
from data.importing.tool_exports import compressed, run_lengths

from keras_crosscoop.data.importing.regions import Patch, PixelPolygons, Polygons, RunLengths, decompress, draw
from keras_crosscoop.errors import InputError


def canvas(patch, size):
    ids = draw([(1, patch, 0)], size, 0)
    return ids == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_belongs_to_a_polygon_if_its_centre_lies_inside(seed):
    rng = np.random.default_rng(seed)
    size = (31, 43)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 12)))
    radii = rng.uniform(2, 40, len(angles))
    corners = np.stack([20 + radii * np.cos(angles), 15 + radii * np.sin(angles)], 1)
    rows, columns = np.mgrid[:31, :43] + 0.5
    inside = matplotlib.path.Path(corners).contains_points(np.stack([columns.ravel(), rows.ravel()], 1)).reshape(size)
    np.testing.assert_array_equal(canvas(Polygons((corners,))(size), size), inside)


def test_holes_and_parts():
    square = np.array([(1, 1), (9, 1), (9, 9), (1, 9)], float)
    patch = Polygons((square, square + 10), holes=(square / 2 + 2,))((20, 20))
    expected = np.zeros((20, 20), bool)
    expected[1:9, 1:9] = expected[11:19, 11:19] = True
    expected[2:6, 2:6] = False  # 2.5 to 6.5
    expected[2:7, 2:7] &= False
    assert canvas(patch, (20, 20)).sum() == 64 + 64 - 16


def test_pixel_polygons_include_their_outline():
    corners = np.array([(2, 3), (9, 3), (9, 11), (2, 11)], float)
    expected = np.zeros((20, 20), bool)
    expected[3:12, 2:10] = True
    np.testing.assert_array_equal(canvas(PixelPolygons((corners,))((20, 20)), (20, 20)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths(seed):
    mask = np.random.default_rng(seed).random((37, 53)) < (0.5, 0.01, 0.99, 0.2, 0)[seed]
    counts = run_lengths(mask)
    assert decompress(compressed(counts)) == counts
    np.testing.assert_array_equal(RunLengths(compressed(counts), mask.shape)(mask.shape).mask, mask)
    np.testing.assert_array_equal(RunLengths(counts, mask.shape)(mask.shape).mask, mask)


def test_a_text_of_the_coco_api():
    """Written by pycocotools for a mask of 9 x 10 pixels whose rows 2 to 4 and columns 3 to 6 are set."""
    mask = np.zeros((9, 10), bool)
    mask[2:5, 3:7] = True
    assert RunLengths("m03600000i0", (9, 10))(mask.shape).mask.tolist() == mask.tolist()


def test_damaged_run_lengths():
    with pytest.raises(InputError, match="ends within a number"):
        decompress("a")
    with pytest.raises(InputError, match="must add up"):
        RunLengths([5], (2, 2))((2, 2))
    with pytest.raises(InputError, match="A mask has 2x2 pixels, but its image 3x3"):
        RunLengths([4], (2, 2))((3, 3))


def test_smaller_regions_cover_larger_ones_and_layers_cover_all():
    small, large = np.ones((2, 2), bool), np.ones((4, 4), bool)
    ids = draw([(1, Patch(small), 0), (2, Patch(large), 0)], (5, 5), 0)
    assert ids[0, 0] == 1
    assert ids[3, 3] == 2
    assert ids[4, 4] == 0
    assert draw([(1, Patch(small), 0), (2, Patch(large), 1)], (5, 5), 0)[0, 0] == 2


@pytest.mark.parametrize(("top", "left"), [(-1, -1), (3, 3), (9, 0), (0, -9)])
def test_patches_are_cut_at_the_edges(top, left):
    ids = draw([(1, Patch(np.ones((3, 3), bool), top, left), 0)], (5, 5), 0)
    expected = np.zeros((25, 25), np.uint8)
    expected[10 + top : 13 + top, 10 + left : 13 + left] = 1
    np.testing.assert_array_equal(ids, expected[10:15, 10:15])
