"""Runs side by side: what differs, which is best, and the images on which they differ most."""

import copy

import numpy as np
import pytest

from keras_crosscoop.evaluation.report import write_comparison
from keras_crosscoop.evaluation.report.tables import best, differences
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.runs import Run


@pytest.fixture
def networks(linear, monkeypatch):
    """Gives every run a network of its own, by its name."""

    def load(run):
        return linear(["top", "bottom"] if run.settings.model.bottom else ["single"], seed=len(run.folder.name))

    monkeypatch.setattr(Run, "load", load)


@pytest.fixture
def compared(make_run, make_figures, page_of, networks, tmp_path):
    """Two runs, what was measured of them after `change` had its hand in it, and the page."""

    def write(change=lambda first, second: None, **second_model):
        first, data = make_run("first", images=3)
        second, _ = make_run("second", epochs=7, topology="none", **second_model)
        outputs = ("top", "bottom", "ensemble") if second_model.get("bottom", "") is not None else ("single",)
        figures = make_figures(data), make_figures(data, outputs, seed=1)
        for of_output in figures[1]["outputs"].values():  # of the same labels
            of_output["confusion"] = copy.deepcopy(figures[0]["outputs"]["top"]["confusion"])
        change(*figures)
        write_comparison([(first, figures[0], data), (second, figures[1], data)], tmp_path / "both.html")
        return (first, second), figures, data, page_of(tmp_path / "both.html")

    return write


def test_the_settings_that_differ_are_listed(compared):
    _, _, _, page = compared()
    rows = page.section("Settings that differ").rows()
    assert rows == {"model.topology": ["cross", "none"], "train.epochs": ["3", "7"]}


def test_the_best_of_each_column_is_marked(compared):
    def change(first, second):
        for figure, value in {"mean_iou": 0.95, "calibration_error": 0.01}.items():
            second["outputs"]["bottom"][figure] = value
        first["outputs"]["top"]["pixel_accuracy"] = second["outputs"]["top"]["pixel_accuracy"] = 0.99

    _, figures, _, page = compared(change)
    section = page.section("Figures, %")
    rows = {row.all("th")[0].text: row.all("td") for row in section.all("tbody")[0].all("tr")}
    assert list(rows) == ["A top", "A bottom", "A ensemble", "B top", "B bottom", "B ensemble"]
    columns = [head.text for head in section.all("th", scope="col")]
    assert "cannot be compared" not in section.text
    for column, expected in {
        "mean IoU": {"B bottom"},
        "pixel accuracy": {"A top", "B top"},
        "calibration error (less is better)": {"B bottom"},
    }.items():
        at = columns.index(column)
        assert {name for name, cells in rows.items() if cells[at].attributes["class"] == "best"} == expected
    assert rows["A ensemble"][0].text == f"{100 * figures[0]['outputs']['ensemble']['mean_iou']:.1f}"
    assert [cell.text for cell in rows["B top"]][-1] == "0.25"


def test_classes_stand_side_by_side(compared):
    def change(first, second):
        first["outputs"]["ensemble"]["per_class"]["road"]["iou"] = 0.0
        second["outputs"]["ensemble"]["per_class"]["road"]["iou"] = None
        second["outputs"]["ensemble"]["per_class"]["sky"]["iou"] = 0.99

    _, figures, _, page = compared(change)
    rows = page.section("IoU of each class, %").all("tr")
    assert [row.all("th")[0].text for row in rows] == ["road", "sky", "car"]
    assert [value.text for value in rows[0].all("span", class_="value")] == ["0.0", "–"]
    values = rows[1].all("span", class_="value")
    assert [value.text for value in values] == [
        f"{100 * each['outputs']['ensemble']['per_class']['sky']['iou']:.1f}" for each in figures
    ]
    assert [value.attributes["class"] for value in values] == ["value", "value best"]


