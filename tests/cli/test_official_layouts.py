"""VOC 2012 and Cityscapes in the layouts of their makers, through the whole command line."""

import numpy as np
import pytest
from data.layouts import write_cityscapes, write_voc
from helpers import TINY_FIT, untimed

from keras_crosscoop import dataset, load

pytestmark = pytest.mark.slow  # the parts of this way have quick tests of their own

TINY = [option for option in TINY_FIT if not option.startswith("--dataset")]
TINY += ["--batch-size=2", "--epochs=1", "--set=model.decoder_channels=8"]

TREES = {
    "voc2012-mat": lambda root: write_voc(root, sbd="mat"),
    "voc2012-aug": lambda root: write_voc(root, sbd="aug"),
    "cityscapes-folders": lambda root: write_cityscapes(root),
    "cityscapes-zips": lambda root: write_cityscapes(root, zipped=True),
    "cityscapes-coarse": lambda root: write_cityscapes(root, train_extra=3, zipped=True),
}


@pytest.mark.parametrize("tree", TREES)
def test_from_files_to_figures(tree, crosscoop, tmp_path):
    """The recipe of the data set is taken, with a tiny network; records give the same metrics to the last digit."""
    name = tree.partition("-")[0]
    TREES[tree](tmp_path / "data")
    more = ["--set=data.train_split=train_extra"] if tree.endswith("coarse") else []
    trained = ["fit", f"--dataset={name}", *TINY, *more]

    assert crosscoop("data", "check", name, "--data-dir=data", "--split=val").code == 0
    assert crosscoop(*trained, "--data-dir=data", "--output=files").code == 0
    metrics = untimed(tmp_path / "files/metrics.json")
    assert (metrics["split"], metrics["images"]) == ("val", 2)

    done = crosscoop("evaluate", "files", "--json")
    assert untimed(done.out) == metrics
    done = crosscoop("evaluate", "files", "--split=test")
    assert done.code == 2
    assert f'The labels of split "test" of data set "{name}" are not public.' in done.err

    assert crosscoop("data", "prepare", name, "--data-dir=data", "--records=records").code == 0
    assert crosscoop(*trained, "--data-dir=records", "--output=again").code == 0
    assert (tmp_path / "again/history.csv").read_text() == (tmp_path / "files/history.csv").read_text()
    assert untimed(tmp_path / "again/metrics.json") == metrics


def test_voc_is_measured_on_the_centre_crop(crosscoop, tmp_path):
    """Of 513 pixels, its recipe says; `--crop` may say otherwise. Of 30x40 pixels, 10x10 leave rows 10 to 19."""
    write_voc(tmp_path / "data", sbd="aug")
    assert crosscoop("fit", "--dataset=voc2012", *TINY, "--data-dir=data", "--output=run").code == 0
    by_recipe, of_513, of_10, of_all = (
        untimed(crosscoop("evaluate", "run", "--json", *crop).out)
        for crop in ([], ["--crop=513"], ["--crop=10"], ["--crop=0"])
    )
    assert by_recipe == of_513
    assert by_recipe["outputs"] != of_all["outputs"]
    written = untimed(crosscoop("evaluate", "run", "--json", "--save-predictions=out").out)
    assert written["outputs"] == of_all["outputs"]
    assert len(list((tmp_path / "out/results/VOC2012/Segmentation/comp5_val_cls").iterdir())) == 2

    model, data = load(tmp_path / "run"), dataset("voc2012", tmp_path / "data")
    hits, labelled, either = np.zeros(21), np.zeros(21), np.zeros(21)
    for pair in data.pairs("val"):
        image, label = (part[10:20, 15:25] for part in data.read(*pair))
        prediction = model.segment(image, "top")
        for index in range(21):
            hits[index] += np.sum((label == index) & (prediction == index))
            labelled[index] += np.sum(label == index)
            either[index] += np.sum((label == index) | ((prediction == index) & (label != 255)))
    measured = [of_class["iou"] for of_class in of_10["outputs"]["top"]["per_class"].values()]
    ious = np.divide(hits, either, out=np.zeros(21), where=either > 0)
    assert measured == pytest.approx([iou if count else None for iou, count in zip(ious, labelled, strict=True)])
