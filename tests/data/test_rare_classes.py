"""Rare-class sampling: images and classes by the formula of the paper, and crops that show the drawn class."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from data.recorded import stream
from helpers import InMemory, in_memory, refused

from keras_crosscoop.data import Coding, ReplicaRange, Skipped, indices, load_dataset, readable_errors
from keras_crosscoop.data import checks as data_checks
from keras_crosscoop.data.rare_classes import PIXELS, ClassPositions
from keras_crosscoop.data.statistics import sample_labels
from keras_crosscoop.data.transforms import apply_crop, sample_crop
from keras_crosscoop.errors import InputError

RNG = np.random.default_rng(0)
SHARES = {1: 0.03, 2: 0.04, 3: 0.02}  # of classes in an image; class 0 has all other pixels, and class 4 none
CLASSES_OF_IMAGES = [(1, 2), (1,), (2,), (3,), (1, 2, 3), ()]
SIZES = [(31, 47), (53, 29), (17, 90), (64, 64), (40, 33), (20, 20)]
PLAIN = {"training": True, "repeat": True, "crop_size": 16, "scale": (1, 2), "flip": False, "photometric": "none"}


def painted(labels):
    """Image n has colour n."""
    return [(np.full((*label.shape, 3), number, np.uint8), label) for number, label in enumerate(labels)]


@pytest.fixture(scope="module")
def labels():
    made = []
    for classes, size in zip(CLASSES_OF_IMAGES, SIZES, strict=True):
        label = np.zeros(size[0] * size[1], np.uint8)
        cuts = np.cumsum([round(SHARES[number] * label.size) for number in classes])
        for number, pixels in zip(classes, np.split(RNG.permutation(label.size), cuts), strict=False):
            label[pixels] = number
        label[0] = 255
        made.append(label.reshape(size))
    return made


@pytest.fixture(scope="module")
def data(labels):
    return in_memory(painted(labels), classes=5)


@pytest.fixture(scope="module")
def positions(data):
    return sample_labels(data, "train", None).positions


def expected_probabilities(labels, classes=5):
    """softmax((1 - f_c) / 0.01) of the classes that occur."""
    pixels = np.concatenate([label.ravel() for label in labels])
    frequencies = np.array([np.mean(pixels[pixels != 255] == number) for number in range(classes)])
    weights = [np.exp((1 - share) / 0.01) if share else 0 for share in frequencies]
    return np.array(weights) / sum(weights)


def test_positions_lie_on_their_classes(labels, positions):
    """Evenly from the first to the last pixel of the class: one in each sixteenth of them."""
    entries = [(number, image) for number in range(5) for image in range(6) if (labels[image] == number).any()]
    assert list(zip(positions.classes.tolist(), positions.images.tolist(), strict=True)) == entries
    assert positions.split_size == 6
    for (number, image), pixels in zip(entries, positions.pixels, strict=True):
        own = np.flatnonzero(labels[image].ravel() == number)
        parts = np.searchsorted(own, pixels) / len(own)
        np.testing.assert_array_equal(labels[image].ravel()[pixels], number)
        np.testing.assert_allclose(parts, (np.arange(PIXELS) + 0.5) / PIXELS, atol=1 / len(own))


def test_classes_follow_the_formula(labels, positions):
    """Of evenly spaced draws, each class gets its share, and each of its images and pixels the same share."""
    expected = expected_probabilities(labels)
    assert expected[[1, 2, 3]].min() > 0.05  # none is negligible
    np.testing.assert_allclose(positions.probabilities, expected, rtol=1e-9)
    draws = (np.arange(1000) + 0.5) / 1000
    first = [next(positions.candidates((draw, 0, 0))) for draw in draws]
    classes = [labels[image].ravel()[pixel] for image, pixel in first]
    np.testing.assert_allclose(np.bincount(classes, minlength=5) / 1000, expected, atol=0.0011)
    rarest = float(np.cumsum(expected)[3] - expected[3] / 2)
    images = [next(positions.candidates((rarest, draw, 0)))[0] for draw in draws]
    assert np.bincount(images, minlength=6).tolist() == [0, 0, 0, 500, 500, 0]
    assert [[image for image, _ in positions.candidates((rarest, draw, 0))] for draw in (0.4, 0.6)] == [[3, 4], [4, 3]]
    pixels = [next(positions.candidates((rarest, 0, draw)))[1] for draw in draws]
    np.testing.assert_allclose(np.unique(pixels, return_counts=True)[1], 1000 / PIXELS, atol=1)


def test_samples_follow_the_formula(labels, data, positions):
    """An image is drawn with the sum over its classes of P(c) / (number of images with c); some are ordinary."""
    contains = np.array([[(label == number).any() for number in range(5)] for label in labels])
    share = 0.75
    expected = share * (contains / contains.sum(0).clip(1)) @ expected_probabilities(labels) + (1 - share) / 6
    count = 600
    shown = indices(range(count), 6, 3, rare_classes=share, positions=positions)
    deviation = np.bincount(shown, minlength=6) / count - expected
    assert (np.abs(deviation) < 4 * np.sqrt(expected / count)).all()
    other_seed = indices(range(60), 6, 4, rare_classes=1, positions=positions)
    assert other_seed != indices(range(60), 6, 3, rare_classes=1, positions=positions)
    settings = PLAIN | {"rare_classes": share, "positions": positions, "seed": 3, "crop_size": 100}
    samples = load_dataset(data, "train", **settings).take(60).as_numpy_iterator()
    assert [int(image[image != 128][0]) for image, _ in samples] == shown[:60]


@pytest.mark.parametrize(
    ("scale", "side"), [((1, 2.3), 1), ((0.5, 2), 3), ((0.5, 0.5), 3), ((0.21, 0.6), 5), ((1, 1), 1)]
)
@pytest.mark.parametrize("crop_size", [7, 33])
def test_every_crop_shows_the_rare_class(scale, side, crop_size):
    """Squares of class 1, as small as may remain at the smallest scale, in corners and at random places."""
    rare = []
    for number, (height, width) in enumerate([*SIZES, (5, 5), (90, 7)]):
        label = np.full((height, width), 2 * (number % 2), np.uint8)
        rows, columns = (RNG.choice([0, length - side, RNG.integers(length - side + 1)]) for length in (height, width))
        label[rows : rows + side, columns : columns + side] = 1
        rare.append(label)
    settings = {"training": True, "repeat": True, "crop_size": crop_size, "scale": scale, "rare_classes": 1}
    samples = load_dataset(in_memory(painted(rare), classes=3), "train", **settings).take(80).as_numpy_iterator()
    assert all((label == 1).any() for _, label in samples)


@pytest.mark.parametrize("crop_size", [17, 33])
def test_rotated_crops_show_the_rare_class(crop_size):
    """Squares of five pixels in corners of images that are larger and smaller than the crop."""
    rare = []
    for height, width in [(60, 80), (40, 30), (9, 70), (12, 12)]:
        label = np.zeros((height, width), np.uint8)
        label[-5:, :5] = 1
        rare.append(label)
    settings = {"training": True, "repeat": True, "crop_size": crop_size, "scale": (0.7, 2), "rotation": 45}
    data = in_memory(painted(rare), classes=2)
    samples = list(load_dataset(data, "train", rare_classes=1, **settings).take(120).as_numpy_iterator())
    assert all((label == 1).any() for _, label in samples)


def test_second_samples_of_a_mix_show_rare_classes_too(data, positions):
    settings = {"mix": "cutmix", "rare_classes": 1, "positions": positions}
    samples = load_dataset(data, "train", **PLAIN, **settings).take(60).as_numpy_iterator()
    seconds = []
    for number, (image, label) in enumerate(samples):
        shown = indices([number], 6, 0, **settings)
        assert set(image[label != 255][:, 0]) <= set(shown)
        seconds += shown[1:]
    rare = indices(range(300), 6, 1, rare_classes=1, positions=positions)
    counts, expected = (np.bincount(numbers, minlength=6) for numbers in (seconds, rare))
    np.testing.assert_allclose(counts / len(seconds), expected / 300, atol=0.25)


def test_windows_around_a_pixel_are_equally_likely():
    """All that show the pixel after their label is resized; or, where none does, all that contain it."""
    unseen = 0
    for _ in range(60):
        length, crop = RNG.integers(1, 40, 2).tolist()
        pixel, factor = int(RNG.integers(length)), float(RNG.choice([0.5, 1, RNG.uniform(0.3, 2)]))

        def place(draw, length=length, crop=crop, factor=factor, pixel=pixel):
            settings = {"crop_size": crop, "scale": (factor, factor), "pixel": (pixel, 0)}
            return sample_crop((length, 1), (0.5, draw, 0.5), **settings)

        rows, columns = place(0.5)
        window = rows.source.stop - rows.source.start
        starts = [start for start in range(length - window + 1) if start <= pixel < start + window]
        kept = [start for start in starts if shows(pixel - start, window, rows, columns, crop)]
        unseen += not kept
        count = 4 * len(kept or starts)
        drawn = [place((number + 0.5) / count)[0].source for number in range(count)]
        assert sorted(span.start for span in drawn) == sorted(4 * (kept or starts))
        assert {span.stop - span.start for span in drawn} == {window}
    assert 0 < unseen < 20


def shows(pixel, window, rows, columns, crop):
    """Whether the crop of a window of one column shows one of its pixels."""
    label = np.zeros((window, 1), np.uint8)
    label[pixel] = 1
    target = [tf.constant(axis.target) for axis in (rows, columns)]
    image = tf.zeros((window, 1, 3), tf.uint8)
    return (apply_crop(image, tf.constant(label), *target, crop_size=crop)[1].numpy() == 1).any()


def test_a_sample_depends_on_seed_and_number_alone(data, positions):
    """Also of positions that were found before, and as one of several devices; other samples are as without them."""
    settings = {"training": True, "repeat": True, "crop_size": 20, "seed": 5}
    ordinary, mixed, rare = (stream(data, "train", rare_classes=share, **settings) for share in (0, 0.5, 1))
    drawn = [a == b for a, b in zip(mixed, rare, strict=True)]
    assert 2 < sum(drawn) < 10
    assert mixed == [r if is_rare else o for o, r, is_rare in zip(ordinary, rare, drawn, strict=True)]
    assert len(set(rare)) == 12
    settings |= {"rare_classes": 0.5, "positions": positions}
    assert stream(data, "train", **settings) == mixed
    assert stream(data, "train", start=5, **settings)[:7] == mixed[5:]
    assert stream(data, "train", **settings | {"seed": 6}) != mixed
    shares = [
        load_dataset(data, "train", batch_size=4, replicas=ReplicaRange(number, number + 1, 2), **settings).unbatch()
        for number in range(2)
    ]
    first, second = ([label.tobytes() for _, label in share.take(6).as_numpy_iterator()] for share in shares)
    labels = [label for *_, label in mixed]
    assert first == [label for number, label in enumerate(labels) if number % 4 < 2]
    assert second == [label for number, label in enumerate(labels) if number % 4 >= 2]


def test_files_and_records_give_the_same_samples(root, written):
    settings = {"training": True, "repeat": True, "crop_size": 9, "rare_classes": 1}
    samples = stream("folder", "train", data_dir=root, **settings)
    assert stream("folder", "train", data_dir=written, **settings) == samples
    assert samples != stream("folder", "train", data_dir=root, **settings | {"rare_classes": 0})


def test_positions_are_those_of_classes_and_not_of_stored_values():
    """Value 9 stands for class 1, and value 1 for class 0."""
    label = np.ones((30, 30), np.uint8)
    label[11, 23] = 9
    data = in_memory(painted([label, np.ones((30, 30), np.uint8)]), classes=2, coding=Coding({1: 0, 9: 1}))
    positions = sample_labels(data, "train", None).positions
    assert positions.pixel_counts.tolist() == [1799, 1]
    assert (positions.images[-1], set(positions.pixels[-1].tolist())) == (1 - 1, {11 * 30 + 23})


class Broken(InMemory):
    def pixels(self):
        raise InputError("The file is broken. Received: x")


def test_an_image_of_the_same_class_replaces_an_unusable_one(data, positions):
    """Class 3 is in images 3 and 4. The label of image 4 cannot be read when the classes are looked for."""
    files = data.find("train")
    skip = {"rare_classes": 1, "on_error": Skipped(0.5)}
    broken = replace(data, find=lambda _: [*files[:3], (Broken(None), files[3][1]), *files[4:]])
    samples = list(load_dataset(broken, "train", positions=positions, **PLAIN, **skip).take(40).as_numpy_iterator())
    numbers = np.array(indices(range(40), 6, 0, rare_classes=1, positions=positions))
    assert (numbers == 3).sum() > 5
    for number, (image, label) in zip(numbers, samples, strict=True):
        assert image[label != 255][0, 0] == (4 if number == 3 else number)
        assert number != 3 or (label == 3).any()

    broken = replace(data, find=lambda _: [*files[:4], (files[4][0], Broken(None)), *files[5:]])
    samples = load_dataset(broken, "train", **PLAIN, **skip).take(40).as_numpy_iterator()
    assert {int(image[label != 255][0, 0]) for image, label in samples} == {0, 1, 2, 3}


def test_labels_without_classes_give_ordinary_samples():
    void = in_memory(painted([np.full((20, 20), 255, np.uint8)] * 3), classes=2)
    settings = {"training": True, "repeat": True, "crop_size": 16}
    assert stream(void, "train", rare_classes=1, **settings) == stream(void, "train", **settings)
    assert sample_labels(void, "train", None).positions.probabilities.tolist() == [0, 0]


def test_all_labels_of_the_training_split_are_looked_at(monkeypatch, data, labels, positions):
    monkeypatch.setattr(data_checks, "SURVEYED", 2)
    assert data_checks.survey(data, ["train"]).positions is None
    report = data_checks.survey(data, ["train"], positions_in="train")
    assert report.splits[0].images == 6
    for name in ("pixel_counts", "classes", "images", "pixels"):
        np.testing.assert_array_equal(getattr(report.positions, name), getattr(positions, name))


def test_positions_are_stored(tmp_path, positions):
    positions.save(tmp_path / "positions.npz")
    loaded = ClassPositions.load(tmp_path / "positions.npz")
    assert vars(loaded).keys() == {"split_size", "pixel_counts", "classes", "images", "pixels"}
    for name, value in vars(loaded).items():
        np.testing.assert_array_equal(value, getattr(positions, name))
        assert np.asarray(value).dtype == np.asarray(getattr(positions, name)).dtype
    whole = (tmp_path / "positions.npz").read_bytes()
    middle = len(whole) // 2
    for content in (b"", whole[:-50], whole[:middle] + b"????" + whole[middle + 4 :]):
        (tmp_path / "positions.npz").write_bytes(content)
        assert "Remove the file" in refused(ClassPositions.load, tmp_path / "positions.npz")


def test_positions_of_other_images_are_refused(positions):
    fewer = in_memory(painted([np.zeros((9, 9), np.uint8)] * 5), classes=5)
    message = refused(load_dataset, fewer, "train", training=True, rare_classes=1, positions=positions)
    assert message.startswith("The positions of classes were found in a split of 6 images")
    smaller = in_memory(painted([np.zeros((2, 2), np.uint8)] * 6), classes=5)
    with pytest.raises(InputError, match="An image is smaller than when the positions"), readable_errors():
        next(iter(load_dataset(smaller, "train", rare_classes=1, positions=positions, **PLAIN)))
