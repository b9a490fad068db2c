"""`crosscoop-tf report`: where the page goes, and what is refused."""

import json
import shutil

from keras_crosscoop.runs import Run


def error_line(result):
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("crosscoop-tf: ")
    return line


def test_a_run_without_metrics_is_evaluated_first_and_its_own_report_overwritten(crosscoop, stub_run):
    for _ in range(2):
        code, out, _ = crosscoop("report", stub_run)
        assert (code, out) == (0, f"Report: {stub_run / 'report.html'}\n")
        metrics = json.loads((stub_run / "metrics.json").read_text())
        assert metrics["images"] == 3
    page = (stub_run / "report.html").read_text()
    assert f"{100 * metrics['outputs']['ensemble']['mean_iou']:.1f}" in page
    assert page.count("<article") == 3


def test_another_file_is_overwritten_only_by_force(crosscoop, stub_run, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    line = error_line(crosscoop("report", stub_run, "--output", "mine.html"))
    assert line.endswith("Overwrite it with --force. Received: mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert crosscoop("report", stub_run, "--output", "mine.html", "--force").code == 0
    assert "<article" in (tmp_path / "mine.html").read_text()


def test_two_runs_are_compared(crosscoop, stub_run, tmp_path):
    other = shutil.copytree(stub_run, tmp_path / "other")
    code, out, _ = crosscoop("report", "--compare", stub_run, other)
    assert (code, out) == (0, "Report: comparison.html\n")
    page = (tmp_path / "comparison.html").read_text()
    assert "A: stub" in page
    assert "B: other" in page
    assert "--force" in error_line(crosscoop("report", stub_run, "--compare", other))


def test_the_number_of_runs_must_fit_the_option(crosscoop, stub_run):
    assert "two or more runs with --compare" in error_line(crosscoop("report", stub_run, stub_run))
    assert "two or more runs with --compare" in error_line(crosscoop("report", "--compare", stub_run))
    assert "RUN" in error_line(crosscoop("report"))


def test_missing_files_are_named_in_one_line(crosscoop, stub_run, tmp_path, monkeypatch):
    assert error_line(crosscoop("report", "nowhere")).endswith("Received: nowhere")
    assert str(tmp_path / "gone") in error_line(crosscoop("report", stub_run, "--data-dir", tmp_path / "gone"))
    monkeypatch.setattr(Run, "load", lambda run: run.load_weights(None))  # There are none.
    assert f"crosscoop-tf fit --resume {stub_run}" in error_line(crosscoop("report", stub_run))
