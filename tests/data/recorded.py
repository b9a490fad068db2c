"""Helpers for tests of records."""

import itertools

import numpy as np
import pytest

from keras_crosscoop.data import dataset, load_dataset

# TFDS asks protobuf 6 for what protobuf 7 has under other names
tfds_on_protobuf_6 = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")


def assert_same_samples(name, files, records, splits):
    """Pixels, labels, names and order."""
    expected, actual = dataset(name, files), dataset(name, records)
    for split in splits:
        for pair, recorded in zip(expected.pairs(split), actual.pairs(split), strict=True):
            for array, expected_array in zip(actual.read(*recorded), expected.read(*pair), strict=True):
                np.testing.assert_array_equal(array, expected_array)
            assert recorded[0].name == pair[0].name
            assert (recorded[1] is None) == (pair[1] is None)
    return actual


def stream(*arguments, **settings):
    samples = itertools.islice(load_dataset(*arguments, **settings).as_numpy_iterator(), 12)
    return [(image.shape, image.tobytes(), label.tobytes()) for image, label in samples]


def break_image(path):
    """Truncates the file, below its header."""
    path.write_bytes(path.read_bytes()[:-400])
