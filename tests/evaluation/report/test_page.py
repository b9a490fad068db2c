"""A report is self-contained, shows names as they are, and goes only where it may."""

import re

from helpers import refused
from networks import LinearNetwork

from keras_crosscoop.evaluation.report import write_report

EVIL = ("<script>alert(1)</script>", "a \"quoted\" & 'single'", "{{ 7 * 7 }}")


def test_the_page_is_self_contained_and_its_script_finds_its_elements(make_run, make_metrics, page_of):
    run, data = make_run()
    run.history.write_text("epoch,loss,top_loss\n1,2,1\n")
    page = page_of(write_report(run, make_metrics(data), LinearNetwork(), data))
    html = (run.folder / "report.html").read_text()
    for text in ("http:", "https:", "@import", "url("):
        assert text not in html
    assert len(page.all("img")) > 10
    for element in page.inside:
        for name in ("src", "href", "srcset", "data"):
            assert (element.attributes.get(name) or "data:").startswith("data:")
    (script,) = page.all("script")
    assert script.attributes == {}
    (viewer,) = page.all("template", id="viewer")
    classes = {name for element in viewer.inside for name in element.attributes.get("class", "").split()}
    queried = re.findall(r'"\.([a-z]+)(?: [a-z]+)?"', script.texts[0])
    assert len(queried) > 7
    assert set(queried) <= classes | {"example", "panels"}
    legend = page.all("ul", id="classes")[0].all("li")
    assert [item.text for item in legend] == ["road", "sky", "car", "void"]
    assert [item.attributes.get("data-id") for item in legend] == [*"012", None]


def test_names_are_shown_as_they_are(make_run, make_metrics, page_of):
    name = '<img src=x onerror="1">'
    run, data = make_run(name, classes=EVIL)
    assert run.classes == EVIL
    page = page_of(write_report(run, make_metrics(data), LinearNetwork(), data))
    assert page.all("h1")[0].text == name
    assert page.all("title")[0].text == name
    assert list(page.section("Confusion matrices").all("table")[0].rows()) == list(EVIL)
    assert [row.all("th")[0].text for row in page.section("IoU of each class, %").all("tr")] == list(EVIL)
    assert len(page.all("script")) == 1
    assert all(image.attributes["src"].startswith("data:") for image in page.all("img") if "src" in image.attributes)


def test_a_page_that_cannot_be_written_is_an_error(make_run, make_metrics, tmp_path):
    run, data = make_run()
    (tmp_path / "folder.html").mkdir()
    message = refused(write_report, run, make_metrics(data), LinearNetwork(), data, tmp_path / "folder.html")
    assert "cannot be written" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "mine", "run"]
