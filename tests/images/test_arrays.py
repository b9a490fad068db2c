"""Label files as NumPy arrays, and floating-point labels."""

import numpy as np
import pytest
from helpers import refused
from PIL import Image

from keras_crosscoop.images.decoding import label_reader
from keras_crosscoop.images.io import label_size, read_label

IDS = np.arange(15).reshape(3, 5)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float32])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (1, 3, 5)])
def test_arrays_of_whole_numbers_are_labels(tmp_path, dtype, shape):
    np.save(tmp_path / "a.npy", IDS.astype(dtype).reshape(shape))
    label = read_label(tmp_path / "a.npy")
    np.testing.assert_array_equal(label, IDS.astype(dtype))
    assert label.dtype == np.int32
    size, read = label_reader(tmp_path / "a.npy")
    assert size == label_size(tmp_path / "a.npy") == (3, 5)
    np.testing.assert_array_equal(read(slice(1, 3), slice(0, 2)), label[1:3, :2])


def test_arrays_of_colours_are_labels(tmp_path):
    colours = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
    np.save(tmp_path / "a.npy", colours)
    np.testing.assert_array_equal(read_label(tmp_path / "a.npy", colours=True), colours)
    assert "not colours" in refused(read_label, tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", IDS)
    np.testing.assert_array_equal(read_label(tmp_path / "b.npy", colours=True), IDS[..., None].repeat(3, -1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5, 4), np.uint8), "not uint8 (3, 5, 4). Convert one-hot labels by `argmax`"),
        (np.array([[0.0, 0.5]]), "whole numbers, one class id per pixel, but it holds 0.5"),
        (np.array([[0, 1 << 40]]), "but it holds 1099511627776"),
        (np.array([["a"]]), "whole numbers, not <U1"),
        (np.array([[None]]), "cannot be read"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    assert message in refused(read_label, tmp_path / "a.npy")


def test_minus_one_has_many_forms(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[np.nan, 1]]))
    assert read_label(tmp_path / "a.npy").tolist() == [[-1, 1]]
    np.save(tmp_path / "b.npy", np.array([[-1, 1]]).astype(np.uint32))
    assert read_label(tmp_path / "b.npy").tolist() == [[-1, 1]]
    Image.fromarray(np.array([[-1, 1]], np.float32)).save(tmp_path / "c.tif")
    assert read_label(tmp_path / "c.tif").tolist() == [[-1, 1]]
    Image.fromarray(np.array([[0.5, 1]], np.float32)).save(tmp_path / "d.tif")
    assert "but it holds 0.5" in refused(read_label, tmp_path / "d.tif")
