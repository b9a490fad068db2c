"""Runs side by side: different settings, best values, and the images on which the runs differ most."""

import copy

import numpy as np
import pytest
from networks import LinearNetwork

from keras_crosscoop.evaluation.report import write_comparison
from keras_crosscoop.evaluation.report.comparison import _different_settings
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run


@pytest.fixture
def networks(monkeypatch):
    """Every run has its own network, by its name."""

    def load(run):
        return LinearNetwork(["top", "bottom"] if run.settings.model.bottom else ["single"], seed=len(run.folder.name))

    monkeypatch.setattr(Run, "load", load)


@pytest.fixture
def compared(make_run, make_metrics, page_of, networks, tmp_path):
    """Two runs, their metrics after `change`, and the page."""

    def write(change=lambda first, second: None, **second_model):
        first, data = make_run("first", images=3)
        second, _ = make_run("second", epochs=7, topology="none", **second_model)
        outputs = ("top", "bottom", "ensemble") if second_model.get("bottom", "") is not None else ("single",)
        metrics = make_metrics(data), make_metrics(data, outputs, seed=1)
        for output in metrics[1]["outputs"].values():  # of the same labels
            output["confusion"] = copy.deepcopy(metrics[0]["outputs"]["top"]["confusion"])
        change(*metrics)
        write_comparison([(first, metrics[0], data), (second, metrics[1], data)], tmp_path / "both.html")
        return (first, second), metrics, data, page_of(tmp_path / "both.html")

    return write


def test_different_settings_are_listed(compared):
    _, _, _, page = compared()
    rows = page.section("Different settings").rows()
    assert rows == {"model.topology": ["cross", "none"], "train.epochs": ["3", "7"]}


def test_the_best_value_of_each_column_is_marked(compared):
    def change(first, second):
        for metric, value in {"mean_iou": 0.95, "calibration_error": 0.01}.items():
            second["outputs"]["bottom"][metric] = value
        first["outputs"]["top"]["pixel_accuracy"] = second["outputs"]["top"]["pixel_accuracy"] = 0.99

    _, metrics, _, page = compared(change)
    section = page.section("Metrics, %")
    rows = {row.all("th")[0].text: row.all("td") for row in section.all("tbody")[0].all("tr")}
    assert list(rows) == ["A top", "A bottom", "A ensemble", "B top", "B bottom", "B ensemble"]
    columns = [head.text for head in section.all("th", scope="col")]
    assert "cannot be compared" not in section.text
    for column, expected in {
        "mean IoU": {"B bottom"},
        "pixel accuracy": {"A top", "B top"},
        "calibration error (lower is better)": {"B bottom"},
    }.items():
        at = columns.index(column)
        assert {name for name, cells in rows.items() if cells[at].attributes["class"] == "best"} == expected
    assert rows["A ensemble"][0].text == f"{100 * metrics[0]['outputs']['ensemble']['mean_iou']:.1f}"
    assert [cell.text for cell in rows["B top"]][-1] == "0.25"


def test_classes_stand_side_by_side(compared):
    def change(first, second):
        first["outputs"]["ensemble"]["per_class"]["road"]["iou"] = 0.0
        second["outputs"]["ensemble"]["per_class"]["road"]["iou"] = None
        second["outputs"]["ensemble"]["per_class"]["sky"]["iou"] = 0.99

    _, metrics, _, page = compared(change)
    rows = page.section("IoU of each class, %").all("tr")
    assert [row.all("th")[0].text for row in rows] == ["road", "sky", "car"]
    assert [value.text for value in rows[0].all("span", class_="value")] == ["0.0", "–"]
    values = rows[1].all("span", class_="value")
    assert [value.text for value in values] == [
        f"{100 * values['outputs']['ensemble']['per_class']['sky']['iou']:.1f}" for values in metrics
    ]
    assert [value.attributes["class"] for value in values] == ["value", "value best"]


