"""`crosscoop-tf predict`: files in, files out, and the messages about failures."""

import inspect
import itertools
import os

import numpy as np
import pytest
from crosscoop_tf.predict import predict
from networks import brightness_network
from PIL import Image

from keras_crosscoop.evaluation import Inference
from keras_crosscoop.evaluation.file_predictor import FilePredictor
from keras_crosscoop.images.io import read_image, read_label


@pytest.fixture
def photos(halves, tmp_path):
    """Three images in `photos`, two with the same name."""
    for source, target in (("0.png", "a.png"), ("1.png", "x/a.png"), ("2.png", "x/b.png")):
        (tmp_path / "photos" / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / target).write_bytes((halves / "images/val" / source).read_bytes())
    return tmp_path / "photos"


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_ids_and_an_overlay_are_written(crosscoop, stub_run, photos, tmp_path):
    code, out, err = crosscoop("predict", stub_run, "photos", "--output", "out")
    assert (code, out, err) == (0, "Pictures: out\n", "")
    assert written(tmp_path / "out") == ["a.png", "a_overlay.png"] + [
        f"x/{stem}{ending}" for stem in "ab" for ending in (".png", "_overlay.png")
    ]
    for name in ("a.png", "x/a.png", "x/b.png"):
        expected = brightness_network().classes(read_image(photos / name))["ensemble"]
        np.testing.assert_array_equal(read_label(tmp_path / "out" / name), expected)
    with Image.open(tmp_path / "out/a.png") as ids:
        assert ids.mode == "P"
        assert ids.getpalette()[:6] == [0x10, 0x20, 0x30, 0xF0, 0xE0, 0xD0]


def test_options_reach_the_inference(crosscoop, stub_run, photos, tmp_path):
    options = ("--window=24", "--overlap=0.5", "--scales=0.75,1", "--flip", "--output-head=top", "--probabilities")
    assert crosscoop("predict", stub_run, "photos/*.png", "--output=out", "--no-overlay", *options).code == 0
    assert written(tmp_path / "out") == ["a.npz", "a.png"]
    inference = Inference(brightness_network(), window=24, overlap=0.5, scales=(0.75, 1), flip=True)
    expected = inference(read_image(photos / "a.png"))["top"]
    with np.load(tmp_path / "out/a.npz") as saved:
        assert list(saved["classes"]) == ["dark", "bright"]
        np.testing.assert_allclose(saved["probabilities"], expected, atol=1e-3)


def test_defaults_are_those_of_inference():
    options = predict.make_context("predict", ["run", "photo.png", "--output=out"]).params
    of_inference = inspect.signature(Inference).parameters
    for name in ("window", "overlap", "scales", "flip"):
        assert options[name] == of_inference[name].default


@pytest.mark.parametrize("scales", ["1,x", "", "0.5;1", "1,,2"])
def test_scales_are_numbers(crosscoop, stub_run, photos, scales):
    code, _, err = crosscoop("predict", stub_run, "photos", "--output=out", f"--scales={scales}")
    assert code == 2
    assert f"such as 0.5,1,1.5. Received: {scales!r}" in err


@pytest.mark.parametrize("options", [["--scales=0,1"], ["--output-head=single"]])
def test_bad_options_leave_nothing(crosscoop, stub_run, photos, tmp_path, options):
    assert crosscoop("predict", stub_run, "photos", "--output=out", *options).code == 2
    assert not (tmp_path / "out").exists()


def test_errors_are_grouped_and_the_other_images_predicted(crosscoop, stub_run, photos, tmp_path):
    whole = (photos / "a.png").read_bytes()
    (photos / "cut[bold].png").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "text2", "text3", "text4"):
        (photos / f"{name}.png").write_text("no image")
    code, _, err = crosscoop("predict", stub_run, "photos", "--output", "out")
    assert code == 1
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("crosscoop-tf: The image cannot be read (")
    assert lines[0].endswith("Received: photos/cut[bold].png")
    assert lines[1].startswith("crosscoop-tf: 4 times: The file is not a readable image")
    assert lines[1].endswith("Received: photos/text.png, photos/text2.png, photos/text3.png and 1 more")
    assert lines[2] == "crosscoop-tf: 5 of 8 could not be segmented, see above."
    assert {name for name in written(tmp_path / "out") if "overlay" not in name} == {"a.png", "x/a.png", "x/b.png"}


