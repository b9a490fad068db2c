"""The data set that is drawn."""

import random

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import dataset, street_scenes
from keras_crosscoop.data.street_scenes import CLASSES, PALETTE, draw_scene
from keras_crosscoop.data.street_scenes.canvas import Canvas
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL


@pytest.fixture(scope="module")
def scenes():
    """Images `(N, H, W, 3)` and labels `(N, H, W)` of some scenes."""
    images, labels = zip(*(draw_scene((7, number)) for number in range(16)), strict=True)
    return np.stack(images), np.stack(labels)


@pytest.fixture
def small_set(monkeypatch):
    """A data set of five small images."""
    monkeypatch.setattr(street_scenes, "SPLITS", {"train": 3, "val": 2})
    monkeypatch.setattr(street_scenes, "draw_scene", lambda seed: draw_scene(seed, 48, 64))


@pytest.fixture
def canvas():
    """A canvas of 96x128 pixels at noon, with a camera in the middle of a straight and level street, without haze."""
    canvas = Canvas(96, 128, CLASSES, 0)
    vars(canvas).update(focal=400, u=128, v=96, x=0, y=1.5, bend=0, hill=0, haze=0, lamps=0, tint=(1, 1, 1))
    vars(canvas).update(zenith=(0, 0, 0), horizon=(0, 0, 250), clouds=-9)
    return canvas


def square(left, right, z=10.0):
    """As tall as the image."""
    return [(left, -9, z), (right, -9, z), (right, 9, z), (left, 9, z)]


def test_a_seed_alone_decides_the_scene(scenes):
    """Not the state of the global generators, and not the scenes drawn before."""
    random.seed(5)
    np.random.seed(5)
    for drawn, expected in zip(draw_scene((7, 3)), scenes, strict=True):
        np.testing.assert_array_equal(drawn, expected[3])


def test_other_seeds_give_other_scenes(scenes):
    for arrays in scenes:
        assert len({array.tobytes() for array in arrays}) == len(arrays)


def test_size_is_an_argument():
    """Odd sizes too; the drawing fills the image."""
    image, label = draw_scene(0, height=97, width=163)
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((97, 163, 3), np.uint8, (97, 163), np.uint8)
    assert set(label[0]) & {CLASSES.index("sky"), CLASSES.index("building"), CLASSES.index("tree")}
    assert (label[-8:] == CLASSES.index("road")).mean() > 0.4


def test_classes_are_as_frequent_as_documented(scenes):
    """Each class is in a quarter of the images or more; shares in percent were measured over 400 images."""
    _, labels = scenes
    expected = dict(zip(CLASSES, (29, 2, 3.4, 14, 1.7, 2.5, 1.8, 5.2, 1.7, 20, 0.9, 7), strict=True))
    assert set(np.unique(labels)) == {*range(len(CLASSES)), IGNORE_LABEL}
    for index, name in enumerate(CLASSES):
        share = (labels == index).mean(axis=(1, 2))
        assert (share > 0.001).mean() >= 0.25, name
        assert 0.3 < 100 * share.mean() / expected[name] < 2.2, name


def test_classes_lie_where_they_do_in_a_street(scenes):
    """Sky above, road below, buildings higher than cars."""
    _, labels = scenes
    rows = np.arange(labels.shape[1])[None, :, None]
    height = {name: np.broadcast_to(rows, labels.shape)[labels == index].mean() for index, name in enumerate(CLASSES)}
    assert height["sky"] < height["building"] < height["car"] < height["road"]
    assert height["traffic sign"] < height["person"] < height["lane marking"]


def test_void_is_a_thin_border(scenes):
    """Few of its pixels are more than 2 pixels from a class."""
    void = scenes[1] == IGNORE_LABEL
    assert 0.05 < void.mean() < 0.13
    inner = np.pad(void, ((0, 0), (2, 2), (2, 2)), constant_values=True)
    inside = np.lib.stride_tricks.sliding_window_view(inner, (5, 5), axis=(1, 2)).all(axis=(-2, -1))
    assert inside.sum() < 0.01 * void.sum()


