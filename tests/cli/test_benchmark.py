"""`crosscoop-tf benchmark`: every format of a run, measured and told; none that fails keeps the others from it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from keras_crosscoop.export.benchmark import contenders
from keras_crosscoop.system.resources import cores

QUICK = ("--images=2", "--rounds=3")


@pytest.fixture
def run(run_folder, tmp_path):
    """A copy of the run, as nothing must be left in it."""
    return shutil.copytree(run_folder, tmp_path / "a run")


@pytest.mark.slow
def test_every_format_is_measured_and_nothing_is_left(crosscoop, run, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(run.rglob("*"))
    code, out, err = crosscoop("benchmark", run, *QUICK, "--calibration=2", "--json")
    assert code == 0, err
    assert sorted(run.rglob("*")) == before
    assert not list(tmp_path.glob("crosscoop-*"))
    found = json.loads(out)
    assert (found["output"], found["size"], found["images"]) == ("ensemble", [32, 48], 2)
    assert (found["threads"], found["failed"], found["left_out"]) == (cores(), {}, {})
    formats = found["formats"]
    assert list(formats) == list(contenders.FORMATS)
    assert found["together"] == [list(formats)]
    for figures in formats.values():
        assert 0 < figures["latency"]["median"] <= figures["latency"]["p90"]
        assert figures["rounds"] == 3
        assert figures["memory"] > 1e6
        assert figures["bytes"] > 1e4
        assert figures["agreement"] > 0.95
        assert 0.5 < figures["mean_iou"] <= 1
        base = formats["keras"]["latency"]["median"]
        assert figures["speedup"] == pytest.approx(base / figures["latency"]["median"])
    assert formats["keras"]["agreement"] == 1
    assert found["fastest"] == min(formats, key=lambda name: formats[name]["latency"]["median"])
    assert formats[found["smallest"]]["bytes"] == min(figures["bytes"] for figures in formats.values())


def test_a_table_tells_which_to_take(crosscoop, run):
    options = ("--size=40x40", "--output-head=top", "--formats=tflite,keras")
    code, out, err = crosscoop("benchmark", run, *QUICK, *options)
    assert code == 0, err
    lines = out.splitlines()
    assert "top, 40x40, one image at a time" in lines[0]
    rows = [line for line in lines if "│" in line and "MB" in line]
    assert [row.split("│")[1].strip() for row in rows] == ["tflite", "keras"]
    assert sum("fastest" in row for row in rows) == sum("smallest" in row for row in rows) == 1
    assert "1.00 │" in rows[1]


def test_keras_alone_has_its_figures(crosscoop, run):
    """And says what it does at once, also where no terminal shows a bar; stdout is JSON alone."""
    code, out, err = crosscoop("benchmark", run, *QUICK, "--formats=keras", "--json")
    assert code == 0
    assert err.splitlines() == ["Loading", "keras: comparing", "keras: loading", "Measuring"]
    figures = json.loads(out)["formats"]["keras"]
    assert 0.5 < figures["mean_iou"] <= 1
    assert figures["bytes"] == (run / "best.weights.h5").stat().st_size


def test_what_is_not_installed_is_left_out_or_refused(crosscoop, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr(contenders, "FORMATS", {name: contenders.FORMATS[name] for name in ("tflite", "onnx")})
    code, out, err = crosscoop("benchmark", run, *QUICK, "--calibration=2")
    assert code == 0
    assert "tflite" in out
    told = [line for line in err.splitlines() if line.startswith("crosscoop-tf:")]
    assert len(told) == 1
    assert "onnx is left out" in told[0]
    assert 'pip install "keras-crosscoop[onnx]"' in told[0]
    code, out, err = crosscoop("benchmark", run, *QUICK, "--formats=onnx")
    assert (code, out) == (2, "")
    assert 'pip install "keras-crosscoop[onnx]"' in err.splitlines()[-1]


@pytest.mark.slow
def test_a_format_that_fails_is_named_and_the_others_go_on(crosscoop, run, monkeypatch):
    export = contenders.export

    def export_some(run, dataset, name, **options):
        if options["quantize"] == "int8":
            raise RuntimeError("The converter has had enough.\nAnd says why at length.")
        return export(run, dataset, name, **options)

    monkeypatch.setattr(contenders, "export", export_some)
    code, out, err = crosscoop("benchmark", run, *QUICK, "--calibration=2", "--formats=tflite-int8,tflite", "--json")
    assert code == 1
    assert list(json.loads(out)["formats"]) == ["tflite"]
    assert err.splitlines()[-1] == "crosscoop-tf: tflite-int8 failed. RuntimeError: The converter has had enough."
    code, out, _ = crosscoop("benchmark", run, *QUICK, "--calibration=2", "--formats=tflite-int8")
    assert (code, out) == (1, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formats=tflight"], 'Did you mean "tflite"?'),
        (["--formats="], "There is no format of that name."),
        (["--formats=keras,tflite", "--calibration=4"], "--calibration is for int8. Received: --formats keras,tflite"),
        (["--size=dynamic"], "Name it, as --size 360x480."),
        (["--output-head=single"], "There is no output of that name."),
        (["--rounds=0"], "--rounds"),
    ],
)
def test_bad_options_take_one_line(crosscoop, run, options, message):
    code, out, err = crosscoop("benchmark", run, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["keras", "tflite"], ids=["measuring", "exporting"])
def test_ctrl_c_leaves_neither_processes_nor_files(run, tmp_path, formats):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = "from crosscoop_tf.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "benchmark", run, f"--formats={formats}", "--images=2", "--rounds=1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    while not (list(temporary.glob("*/keras.stderr")) or list(temporary.glob("*/.*-*"))):
        assert process.poll() is None
        time.sleep(0.01)
        if formats == "tflite" and list(temporary.glob("*/tflite")):
            break
    if formats == "keras":
        time.sleep(8)  # until it has loaded, about
    children = psutil.Process(process.pid).children()
    assert (len(children) > 1) == (formats == "keras")  # beside the one that reads what native code says
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "crosscoop-tf: interrupted."
    assert "Traceback" not in err
    assert not [child for child in children if child.is_running()]
    assert list(temporary.iterdir()) == []