def test_errors_are_listed_also_after_ctrl_c(crosscoop, stub_run, photos, monkeypatch):
    (photos / "0.png").write_text("no image")
    predict_files = FilePredictor.__call__

    def stopped(self, sources):
        yield from itertools.islice(predict_files(self, sources), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(FilePredictor, "__call__", stopped)
    code, _, err = crosscoop("predict", stub_run, "photos", "--output", "out")
    assert code == 130
    assert err.splitlines()[0].startswith("crosscoop-tf: The file is not a readable image")
    assert err.splitlines()[0].endswith("Received: photos/0.png")


def test_names_of_any_bytes_are_printed_in_one_line_and_written(crosscoop, stub_run, photos, tmp_path):
    """A line break, a control character, bytes that are not Unicode, and a name as long as the file system allows."""
    good = (photos / "a.png").read_bytes()
    names = ["two\nlines.png", "red\x1b[31m.png", os.fsdecode(b"latin-\xfc.png"), "..png"]
    for name in names:
        (photos / name).write_bytes(good)
        (photos / f"bad {name}").write_text("no image")
    (photos / f"{'n' * 251}.png").write_bytes(good)
    paths = ("photos", "photos/..png", "photos/bad ..png")
    code, out, err = crosscoop("predict", stub_run, *paths, "--output", "out", "--no-overlay")
    assert code == 1
    message, _ = err.splitlines()
    assert message.startswith("crosscoop-tf: 4 times: The file is not a readable image.")
    received = message.rpartition("Received: ")[2]
    assert received == "photos/bad ..png, photos/bad latin-\\udcfc.png, photos/bad red\\x1b[31m.png and 1 more"
    expected = {"a.png", "x/a.png", "x/b.png", *names[:3], "..png.png", f"{'n' * 251}.png"}
    assert set(written(tmp_path / "out")) == expected
    code, out, err = crosscoop("predict", stub_run, "photos", "--output", os.fsdecode(b"\xfc"))
    assert (code, len(err.splitlines())) == (2, 1)
    assert "_overlay.png, is too long for the file system. Rename its source. Received: photos/nnn" in err
    code, out, _ = crosscoop("predict", stub_run, "photos/a.png", "--output", os.fsdecode(b"\xfc"))
    assert (code, out) == (0, "Pictures: \\udcfc\n")
    code, _, err = crosscoop("predict", stub_run, "n" * 300, "--output", "other")
    assert (code, err.startswith("crosscoop-tf: The path is too long")) == (2, True)


def test_an_output_that_is_a_file_is_an_error(crosscoop, stub_run, photos, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, _, err = crosscoop("predict", stub_run, "photos", "--output", "out")
    assert (code, err) == (2, "crosscoop-tf: The folder cannot be made (File exists). Name another. Received: out\n")


def test_a_missing_source_is_an_error_before_anything_is_written(crosscoop, stub_run, photos, tmp_path):
    code, _, err = crosscoop("predict", stub_run, photos, "gone.png", "--output", "out")
    assert code == 2
    assert err.startswith("crosscoop-tf: There is no such file")
    assert err.endswith("Received: gone.png\n")
    assert not (tmp_path / "out").exists()


def test_results_are_overwritten_only_by_force(crosscoop, stub_run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    code, _, err = crosscoop("predict", stub_run, photos / "a.png", "--output", "out")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "out/a.png").read_text() == "mine"
    assert crosscoop("predict", stub_run, photos / "a.png", "--output", "out", "--force").code == 0
    assert read_label(tmp_path / "out/a.png").shape == (32, 48)


def test_a_source_is_never_overwritten(crosscoop, stub_run, photos):
    before = (photos / "a.png").read_bytes()
    code, _, err = crosscoop("predict", stub_run, photos / "a.png", "--output", "photos", "--force")
    assert code == 2
    assert "A prediction would overwrite a source" in err
    assert (photos / "a.png").read_bytes() == before


def test_bombs_are_refused_unread_and_large_scans_are_not(crosscoop, stub_run, photos, tmp_path, monkeypatch):
    """Pillow warns above its limit and refuses above twice the limit; the images have 32x48 pixels."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 48 - 1)
    assert crosscoop("predict", stub_run, "photos", "--output=scans") == (0, "Pictures: scans\n", "")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 48 // 2 - 1)
    code, _, err = crosscoop("predict", stub_run, "photos/a.png", "--output=bombs")
    assert code == 1
    assert (
        err.splitlines()[0]
        == "crosscoop-tf: The image has over 1,534 pixels. Crop or shrink it. Received: photos/a.png"
    )
    assert written(tmp_path / "bombs") == []
