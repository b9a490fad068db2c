"""The report of a run shows its metrics and settings."""

import re

import pytest
from networks import LinearNetwork

from keras_crosscoop.evaluation.report import write_report

OUTPUTS = ("top", "bottom", "ensemble")


@pytest.fixture
def report(make_run, make_metrics, page_of):
    """Writes the report of a run, whose metrics `edit` may change: the run, the metrics and the page."""

    def write(outputs=OUTPUTS, *, model=None, edit=lambda metrics: None, history="", **changes):
        run, data = make_run(**(model or {}))
        metrics = make_metrics(data, outputs, **changes)
        edit(metrics)
        if history:
            run.history.write_text(history)
        target = write_report(run, metrics, LinearNetwork(outputs[:2]), data)
        assert target == run.folder / "report.html"
        return run, metrics, page_of(target)

    return write


def percent(value):
    return f"{100 * value:.1f}"


def test_metrics_and_settings_are_shown(report):
    run, metrics, page = report()
    rows = page.section("Metrics, %").rows()
    for name, key in {
        "mean IoU": "mean_iou",
        "pixel accuracy": "pixel_accuracy",
        "mean class accuracy": "mean_accuracy",
        "frequency-weighted IoU": "frequency_weighted_iou",
        "mean Dice": "mean_dice",
        "mean boundary F": "mean_boundary_f",
        "calibration error (lower is better)": "calibration_error",
    }.items():
        assert rows.pop(name) == [percent(metrics["outputs"][output][key]) for output in OUTPUTS]
    assert rows == {}
    shares = [percent(metrics["disagreement"][share]) for share in ("share", "top_right", "bottom_right")]
    (sentence,) = page.all("p", id="disagreement")
    assert re.findall(r"\d+\.\d", sentence.text)[:3] == shares
    assert "The evaluation took 0.25 s per image: 4 images/s." in page.section("Time").text
    assert "Learning curves" not in [title.text for title in page.all("h2")]
    (settings,) = page.section("Settings").all("pre")
    assert "".join(settings.texts) == (run.folder / "config.yaml").read_text()
    assert "open" not in page.section("Settings").all("details")[0].attributes


def test_bars_are_as_long_as_the_iou_of_their_class(report):
    run, metrics, page = report()
    section = page.section("IoU of each class, %")
    for row, name in zip(section.all("tr"), run.classes, strict=True):
        assert row.all("th")[0].text == name
        expected = [output["per_class"][name]["iou"] for output in metrics["outputs"].values()]
        assert [value.text for value in row.all("span", class_="value")] == [percent(iou) for iou in expected]
        widths = [re.search(r"width: ([\d.]+)%", bar.attributes["style"])[1] for bar in row.all("i")[1:]]
        assert list(map(float, widths)) == pytest.approx([100 * iou for iou in expected], abs=0.01)
    assert section.all("i", class_="interval") == []


def test_intervals_are_shown_if_there_are_any(report):
    def edit(metrics):
        metrics["outputs"]["bottom"]["intervals"] = {
            "mean_iou": [0.25, 0.5],
            "pixel_accuracy": [0.75, 0.875],
            "per_class": {"road": [0.125, 0.375], "sky": None, "car": [0.5, 1.0]},
        }

    _, _, page = report(edit=edit)
    assert page.section("Metrics, %").rows()["mean IoU"][1].endswith(" 25.0 to 50.0")
    assert page.section("Metrics, %").rows()["pixel accuracy"][1].endswith(" 75.0 to 87.5")
    lines = page.section("IoU of each class, %").all("i", class_="interval")
    styles = ["left: 12.50%; width: 25.00%", "left: 50.00%; width: 50.00%"]
    assert [line.attributes["style"] for line in lines] == styles


def test_a_missing_value_is_a_dash(report):
    def edit(metrics):
        output = metrics["outputs"]["top"]
        output["mean_boundary_f"] = output["per_class"]["sky"]["iou"] = None
        output["confusion"][1] = [0, 0, 0]
        for image in metrics["per_image"]:
            image["mean_iou"]["ensemble"] = None

    _, _, page = report(edit=edit)
    assert page.section("Metrics, %").rows()["mean boundary F"][0] == "–"
    sky = page.section("IoU of each class, %").all("tr")[1]
    assert sky.all("span", class_="value")[0].text == "–"
    assert len(sky.all("i")) == 3  # the class's colour, and no bar of top
    assert page.section("Confusion matrices").all("table")[2].rows()["sky"] == ["", "", ""]
    assert page.all("article") == []  # No image has a mean IoU.


def test_confusion_matrices_are_in_percent_of_rows_and_in_pixels(report):
    def edit(metrics):
        metrics["outputs"]["ensemble"]["confusion"] = [[3000, 1000, 0], [1, 0, 999], [5, 5, 90]]

    _, _, page = report(edit=edit)
    section = page.section("Confusion matrices")
    details = section.all("details")
    assert [detail.all("summary")[0].text for detail in details] == ["ensemble", "bottom", "top"]
    assert ["open" in detail.attributes for detail in details] == [True, False, False]
    table = section.all("table")[0]
    assert table.rows() == {"road": ["75", "25", ""], "sky": ["0", "", "100"], "car": ["5", "5", "90"]}
    cells = table.all("td")[1:]
    assert cells[0].attributes["title"] == "road predicted as road: 3,000 pixels"
    assert cells[5].attributes["title"] == "sky predicted as car: 999 pixels"
    assert cells[5].attributes["style"] == "background: #000004; color: #ffffff"  # the dark end of the colour map
    assert cells[2].attributes["style"] == "background: #ffffff; color: #000000"


def test_learning_curves_show_each_output(report):
    history = "epoch,top_loss,val_top_loss,val_top_mean_iou\n1,2.5,,\n2,1.25,1.5,0.5\n"
    _, _, page = report(history=history)
    loss, iou = page.section("Learning curves").all("img")
    assert loss.attributes["alt"].endswith("Last values: top, training 1.25, top, validation 1.5.")
    assert iou.attributes["alt"].endswith("Last values: top 50.")


def test_a_single_network_has_one_output(report):
    _, _, page = report(("single",), model={"top": "tiny_resnet", "bottom": None})
    assert page.section("Metrics, %").all("thead")[0].text == "single"
    assert page.all("p", id="disagreement") == []
    panels = page.all("article")[0].all("img")
    assert [panel.attributes["data-name"] for panel in panels] == ["image", "label", "single"]


def test_the_header_describes_the_evaluation(report):
    _, _, page = report(crop=16, window=12, scales=[0.5, 1.0], flip=True, skipped=["<b>gone</b>", "too"])
    header = page.all("header")[0].text
    assert "Evaluated on 2 images of folder val, cropped to the central 16 pixels, in windows of 12 pixels" in header
    assert "at scales 0.5, 1.0, with predictions averaged over the mirrored image." in header
    assert "Skipped images: 2. Reason for the first: <b>gone</b>" in header


@pytest.mark.parametrize(("epochs", "text"), [(1, "for 1 epoch with batch size"), (3, "for 3 epochs with batch size")])
def test_the_header_counts_epochs(report, epochs, text):
    _, _, page = report(model={"epochs": epochs})
    assert text in page.all("header")[0].text
