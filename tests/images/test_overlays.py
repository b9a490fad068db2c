"""Pictures, pixel by pixel."""

from types import SimpleNamespace

import numpy as np

from keras_crosscoop.data import dataset
from keras_crosscoop.evaluation import draw_examples, draw_overlay
from keras_crosscoop.images.io import read_image
from keras_crosscoop.images.overlays import OPACITY, add_legend, colorize
from keras_crosscoop.images.palettes import CLEAR, VOID_COLOUR

CLASSES = ("road", "sky", "car")
PALETTE = ((10, 20, 30), (0, 0, 250), (200, 0, 0))


def test_colours_follow_the_palette_and_void_is_as_in_label_files():
    ids = np.array([[0, 1], [2, 255]], np.uint8)
    np.testing.assert_array_equal(colorize(ids, PALETTE), [[PALETTE[0], PALETTE[1]], [PALETTE[2], VOID_COLOUR]])


def test_an_overlay_mixes_image_and_colours_above_a_legend_of_what_occurs():
    image = np.full((100, 300, 3), 100, np.uint8)
    ids = np.zeros((100, 300), np.uint8)
    ids[:, 150:] = 2

    picture = np.asarray(draw_overlay(image, ids, CLASSES, PALETTE))

    expected = np.round((1 - OPACITY) * 100 + OPACITY * np.array(PALETTE))
    np.testing.assert_array_equal(picture[:100, :150], np.broadcast_to(expected[0], (100, 150, 3)))
    np.testing.assert_array_equal(picture[:100, 150:], np.broadcast_to(expected[2], (100, 150, 3)))
    legend = {tuple(pixel) for row in picture[100:] for pixel in row}
    assert {PALETTE[0], PALETTE[2]} <= legend
    assert PALETTE[1] not in legend


def test_a_class_that_is_not_drawn_is_chequered_in_the_legend():
    """Black in a picture of the classes' colours alone; nothing in an overlay."""
    image, ids = np.full((100, 300, 3), 100, np.uint8), np.zeros((100, 300), np.uint8)
    picture = np.asarray(draw_overlay(image, ids, ["background"], [CLEAR]))
    assert (picture[:100] == image).all()
    filled = np.asarray(add_legend(image, [0], ["background"], [CLEAR]))
    (rows, columns) = np.nonzero((filled[100:, :40] == 0).all(-1))  # the square, left of the text
    square = np.s_[100 + rows.min() + 1 : 100 + rows.max(), columns.min() + 1 : columns.max()]
    assert (filled[square] == 0).all()
    assert {(255, 255, 255), (192, 192, 192)} <= {tuple(pixel) for row in picture[square].tolist() for pixel in row}
    drawn = np.asarray(draw_overlay(image, ids, ["road"], [(9, 0, 0)]))
    assert (drawn[square] == (9, 0, 0)).all()


def test_a_legend_wraps_rather_than_runs_out_of_the_picture():
    ids = np.arange(12, dtype=np.uint8).reshape(1, 12).repeat(20, 0)
    names = [f"a rather long class name {i}" for i in range(12)]
    narrow = draw_overlay(np.zeros((20, 12, 3), np.uint8), ids, names, PALETTE * 4)
    wide = draw_overlay(np.zeros((20, 12, 3), np.uint8), ids[:, :1].repeat(12, 1), names, PALETTE * 4)
    assert narrow.height - 20 > 10 * (wide.height - 20) / 2


def test_examples_show_image_truth_and_prediction(make_folder, tmp_path):
    """Also for an image with the longest possible file name."""
    root = make_folder()
    ids = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 3
    inference = SimpleNamespace(classes=lambda image: {"top": None, "ensemble": ids})
    for kind in ("images", "masks"):
        (root / kind / "val/001.png").rename(root / kind / "val" / f"{'n' * 251}.png")
    data = dataset("folder", root)
    draw_examples(inference, data, "val", tmp_path / "pictures")
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["0000_000.png", f"0001_{'n' * 50}.png"]
    image, truth = data.read(*data.pairs("val")[0])
    picture = read_image(tmp_path / "pictures/0000_000.png")[:24]
    expected = [image, colorize(truth, data.palette), colorize(ids, data.palette)]
    np.testing.assert_array_equal(picture, np.concatenate(expected, axis=1))