def test_the_images_shown_are_those_that_differ_most(compared, picture):
    def change(first, second):
        for figures, ious in ((first, (0.5, 0.25, None)), (second, (0.75, 0.875, 0.5))):
            for of_image, iou in zip(figures["per_image"], ious, strict=True):
                of_image["mean_iou"]["ensemble"] = iou

    runs, _, data, page = compared(change)
    assert [article.all("h3")[0].text for article in page.all("article")] == [
        "62.5 points of mean IoU apart 001.png",
        "25.0 points of mean IoU apart 000.png",
    ]
    article = page.all("article")[0]
    panels = {image.attributes["data-name"]: image.attributes for image in article.all("img")}
    assert list(panels) == ["image", "truth", "A ensemble", "B ensemble"]
    assert [caption.text for caption in article.all("figcaption")][2:] == [
        "A ensemble, mean IoU 25.0 %",
        "B ensemble, mean IoU 87.5 %",
    ]
    image, _ = data.read(*data.find("val")[1])
    for run, name in zip(runs, ("A ensemble", "B ensemble"), strict=True):
        ensemble = Inference(run.load())(image)["ensemble"]
        np.testing.assert_array_equal(picture(panels[name]["data-classes"]), np.argsort(-ensemble, axis=-1))


def test_a_single_network_stands_beside_a_pair(compared):
    _, figures, _, page = compared(bottom=None)
    assert list(page.section("Figures, %").rows()) == ["A top", "A bottom", "A ensemble", "B single"]
    panels = [image.attributes["data-name"] for image in page.all("article")[0].all("img")]
    assert panels == ["image", "truth", "A ensemble", "B single"]
    value = page.section("IoU of each class, %").all("tr")[0].all("span", class_="value")[1]
    assert value.text == f"{100 * figures[1]['outputs']['single']['per_class']['road']['iou']:.1f}"


OTHERS = {
    "dataset": ("camvid", "measured on data set camvid instead of folder."),
    "split": ("test", "measured on split test instead of val."),
    "crop": (8, "measured on the middle 8 pixels instead of whole images."),
    "per_image": (None, "measured on other images."),
    "boundary_tolerance": (5, "measured on boundaries within 5 pixels instead of 3."),
    "confusion": ([[9, 9, 9]] * 3, "measured on images or labels that have changed in between."),
    "classes": (("road", "sky", "bus"), "measured on other classes."),
}


@pytest.mark.parametrize("name", OTHERS)
def test_runs_of_other_images_are_not_compared(compared, name):
    """The best of one is not the best of both, and there are no examples together."""

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
    section = page.section("Figures, %")
    assert section.all("p")[0].text == f"B: second cannot be compared with A: first: {OTHERS[name][1]}"
    found = [
        [row.all("th")[0].text for row in body.all("tr") if row.all("td")[0].attributes["class"] == "best"]
        for body in section.all("tbody")
    ]
    assert found == [["A ensemble"], ["B ensemble"]]
    assert not page.section("IoU of each class, %").all("span", class_="best")
    assert page.all("article") == []
    assert "None: the runs were not measured on the same images." in page.section("Examples").text


def test_learning_curves_are_in_one_chart(make_run, make_figures, page_of, networks, tmp_path):
    runs = [make_run(name) for name in ("one", "two")]
    for (run, _), loss in zip(runs, (2.0, 4.0), strict=True):
        run.history.write_text(f"epoch,loss,val_loss,val_ensemble_mean_iou\n1,9,,\n2,{loss},{loss / 2},{loss / 8}\n")
    assert write_comparison([(run, make_figures(data), data) for run, data in runs], tmp_path / "c.html") == []
    loss, iou = page_of(tmp_path / "c.html").section("Learning curves").all("img")
    assert loss.attributes["alt"].endswith("At last: A, training 2, A, validation 1, B, training 4, B, validation 2.")
    assert iou.attributes["alt"].endswith("At last: A ensemble 25, B ensemble 50.")


def test_settings_within_settings_have_dotted_names(make_run):
    run, _ = make_run()
    weights = {"top": "x", "bottom": None}
    other = run.settings.model_copy(update={"model": run.settings.model.model_copy(update={"weights": weights})})
    assert differences([run.settings, run.settings]) == {}
    assert differences([run.settings, other]) == {"model.weights.top": [None, "x"]}


def test_what_looks_equal_is_equally_good():
    assert best([0.5, 0.5004, None, 0.4]) == {0, 1}
    assert best([0.5, 0.4], more_is_better=False) == {1}
    assert best([0.5, 0.5004]) == set()
    assert best([None, 0.5]) == set()
