"""The report of a run tells what was measured, needs nothing beside itself, and takes names as they are."""

import base64
import re

import pytest
from helpers import refused

from keras_crosscoop.evaluation.report import check_new, write_report

EVIL = ("<script>alert(1)</script>", "a \"quoted\" & 'single'", "{{ 7 * 7 }}")


@pytest.fixture
def reported(make_run, make_figures, page_of, linear):
    """Writes the report of a run of `model` with figures of other `changes`: the run, the figures and the page."""

    def write(outputs=("top", "bottom", "ensemble"), *, model=None, name="run", classes=None, history="", **changes):
        run, data = make_run(name, classes=classes, **(model or {}))
        figures = make_figures(data, outputs, **changes)
        if history:
            run.history.write_text(history)
        target = write_report(run, figures, linear([*outputs[:2]]), data)
        assert target == run.folder / "report.html"
        return run, figures, page_of(target)

    return write


def shown(value):
    return f"{100 * value:.1f}"


def test_the_figures_are_those_measured(reported):
    _, figures, page = reported()
    rows = page.section("Figures, %").rows()
    for name, key in {
        "mean IoU": "mean_iou",
        "pixel accuracy": "pixel_accuracy",
        "mean class accuracy": "mean_accuracy",
        "IoU weighted by frequency": "frequency_weighted_iou",
        "mean Dice": "mean_dice",
        "mean boundary F": "mean_boundary_f",
        "calibration error (less is better)": "calibration_error",
    }.items():
        assert rows.pop(name) == [shown(figures["outputs"][output][key]) for output in ("top", "bottom", "ensemble")]
    assert rows == {}
    differ = [shown(figures["disagreement"][share]) for share in ("share", "top_right", "bottom_right")]
    (sentence,) = page.all("p", id="disagreement")
    assert re.findall(r"\d+\.\d", sentence.text)[:3] == differ
    assert "0.25 s an image in evaluation, 4 images/s." in page.section("Time").text


def test_bars_are_as_long_as_the_iou_of_their_class(reported, make_figures):
    run, figures, page = reported()
    section = page.section("IoU of each class, %")
    for row, name in zip(section.all("tr"), run.classes, strict=True):
        assert row.all("th")[0].text == name
        expected = [output["per_class"][name]["iou"] for output in figures["outputs"].values()]
        assert [value.text for value in row.all("span", class_="value")] == [shown(iou) for iou in expected]
        widths = [re.search(r"width: ([\d.]+)%", bar.attributes["style"])[1] for bar in row.all("i")[1:]]
        assert list(map(float, widths)) == pytest.approx([100 * iou for iou in expected], abs=0.01)
    assert section.all("i", class_="interval") == []


def test_intervals_are_shown_where_there_are_any(make_run, make_figures, page_of, linear):
    run, data = make_run()
    figures = make_figures(data)
    figures["outputs"]["bottom"]["intervals"] = {
        "mean_iou": [0.25, 0.5],
        "pixel_accuracy": [0.75, 0.875],
        "per_class": {"road": [0.125, 0.375], "sky": None, "car": [0.5, 1.0]},
    }
    page = page_of(write_report(run, figures, linear(), data))
    assert page.section("Figures, %").rows()["mean IoU"][1].endswith(" 25.0 to 50.0")
    assert page.section("Figures, %").rows()["pixel accuracy"][1].endswith(" 75.0 to 87.5")
    lines = page.section("IoU of each class, %").all("i", class_="interval")
    assert [line.attributes["style"] for line in lines] == [
        "left: 12.50%; width: 25.00%",
        "left: 50.00%; width: 50.00%",
    ]


def test_what_cannot_be_measured_is_a_dash(make_run, make_figures, page_of, linear):
    run, data = make_run()
    figures = make_figures(data)
    output = figures["outputs"]["top"]
    output["mean_boundary_f"] = output["per_class"]["sky"]["iou"] = None
    output["confusion"][1] = [0, 0, 0]
    for of_image in figures["per_image"]:
        of_image["mean_iou"]["ensemble"] = None
    page = page_of(write_report(run, figures, linear(), data))
    assert page.section("Figures, %").rows()["mean boundary F"][0] == "–"
    sky = page.section("IoU of each class, %").all("tr")[1]
    assert sky.all("span", class_="value")[0].text == "–"
    assert len(sky.all("i")) == 3  # the class's colour, and no bar of top
    assert page.section("What was taken for what").all("table")[2].rows()["sky"] == ["", "", ""]
    assert page.all("article") == []  # no image has a mean IoU


def test_confusion_is_told_in_percent_of_rows_and_in_pixels(make_run, make_figures, page_of, linear):
    run, data = make_run()
    figures = make_figures(data)
    figures["outputs"]["ensemble"]["confusion"] = [[3000, 1000, 0], [1, 0, 999], [5, 5, 90]]
    page = page_of(write_report(run, figures, linear(), data))
    section = page.section("What was taken for what")
    assert [details.all("summary")[0].text for details in section.all("details")] == ["ensemble", "bottom", "top"]
    assert [("open" in details.attributes) for details in section.all("details")] == [True, False, False]
    assert section.all("table")[0].rows() == {
        "road": ["75", "25", ""],
        "sky": ["0", "", "100"],
        "car": ["5", "5", "90"],
    }
    cells = section.all("table")[0].all("td")[1:]
    assert cells[0].attributes["title"] == "road taken for road: 3,000 pixels"
    assert cells[5].attributes["title"] == "sky taken for car: 999 pixels"
    assert cells[5].attributes["style"] == "background: #000004; color: #ffffff"  # the map's dark end
    assert cells[2].attributes["style"] == "background: #ffffff; color: #000000"


