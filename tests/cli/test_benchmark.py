"""`crosscoop-tf benchmark`: its options, its table, and its failures."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from keras_crosscoop import config, dataset
from keras_crosscoop.export import benchmark as package
from keras_crosscoop.export.benchmark.comparison import CONTENDERS
from keras_crosscoop.runs import Run
from keras_crosscoop.system.resources import cores

QUICK = ("--images=2", "--rounds=3")


def measured(milliseconds, **changes):
    latency = {"median": milliseconds / 1000, "p90": 2 * milliseconds / 1000}
    figures = {"latency": latency, "throughput": 1000 / milliseconds, "speedup": 20 / milliseconds, "memory": 3e8}
    return {**figures, "rounds": 3, "bytes": 1.25e6, "agreement": 1.0, "agrees": True, "mean_iou": 0.123, **changes}


FIGURES = {
    **{"output": "top", "size": [40, 48], "images": 2, "threads": 7, "gpu": False, "fastest": "tflite"},
    "formats": {"keras": measured(20), "tflite": measured(10, agreement=0.91, agrees=False, bytes=1e6, mean_iou=None)},
    **{"smallest": "keras", "together": [["keras", "tflite"]], "failed": {}, "left_out": {}},
}


@pytest.fixture
def run(halves, tmp_path):
    """A run without weights, of a data set on the disk."""
    settings = config.settings({"data": {"name": "folder", "dir": str(halves)}})
    return Run.create(tmp_path / "run", settings, dataset("folder", halves)).folder


@pytest.fixture
def library(monkeypatch):
    """Records the arguments of the library's `benchmark`, which returns its attribute `figures`."""

    def record(*arguments, progress, **options):
        record.calls.append((arguments, options))
        for stage in ("keras: loading", "Measuring", "Measuring"):
            progress(stage, 0, 1)
        return record.figures

    record.calls, record.figures = [], FIGURES
    monkeypatch.setattr(package, "benchmark", record)
    return record


def test_options_reach_the_library_and_json_is_alone_on_stdout(crosscoop, run, library):
    options = ("--size=40x48", "--output-head=top", "--formats=tflite-int8,keras", "--calibration=2", "--json")
    code, out, err = crosscoop("benchmark", run, *QUICK, *options)
    assert code == 0
    assert json.loads(out) == FIGURES
    assert err.splitlines() == ["Loading", "keras: loading", "Measuring"]  # at once, without a terminal
    (opened, data, formats), given = library.calls[0]
    assert (opened.folder, data.name, formats) == (run, "folder", ["tflite-int8", "keras"])
    assert given == {"output": "top", "size": (40, 48), "images": 2, "rounds": 3, "calibration": 2}


def test_the_table(crosscoop, run, library):
    library.figures = FIGURES | {"together": [["keras"], ["tflite"]]}
    code, out, _ = crosscoop("benchmark", run)
    assert code == 0
    assert library.calls[0][0][2] is None
    lines = out.splitlines()
    assert "top, 40x48, one image at a time, 7 threads" in lines[0]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line and "MB" in line]
    assert rows == [
        ["keras", "20.0", "1.00", "40.0", "50.0", "300 MB", "1.2 MB", "100.00 %", "12.3", "smallest"],
        ["tflite", "10.0", "2.00", "20.0", "100.0", "300 MB", "1.0 MB", "91.00 %", "", "fastest, disagrees"],
    ]
    assert "timed in these groups: keras; tflite" in " ".join(out.split())


def test_failures_and_missing_packages_are_named(crosscoop, run, library):
    library.figures = FIGURES | {
        "failed": {"tflite-int8": "RuntimeError: The converter has had enough."},
        "left_out": {"onnx": 'pip install "keras-crosscoop[onnx]"'},
    }
    code, out, err = crosscoop("benchmark", run)
    assert code == 1
    assert "tflite" in out
    assert err.splitlines()[-2:] == [
        'crosscoop-tf: onnx is left out. pip install "keras-crosscoop[onnx]"',
        "crosscoop-tf: tflite-int8 failed. RuntimeError: The converter has had enough.",
    ]
    library.figures = FIGURES | {"formats": {}, "failed": {"keras": "It cannot be loaded."}}
    assert crosscoop("benchmark", run)[:2] == (1, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--formats=tflight"], 'Did you mean "tflite"?'),
        (["--formats="], "There is no format of that name."),
        (["--formats=keras,tflite", "--calibration=4"], "--calibration is for int8. Received: --formats keras,tflite"),
        (["--size=dynamic"], "A size must be HEIGHTxWIDTH, such as 360x480, or one number for both."),
        (["--rounds=0"], "--rounds"),
    ],
)
def test_bad_options_take_one_line(crosscoop, run, options, message):
    code, out, err = crosscoop("benchmark", run, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.fixture
def trained(tiny_run_folder, tmp_path):
    """A copy of a trained run, in which nothing must be left."""
    return shutil.copytree(tiny_run_folder, tmp_path / "a run")


@pytest.mark.slow
def test_every_format_is_measured_and_nothing_is_left(crosscoop, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(trained.rglob("*"))
    code, out, err = crosscoop("benchmark", trained, *QUICK, "--calibration=2", "--json")
    assert code == 0, err
    assert sorted(trained.rglob("*")) == before
    assert not list(tmp_path.glob("crosscoop-*"))
    result = json.loads(out)
    assert (result["output"], result["size"], result["images"]) == ("ensemble", [32, 48], 2)
    assert (result["threads"], result["failed"], result["left_out"]) == (cores(), {}, {})
    formats = result["formats"]
    assert list(formats) == list(CONTENDERS)
    assert result["together"] == [list(formats)]
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
    assert result["fastest"] == min(formats, key=lambda name: formats[name]["latency"]["median"])
    assert formats[result["smallest"]]["bytes"] == min(figures["bytes"] for figures in formats.values())


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["keras", "tflite"], ids=["measuring", "exporting"])
def test_ctrl_c_leaves_neither_processes_nor_files(trained, tmp_path, formats):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = "from crosscoop_tf.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "benchmark", trained, f"--formats={formats}", "--images=2", "--rounds=1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    while not (list(temporary.glob("*/keras.log")) or list(temporary.glob("*/.*-*"))):
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