def test_borders_of_the_label_are_edges_of_the_image(scenes):
    """Neighbouring pixels differ more across a border than elsewhere, and less so if the label is moved."""
    images, labels = scenes
    steps = np.abs(np.diff(images.astype(float), axis=2)).mean(-1)

    def contrast(labels):
        across = (labels[:, :, 1:] == IGNORE_LABEL) | (labels[:, :, :-1] == IGNORE_LABEL)
        return steps[across].mean() / steps[~across].mean()

    assert contrast(labels) > 1.7
    for shift in (-6, 6):
        assert contrast(np.roll(labels, shift, axis=2)) < 0.8 * contrast(labels)


def test_colour_does_not_tell_the_class(scenes):
    """The commonest class of each of 512 colours, counted on the same images, is no segmentation."""
    images, labels = scenes
    known = labels != IGNORE_LABEL
    colour, truth = (images[known] // 32).astype(int) @ (64, 8, 1), labels[known].astype(int)
    votes = np.zeros((512, len(CLASSES)), int)
    np.add.at(votes, (colour, truth), 1)
    guess = votes.argmax(1)[colour]
    ious = [((guess == c) & (truth == c)).sum() / ((guess == c) | (truth == c)).sum() for c in range(len(CLASSES))]
    assert np.mean(ious) < 0.35


def test_image_and_label_agree_to_the_pixel(canvas):
    """The red pixels are the car's; all others are dark sky or void."""
    canvas.begin("car")
    canvas.fill([(-1.1, 0.2, 8), (0.7, -0.1, 8), (1.3, 2.3, 8), (-0.4, 3.1, 8)], (250, 0, 0))
    image, label = canvas.develop()
    assert (image[label == CLASSES.index("car"), 0] > 110).all()
    assert (image[label == CLASSES.index("sky"), 0] < 80).all()
    assert (label == CLASSES.index("car")).sum() > 1500


def test_later_polygons_hide_earlier_ones(canvas):
    """The void border lies on the hidden side of an outline."""
    for name, left, right in (("building", -9, 0.5), ("tree", -1, 9)):
        canvas.begin(name)
        canvas.fill(square(left, right), (100, 100, 100))
    row = canvas.develop()[1][48]
    # x = -1 at z = 10 projects to column 128 - 400 / 10 = 88, which is 44 at the final size
    np.testing.assert_array_equal(row[42:46], [CLASSES.index("building"), IGNORE_LABEL, *[CLASSES.index("tree")] * 2])
    assert set(row) == {CLASSES.index("building"), CLASSES.index("tree"), IGNORE_LABEL}


@pytest.mark.parametrize(("name", "bordered"), [("car", True), ("building", False)])
def test_only_countable_objects_have_borders_against_their_own_class(canvas, name, bordered):
    for left, right in ((-9, 0.5), (-1, 9)):
        canvas.begin(name)
        canvas.fill(square(left, right), (100, 100, 100))
    assert (IGNORE_LABEL in canvas.develop()[1]) is bordered


def test_thin_objects_keep_their_width(canvas):
    canvas.begin("pole")
    canvas.fill(square(0, 0.14), (100, 100, 100))  # columns 128 to 133.6 of the canvas
    row = canvas.develop()[1][48]
    assert (row == CLASSES.index("pole")).sum() == 3
    assert 2 <= (row == IGNORE_LABEL).sum() <= 3


def test_camera_is_a_pinhole(canvas):
    """Twice as far is half as far from the vanishing point; a bend moves points by the square of their distance."""
    assert canvas.project([(2, 1.5, 10), (2, 1.5, 20), (0, 0, 10)]) == [(208, 96), (168, 96), (128, 156)]
    canvas.bend, canvas.hill = 0.01, 0.001
    assert canvas.project([(0, 1.5, 10)]) == [(128 + 40, 96 - 4)]


def test_haze_mixes_objects_with_the_colour_of_the_horizon(canvas, monkeypatch):
    """As exp(-haze * distance); seen without texture and exposure."""
    canvas.haze = 0.05
    for z, left in ((5.0, -9), (20.0, -1), (80.0, 3)):
        canvas.begin("car")
        canvas.fill(square(left, 9, z), (200, 0, 0))
    monkeypatch.setattr(canvas, "_noise", lambda shape, cell: np.zeros(shape, np.float32))
    monkeypatch.setattr(canvas, "_expose", lambda image: image)
    image, _ = canvas.develop()
    np.testing.assert_allclose(image[48, [5, 60, 80], 2] / 250, 1 - np.exp(-0.05 * np.array([5, 20, 80])), atol=0.01)


def test_write_gives_the_layout_of_a_folder_data_set(small_set, tmp_path):
    directory = tmp_path / "new" / "scenes"
    street_scenes.write(directory)
    names = {"train": ("0000.png", "0001.png", "0002.png"), "val": ("0000.png", "0001.png")}
    assert {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()} == {
        "classes.txt",
        *(f"{kind}/{split}/{name}" for kind in ("images", "masks") for split in names for name in names[split]),
    }
    assert (directory / "classes.txt").read_text().splitlines()[1] == "lane marking #ffffff"
    data = dataset("folder", directory)
    assert (data.classes, data.palette, set(data.splits)) == (CLASSES, PALETTE, {"train", "val"})
    scenes = set()
    for index, split in enumerate(("train", "val")):
        for number, (image_path, mask_path) in enumerate(data.pairs(split)):
            image, mask = Image.open(image_path), Image.open(mask_path)
            assert (image.mode, mask.mode) == ("RGB", "P")
            expected_image, label = draw_scene((index, number), 48, 64)
            np.testing.assert_array_equal(np.asarray(image), expected_image)
            np.testing.assert_array_equal(np.asarray(mask), label)
            colours = np.asarray(mask.convert("RGB"))
            np.testing.assert_array_equal(
                colours[label != IGNORE_LABEL], np.array(PALETTE)[label[label != IGNORE_LABEL]]
            )
            scenes.add(np.asarray(image).tobytes())
    assert len(scenes) == 5  # train and val share no scene


def test_palette_tells_all_classes_apart():
    assert len(CLASSES) == len(set(CLASSES)) == len(PALETTE) == 12
    distances = np.abs(np.array(PALETTE)[:, None] - np.array(PALETTE)).sum(-1)
    assert distances[np.triu_indices(12, 1)].min() > 60


def test_write_leaves_a_complete_set_alone_and_refuses_an_incomplete_one(small_set, tmp_path, monkeypatch):
    street_scenes.write(tmp_path)
    monkeypatch.setattr(street_scenes, "draw_scene", None)
    street_scenes.write(tmp_path)
    (tmp_path / "masks" / "val" / "0001.png").unlink()
    with pytest.raises(InputError, match=r"holds other files. Name another folder. Received: "):
        street_scenes.write(tmp_path)
    assert (tmp_path / "images" / "val" / "0001.png").is_file()


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_nothing_behind(small_set, tmp_path, monkeypatch, failure):
    def draw(seed):
        if seed == (1, 0):
            raise failure
        return draw_scene(seed, 24, 32)

    monkeypatch.setattr(street_scenes, "draw_scene", draw)
    with pytest.raises((KeyboardInterrupt, InputError)) as caught:
        street_scenes.write(tmp_path / "scenes")
    assert list(tmp_path.iterdir()) == []
    if caught.type is InputError:
        assert f"No space left on device. Received: {tmp_path / 'scenes'}" in str(caught.value)


def test_of_two_writers_at_once_both_succeed(small_set, tmp_path, monkeypatch):
    """The other one finishes while this one still draws."""
    draw = street_scenes.draw_scene

    def draw_slowly(seed):
        if seed == (1, 1):
            monkeypatch.setattr(street_scenes, "draw_scene", draw)
            street_scenes.write(tmp_path / "scenes")
        return draw(seed)

    monkeypatch.setattr(street_scenes, "draw_scene", draw_slowly)
    street_scenes.write(tmp_path / "scenes")
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
    assert len(dataset("folder", tmp_path / "scenes").pairs("train")) == 3
