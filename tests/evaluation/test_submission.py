"""Predictions in the format of evaluation servers; test_cityscapes_official.py has that of Cityscapes."""

import numpy as np
import pytest
from data.layouts import write_cityscapes, write_voc
from helpers import refused
from networks import LinearNetwork
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.evaluation import SubmissionWriter, evaluate
from keras_crosscoop.images.palettes import voc_palette


def test_voc_2012_follows_its_development_kit(tmp_path):
    """Section 4.2 of the kit's guidelines: results/VOC2012/Segmentation/comp5_test_cls/IMAGE.png, of indices."""
    data = dataset("voc2012", write_voc(tmp_path / "voc"))
    writer = SubmissionWriter(tmp_path / "out", data, "val")
    ids = np.arange(21, dtype=np.uint8).reshape(3, 7)
    for image, _ in data.pairs("val"):
        writer.write(image, ids)
        path = tmp_path / f"out/results/VOC2012/Segmentation/comp5_val_cls/{image.stem}.png"
        with Image.open(path) as written:
            assert written.mode == "P"
            assert written.getpalette()[: 3 * 21] == [value for colour in voc_palette(21) for value in colour]
            np.testing.assert_array_equal(np.asarray(written), ids)


@pytest.fixture
def folder(make_folder):
    """A data set whose split `test` has images and no masks."""
    root = make_folder()
    (root / "images/test/more").mkdir(parents=True)
    for name in ("b.png", "more/a.png"):
        (root / "images/test" / name).write_bytes((root / "images/val/000.png").read_bytes())
    return dataset("folder", root)


def test_other_data_sets_get_palette_images(folder, tmp_path):
    model = LinearNetwork()
    evaluate(model, folder, "val", submission=SubmissionWriter(tmp_path / "out", folder, "val"))
    for pair in folder.pairs("val"):
        image, _ = folder.read(*pair)
        written = np.asarray(Image.open(tmp_path / "out" / pair[0].name))
        np.testing.assert_array_equal(written, model.classes(image)["ensemble"])


def test_existing_files_are_overwritten_only_by_force(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/001.png").write_text("mine")
    assert "--force" in refused(SubmissionWriter, tmp_path / "out", folder, "val")
    SubmissionWriter(tmp_path / "out", folder, "val", force=True)
    assert (tmp_path / "out/001.png").read_text() == "mine"


def test_two_images_with_the_same_name_are_refused(make_folder, tmp_path):
    root = make_folder()
    for kind in ("images", "masks"):
        (root / kind / "val/more").mkdir()
        (root / kind / "val/more/000.png").write_bytes((root / kind / "val/000.png").read_bytes())
    message = refused(SubmissionWriter, tmp_path / "out", dataset("folder", root), "val")
    assert message.startswith(f"Two images have the same prediction file, {tmp_path / 'out/000.png'}.")


@pytest.mark.parametrize("name", ["folder", "cityscapes"])
def test_a_split_without_labels_has_predictions_and_no_metrics(name, folder, tmp_path):
    data, model = folder, LinearNetwork()
    if name == "cityscapes":
        data = dataset(name, write_cityscapes(tmp_path / "cityscapes", val=1, test=2))
        model = LinearNetwork(num_classes=19)
    assert "--save-predictions" in refused(evaluate, model, data, "test")
    metrics = evaluate(model, data, "test", submission=SubmissionWriter(tmp_path / "out", data, "test"))
    assert (metrics["images"], metrics["outputs"]) == (2, {})
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
