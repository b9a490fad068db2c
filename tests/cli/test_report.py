"""`crosscoop-tf report`: where the page goes, what it needs, and what it refuses."""

import json
import shutil

import pytest


@pytest.fixture
def run(run_folder, tmp_path):
    """A copy of a trained run."""
    return shutil.copytree(run_folder, tmp_path / "mine")


def complaint(result):
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("crosscoop-tf: ")
    return line


def test_the_report_goes_into_the_run_and_over_an_earlier_one(crosscoop, run):
    for _ in range(2):
        code, out, _ = crosscoop("report", run)
        assert (code, out) == (0, f"Report: {run / 'report.html'}\n")
    page = (run / "report.html").read_text()
    iou = json.loads((run / "metrics.json").read_text())["outputs"]["ensemble"]["mean_iou"]
    assert f"{100 * iou:.1f}" in page
    assert page.count("<article") == 3


def test_another_file_is_written_over_only_by_force(crosscoop, run, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    line = complaint(crosscoop("report", run, "--output", "mine.html"))
    assert line.endswith("The file is there already. Write over it with --force. Received: mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert crosscoop("report", run, "--output", "mine.html", "--force").code == 0
    assert "<article" in (tmp_path / "mine.html").read_text()


def test_a_run_that_was_stopped_is_measured_first(crosscoop, run):
    before = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").unlink()
    assert crosscoop("report", run).code == 0
    after = json.loads((run / "metrics.json").read_text())
    assert after["outputs"] == before["outputs"]


def test_runs_are_compared(crosscoop, run, run_folder, tmp_path):
    code, out, _ = crosscoop("report", "--compare", run, run_folder)
    assert (code, out) == (0, "Report: comparison.html\n")
    page = (tmp_path / "comparison.html").read_text()
    assert "A: mine" in page
    assert "B: tiny" in page
    assert "--force" in complaint(crosscoop("report", run, "--compare", run_folder))


def test_one_run_is_not_compared_and_two_are(crosscoop, run):
    assert "--compare takes two or more" in complaint(crosscoop("report", run, run))
    assert "--compare takes two or more" in complaint(crosscoop("report", "--compare", run))
    assert "RUN" in complaint(crosscoop("report"))


def test_what_is_missing_is_told_in_a_line(crosscoop, run, tmp_path):
    assert complaint(crosscoop("report", "nowhere")).endswith("Received: nowhere")
    assert str(tmp_path / "gone") in complaint(crosscoop("report", run, "--data-dir", tmp_path / "gone"))
    (run / "metrics.json").unlink()
    (run / "best.weights.h5").unlink()
    assert "Put best.weights.h5 back, or train again" in complaint(crosscoop("report", run))
    (run / "history.csv").unlink()  # as if no epoch had been validated
    assert f"crosscoop-tf fit --resume {run}" in complaint(crosscoop("report", run))