def test_the_examples_are_the_images_on_which_the_runs_differ_most(compared, picture):
    def change(first, second):
        for values, ious in ((first, (0.5, 0.25, None)), (second, (0.75, 0.875, 0.5))):
            for image_metrics, iou in zip(values["per_image"], ious, strict=True):
                image_metrics["mean_iou"]["ensemble"] = iou

    runs, _, data, page = compared(change)
    assert [article.all("h3")[0].text for article in page.all("article")] == [
        "62.5 points of mean IoU between the runs 001.png",
        "25.0 points of mean IoU between the runs 000.png",
    ]
    article = page.all("article")[0]
    panels = {image.attributes["data-name"]: image.attributes for image in article.all("img")}
    assert list(panels) == ["image", "label", "A ensemble", "B ensemble"]
    assert [caption.text for caption in article.all("figcaption")][2:] == [
        "A ensemble, mean IoU 25.0 %",
        "B ensemble, mean IoU 87.5 %",
    ]
    image, _ = data.read(*data.find("val")[1])
    for run, name in zip(runs, ("A ensemble", "B ensemble"), strict=True):
        ensemble = Inference(run.load())(image)["ensemble"]
        np.testing.assert_array_equal(picture(panels[name]["data-classes"]), np.argsort(-ensemble, axis=-1))


def test_a_single_network_stands_beside_a_pair(compared):
    _, metrics, _, page = compared(bottom=None)
    assert list(page.section("Metrics, %").rows()) == ["A top", "A bottom", "A ensemble", "B single"]
    panels = [image.attributes["data-name"] for image in page.all("article")[0].all("img")]
    assert panels == ["image", "label", "A ensemble", "B single"]
    value = page.section("IoU of each class, %").all("tr")[0].all("span", class_="value")[1]
    assert value.text == f"{100 * metrics[1]['outputs']['single']['per_class']['road']['iou']:.1f}"


OTHERS = {
    "dataset": ("camvid", "evaluated on data set camvid instead of folder."),
    "split": ("test", "evaluated on split test instead of val."),
    "crop": (8, "evaluated on images cropped to 8 pixels instead of uncropped."),
    "per_image": (None, "evaluated on other images."),
    "boundary_tolerance": (5, "evaluated on boundary tolerance 5 instead of 3."),
    "confusion": ([[9, 9, 9]] * 3, "evaluated on changed images or labels."),
    "classes": (("road", "sky", "bus"), "evaluated on other classes."),
}


@pytest.mark.parametrize("name", OTHERS)
def test_runs_with_other_data_are_not_compared(compared, name):
    """Each table has its own best values, and there are no examples."""

    def change(first, second):
        value, _ = OTHERS[name]
        outputs = second["outputs"]
        match name:
            case "confusion":
                outputs["top"]["confusion"] = value
            case "classes":
                for output in outputs.values():
                    output["per_class"] = dict(zip(value, output["per_class"].values(), strict=True))
            case "per_image":
                second["per_image"] = second["per_image"][:2]
            case _:
                second[name] = value
        for number, output in enumerate(outputs):
            first["outputs"][output]["mean_iou"] = 0.1 + 0.01 * number
            outputs[output]["mean_iou"] = 0.9 + 0.01 * number

    *_, page = compared(change)
    section = page.section("Metrics, %")
    assert section.all("p")[0].text == f"B: second cannot be compared with A: first: {OTHERS[name][1]}"
    best = [
        [row.all("th")[0].text for row in body.all("tr") if row.all("td")[0].attributes["class"] == "best"]
        for body in section.all("tbody")
    ]
    assert best == [["A ensemble"], ["B ensemble"]]
    assert not page.section("IoU of each class, %").all("span", class_="best")
    assert page.all("article") == []
    assert (
        "There are no examples, because the runs were not evaluated on the same images."
        in page.section("Examples").text
    )


def test_learning_curves_are_in_one_chart(make_run, make_metrics, page_of, networks, tmp_path):
    runs = [make_run(name) for name in ("one", "two")]
    for (run, _), loss in zip(runs, (2.0, 4.0), strict=True):
        run.history.write_text(f"epoch,loss,val_loss,val_ensemble_mean_iou\n1,9,,\n2,{loss},{loss / 2},{loss / 8}\n")
    assert write_comparison([(run, make_metrics(data), data) for run, data in runs], tmp_path / "c.html") == []
    loss, iou = page_of(tmp_path / "c.html").section("Learning curves").all("img")
    assert loss.attributes["alt"].endswith(
        "Last values: A, training 2, A, validation 1, B, training 4, B, validation 2."
    )
    assert iou.attributes["alt"].endswith("Last values: A 25, B 50.")


def test_nested_settings_have_dotted_names(make_run):
    run, _ = make_run()
    weights = {"top": "x", "bottom": None}
    other = run.settings.model_copy(update={"model": run.settings.model.model_copy(update={"weights": weights})})
    assert _different_settings([run.settings, run.settings]) == {}
    assert _different_settings([run.settings, other]) == {"model.weights.top": [None, "x"]}
