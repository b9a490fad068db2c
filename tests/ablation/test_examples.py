"""The sheet of pictures: what is framed, and in which images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.ablation import examples
from keras_crosscoop.ablation.examples import differing, draw_examples, frames


def test_frames_lie_around_the_largest_regions():
    mask = np.zeros((100, 200), bool)
    mask[10:30, 20:60] = True  # 800 pixels
    mask[60:90, 100:180] = True  # 2400
    mask[30:60, 58:61] = mask[59:62, 58:100] = True  # a thin line from one to the other
    mask[50:54, 5:9] = True  # too small to be framed
    assert frames(mask) == [(100, 60, 180, 90), (20, 10, 60, 30)]


def test_thin_lines_are_not_framed():
    mask = np.zeros((50, 60), bool)
    mask[20:24] = True
    assert frames(mask) == []
    assert frames(np.zeros((4, 4), bool)) == []


@pytest.fixture
def data(tmp_path):
    """Six images of two classes; the networks of `look` disagree in the fourth and, less, in the second."""
    (tmp_path / "classes.txt").write_text("dark #102030\nbright #f0e0d0\n")
    for kind in ("images", "masks"):
        (tmp_path / kind / "val").mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (64, 48), (10 * number, 0, 0)).save(tmp_path / "images" / "val" / f"{number}.png")
        Image.new("L", (64, 48), 0).save(tmp_path / "masks" / "val" / f"{number}.png")
    return dataset("folder", tmp_path)


class Look(NamedTuple):
    """What is taken of `Inference`."""

    classes: Callable[[np.ndarray], dict[str, np.ndarray]]


def look(wrong):
    """A network that sees class 1 on the left of some images: `{number: share of the width}`."""

    def classes(image):
        classes = np.zeros(image.shape[:2], np.uint8)
        classes[:, : int(wrong.get(image[0, 0, 0] // 10, 0) * image.shape[1])] = 1
        return {"top": classes}

    return Look(classes)


def test_the_images_of_most_difference_come_first(data, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "EXAMPLES", 2)
    target = tmp_path / "sheet.png"
    good, bad = look({}), look({1: 0.25, 3: 0.5, 5: 0.125})
    draw_examples(data, "val", {"good": (good, "top"), "bad": (bad, "top")}, target)
    sheet = np.asarray(Image.open(target))
    panel = examples.WIDTH + 4
    height = 48 * examples.WIDTH // 64 + 4
    assert sheet.shape[1] == 4 * panel
    for row, (number, share) in enumerate([(3, 0.5), (1, 0.25)]):
        top = examples._HEAD + row * height
        line = sheet[top + height // 2]  # through the middle: image, truth, good, bad
        assert tuple(line[panel - 8]) == (10 * number, 0, 0)
        assert tuple(line[2 * panel - 8]) == tuple(line[3 * panel - 8]) == (0x10, 0x20, 0x30)
        assert tuple(line[3 * panel + 24]) == (0xF0, 0xE0, 0xD0)
        assert tuple(line[3 * panel + 8 + int(share * 256) + 48]) == (0x10, 0x20, 0x30)


def test_networks_differ_where_some_are_right():
    """All right, one right, all wrong, void."""
    truth = np.array([[0, 0, 0, 255]])
    predictions = {"one": np.array([[0, 0, 1, 0]]), "other": np.array([[0, 1, 1, 1]])}
    np.testing.assert_array_equal(differing(truth, predictions), [[False, True, False, False]])
