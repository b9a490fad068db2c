"""The data set that is drawn."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import folder, street_scenes
from keras_crosscoop.data.street_scenes import CLASSES, PALETTE, draw_scene
from keras_crosscoop.data.street_scenes.cars import car
from keras_crosscoop.data.street_scenes.drawing import Camera, Canvas, Light
from keras_crosscoop.errors import InputError
from keras_crosscoop.labels import IGNORE_LABEL

CAMERA = Camera(focal=400, u=128, v=96, x=0, y=1.5, bend=0, hill=0)
NOON = Light((0, 0, 0), (0, 0, 0), (1, 1, 1), direct=0, haze=0, lamps=0, clouds=0, sun=(1, 0))


@pytest.fixture(scope="module")
def scenes():
    """Images `(N, H, W, 3)` and labels `(N, H, W)` of some scenes."""
    images, labels = zip(*(draw_scene((7, number)) for number in range(24)), strict=True)
    return np.stack(images), np.stack(labels)


@pytest.fixture
def few(monkeypatch):
    """A data set of five images."""
    monkeypatch.setattr(street_scenes, "SPLITS", {"train": 3, "val": 2})


def canvas(light=NOON, camera=CAMERA):
    return Canvas((128, 96), CLASSES, camera, light, np.random.default_rng(0))


def square(left, right, z=10.0):
    """As tall as the picture."""
    return [(left, -9, z), (right, -9, z), (right, 9, z), (left, 9, z)]


def everything_below(directory):
    return {path.relative_to(directory): path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_one_seed_gives_the_same_bits_in_every_process():
    script = (
        "import hashlib; from keras_crosscoop.data.street_scenes import draw_scene;"
        "print(hashlib.sha256(b''.join(array.tobytes() for array in draw_scene((3, 1)))).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5", "TF_CPP_MIN_LOG_LEVEL": "3"}
    other = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(array.tobytes() for array in draw_scene((3, 1)))).hexdigest()
    assert other.stdout.split()[-1] == here


def test_other_seeds_give_other_scenes(scenes):
    for arrays in scenes:
        assert len({array.tobytes() for array in arrays}) == len(arrays)
    assert np.array_equal(draw_scene(11)[0], draw_scene([11])[0])


def test_size_is_an_argument():
    """Odd ones too; the picture fills it."""
    image, label = draw_scene(0, height=97, width=163)
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((97, 163, 3), np.uint8, (97, 163), np.uint8)
    assert set(label[0]) & {CLASSES.index("sky"), CLASSES.index("building"), CLASSES.index("tree")}
    assert (label[-8:] == CLASSES.index("road")).mean() > 0.4
    assert len(np.unique(label)) > 8


def test_every_class_is_frequent_enough_to_learn(scenes):
    _, labels = scenes
    assert set(np.unique(labels)) == {*range(len(CLASSES)), IGNORE_LABEL}
    for index, name in enumerate(CLASSES):
        share = (labels == index).mean(axis=(1, 2))
        assert (share > 0.001).mean() >= 0.25, name
        assert share.mean() > 0.004, name


def test_classes_lie_where_they_do_in_a_street(scenes):
    """Sky above, road below, buildings higher than cars."""
    _, labels = scenes
    rows = np.arange(labels.shape[1])[None, :, None]
    height = {name: np.broadcast_to(rows, labels.shape)[labels == index].mean() for index, name in enumerate(CLASSES)}
    assert height["sky"] < height["building"] < height["car"] < height["road"]
    assert height["traffic sign"] < height["person"] < height["lane marking"]


def test_void_is_a_thin_border(scenes):
    """Its share is small, and few of its pixels are more than 2 pixels from something known."""
    _, labels = scenes
    void = labels == IGNORE_LABEL
    assert 0.03 < void.mean() < 0.12
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
    """The commonest class of each colour, of 512, on the very images it was counted on, is no segmentation."""
    images, labels = scenes
    known = labels != IGNORE_LABEL
    colour = (images[known] // 32).astype(int) @ (64, 8, 1)
    truth = labels[known].astype(int)
    votes = np.zeros((512, len(CLASSES)), int)
    np.add.at(votes, (colour, truth), 1)
    guess = votes.argmax(1)[colour]
    ious = [((guess == c) & (truth == c)).sum() / ((guess == c) | (truth == c)).sum() for c in range(len(CLASSES))]
    assert np.mean(ious) < 0.35


def test_image_and_label_agree_to_the_pixel():
    """What is red in the image is what the label calls a car; all else is the black sky, or void."""
    drawing = canvas()
    drawing.begin("car", thing=True)
    drawing.fill([(-1.1, 0.2, 8), (0.7, -0.1, 8), (1.3, 2.3, 8), (-0.4, 3.1, 8)], (250, 0, 0))
    image, label = drawing.develop()
    car_id, sky_id = CLASSES.index("car"), CLASSES.index("sky")
    assert (image[label == car_id, 0] > 150).all()
    assert (image[label == sky_id, 0] < 80).all()
    assert (label == car_id).sum() > 1500


def test_what_is_painted_later_hides_what_was_there():
    drawing = canvas()
    for name, left, right in (("building", -9, 0.5), ("tree", -1, 9)):
        drawing.begin(name)
        drawing.fill(square(left, right), (100, 100, 100))
    _, label = drawing.develop()
    row = label[48]
    assert set(row) == {CLASSES.index("building"), CLASSES.index("tree"), IGNORE_LABEL}
    # x = -1 at z = 10 projects to column 128 - 400 / 10 = 88, which is 44 at the final size; the border lies behind
    np.testing.assert_array_equal(row[42:46], [CLASSES.index("building"), IGNORE_LABEL, *[CLASSES.index("tree")] * 2])


@pytest.mark.parametrize(("name", "thing", "bordered"), [("car", True, True), ("building", False, False)])
def test_only_things_have_borders_against_their_own_class(name, thing, bordered):
    drawing = canvas()
    for left, right in ((-9, 0.5), (-1, 9)):
        drawing.begin(name, thing=thing)
        drawing.fill(square(left, right), (100, 100, 100))
    assert (IGNORE_LABEL in drawing.develop()[1]) is bordered


def test_thin_things_keep_their_width_within_the_border():
    """A pole of 3 final pixels stays 3 pixels of pole: its border lies outside."""
    drawing = canvas()
    drawing.begin("pole", thing=True)
    drawing.fill(square(0, 0.14), (100, 100, 100))  # columns 128 to 133.6 of the canvas
    row = drawing.develop()[1][48]
    assert (row == CLASSES.index("pole")).sum() == 3
    assert 2 <= (row == IGNORE_LABEL).sum() <= 3


def test_camera_is_a_pinhole():
    """Twice as far is half as far from the vanishing point; a bend moves points by the square of their distance."""
    assert CAMERA.project([(2, 1.5, 10), (2, 1.5, 20), (0, 0, 10)]) == [(208, 96), (168, 96), (128, 156)]
    bent = Camera(focal=400, u=128, v=96, x=0, y=1.5, bend=0.01, hill=0.001)
    assert bent.project([(0, 1.5, 10)]) == [(128 + 40, 96 - 4)]


def test_haze_takes_things_to_the_colour_of_the_horizon():
    hazy = Light((0, 0, 0), (0, 0, 250), (1, 1, 1), direct=0, haze=0.05, lamps=0, clouds=0, sun=(1, 0))
    blue = []
    for z in (5.0, 20.0, 80.0):
        drawing = canvas(hazy)
        drawing.begin("car")
        drawing.fill(square(-20, 20, z), (200, 0, 0))
        blue.append(np.asarray(drawing.image)[96, 128, 2] / 250)
    np.testing.assert_allclose(blue, 1 - np.exp(-0.05 * np.array([5, 20, 80])), atol=0.01)


@pytest.mark.parametrize(("heading", "lamps"), [(0.0, "rear"), (np.pi, "front")])
def test_cars_show_the_end_that_faces_the_camera(heading, lamps):
    """Red lamps from behind; bright ones, at night, from the front."""
    dusk = Light((0, 0, 0), (0, 0, 0), (0.2, 0.2, 0.2), direct=0, haze=0, lamps=1, clouds=0, sun=(1, 0))
    drawing = canvas(dusk)
    car(drawing, 0, 8, heading)
    pixels = np.asarray(drawing.image).reshape(-1, 3).astype(int)
    red = ((pixels[:, 0] > 150) & (pixels[:, 1] < 40)).sum()
    white = (pixels.min(axis=1) > 190).sum()
    assert (red > 50, white > 50) == (lamps == "rear", lamps == "front")


def test_palette_tells_all_classes_apart():
    assert len(CLASSES) == len(set(CLASSES)) == len(PALETTE) == 12
    distances = np.abs(np.array(PALETTE)[:, None] - np.array(PALETTE)).sum(-1)
    assert distances[np.triu_indices(12, 1)].min() > 60


def test_write_gives_the_layout_of_a_folder_data_set(few, tmp_path):
    directory = tmp_path / "new" / "scenes"
    street_scenes.write(directory)
    names = {"train": ("0000.png", "0001.png", "0002.png"), "val": ("0000.png", "0001.png")}
    assert {str(path) for path in everything_below(directory)} == {
        "classes.txt",
        *(f"{kind}/{split}/{name}" for kind in ("images", "masks") for split in names for name in names[split]),
    }
    assert (directory / "classes.txt").read_text().splitlines()[1] == "lane marking #ffffff"
    data = folder.open(directory)
    assert (data.classes, data.palette, set(data.splits)) == (CLASSES, PALETTE, {"train", "val"})
    seen = set()
    for split in names:
        for image_path, mask_path in data.pairs(split):
            image, mask = Image.open(image_path), Image.open(mask_path)
            assert (image.mode, mask.mode) == ("RGB", "P")
            label = np.asarray(mask)
            assert set(np.unique(label)) <= {*range(12), IGNORE_LABEL}
            colours = np.asarray(mask.convert("RGB"))
            np.testing.assert_array_equal(
                colours[label != IGNORE_LABEL], np.array(PALETTE)[label[label != IGNORE_LABEL]]
            )
            seen.add(np.asarray(image).tobytes())
    assert len(seen) == 5  # train and val share no scene
    expected_image, expected_label = draw_scene((0, 2))
    np.testing.assert_array_equal(np.asarray(Image.open(directory / "images/train/0002.png")), expected_image)
    np.testing.assert_array_equal(np.asarray(Image.open(directory / "masks/train/0002.png")), expected_label)


def test_write_leaves_a_complete_set_alone(few, tmp_path, monkeypatch):
    street_scenes.write(tmp_path / "scenes")
    before = everything_below(tmp_path)
    monkeypatch.setattr(street_scenes, "draw_scene", None)
    street_scenes.write(tmp_path / "scenes")
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_nothing_behind(few, tmp_path, monkeypatch, failure):
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


def test_of_two_writers_at_once_both_succeed(few, tmp_path, monkeypatch):
    """The other one finishes while this one still draws."""

    def draw(seed):
        if seed == (1, 1):
            monkeypatch.setattr(street_scenes, "draw_scene", draw_scene)
            street_scenes.write(tmp_path / "scenes")
        return draw_scene(seed)

    monkeypatch.setattr(street_scenes, "draw_scene", draw)
    street_scenes.write(tmp_path / "scenes")
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
    assert len(folder.open(tmp_path / "scenes").pairs("train")) == 3


def test_write_touches_no_other_files(few, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other files. Name another. Received: "):
        street_scenes.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_write_fills_an_empty_folder(few, tmp_path):
    street_scenes.write(tmp_path)
    assert len(list((tmp_path / "images" / "train").iterdir())) == 3