def test_learning_curves_show_the_history(reported):
    history = "epoch,top_loss,val_top_loss,val_top_mean_iou\n1,2.5,,\n2,1.25,1.5,0.5\n"
    _, _, page = reported(history=history)
    loss, iou = page.section("Learning curves").all("img")
    assert loss.attributes["alt"] == "Loss by epoch. At last: top, training 1.25, top, validation 1.5."
    assert iou.attributes["alt"] == "Mean IoU in validation, % by epoch. At last: top 50."
    svg = base64.b64decode(loss.attributes["src"].removeprefix("data:image/svg+xml;base64,")).decode()
    assert ">top, validation</text>" in svg
    assert "#E69F00".lower() not in svg.lower()  # nothing is known of bottom


def test_without_history_there_are_no_curves(reported):
    _, _, page = reported()
    assert "Learning curves" not in [title.text for title in page.all("h2")]


def test_a_single_network_has_one_output(reported):
    _, _, page = reported(("single",), model={"top": "tiny_resnet", "bottom": None})
    assert page.section("Figures, %").all("thead")[0].text == "single"
    assert page.all("p", id="disagreement") == []
    assert [panel.attributes["data-name"] for panel in page.all("article")[0].all("img")] == [
        "image",
        "truth",
        "single",
    ]


def test_the_settings_are_the_runs(reported):
    run, _, page = reported()
    (settings,) = page.section("Settings").all("pre")
    assert "".join(settings.texts) == (run.folder / "config.yaml").read_text()
    assert "open" not in page.section("Settings").all("details")[0].attributes


def test_the_page_needs_nothing_else(reported):
    run, _, page = reported(history="epoch,loss,top_loss\n1,2,1\n")
    html = (run.folder / "report.html").read_text()
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert len(page.all("img")) > 10
    for element in page.inside:
        for name in ("src", "href", "srcset", "data"):
            assert (element.attributes.get(name) or "data:").startswith("data:")
    scripts = page.all("script")
    assert [script.attributes for script in scripts] == [{}]
    assert "function enhance" in scripts[0].texts[0]


def test_the_script_finds_what_it_looks_for(reported):
    _, _, page = reported()
    script = page.all("script")[0].texts[0]
    (viewer,) = page.all("template", id="viewer")
    classes = {name for each in viewer.inside for name in each.attributes.get("class", "").split()}
    sought = re.findall(r'"\.([a-z]+)(?: [a-z]+)?"', script)
    assert len(sought) > 7
    assert set(sought) <= classes | {"example", "panels"}
    assert [item.text for item in page.all("ul", id="classes")[0].all("li")] == ["road", "sky", "car", "void"]
    assert [item.attributes.get("data-id") for item in page.all("ul", id="classes")[0].all("li")] == [*"012", None]


def test_names_are_shown_as_they_are(reported):
    name = '<img src=x onerror="1">'
    run, _, page = reported(name=name, classes=EVIL)
    assert run.classes == EVIL
    assert page.all("h1")[0].text == name
    assert page.all("title")[0].text == name
    assert list(page.section("What was taken for what").all("table")[0].rows()) == list(EVIL)
    assert [row.all("th")[0].text for row in page.section("IoU of each class, %").all("tr")] == list(EVIL)
    assert len(page.all("script")) == 1
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img") if "src" in image.attributes)


def test_how_it_was_measured_is_told(reported):
    _, _, page = reported(crop=16, window=12, scales=[0.5, 1.0], flip=True, skipped=["<b>gone</b>", "too"])
    header = page.all("header")[0].text
    assert (
        "Measured on 2 images of folder val, the middle 16 pixels, in windows of 12 pixels, at scales 0.5, 1.0, and "
        "mirrored." in header
    )
    assert "2 images were left out, the first for this: <b>gone</b>" in header


def test_a_page_goes_only_where_it_may(tmp_path):
    assert "End its name in .html" in refused(check_new, tmp_path / "a.pdf")
    assert "folder is not there" in refused(check_new, tmp_path / "no" / "a.html")
    (tmp_path / "a.html").write_text("mine")
    assert "--force" in refused(check_new, tmp_path / "a.html")
    check_new(tmp_path / "a.html", force=True)
    check_new(tmp_path / "b.html")


def test_a_page_that_cannot_be_written_is_told(make_run, make_figures, tmp_path, linear):
    run, data = make_run()
    (tmp_path / "folder.html").mkdir()
    message = refused(write_report, run, make_figures(data), linear(), data, tmp_path / "folder.html")
    assert "cannot be written" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "mine", "run"]


def test_confidence_bins_without_pixels_are_left_out(make_run, make_figures, page_of, linear):
    run, data = make_run()
    figures = make_figures(data)
    (chart,) = page_of(write_report(run, figures, linear(), data)).section("How sure, and how right").all("img")
    svg = base64.b64decode(chart.attributes["src"].split(",")[1]).decode().lower()
    assert len(re.findall(r"<use [^>]*fill: #0072b2", svg)) == 14 + 1  # and one in the legend
