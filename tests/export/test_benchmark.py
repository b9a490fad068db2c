"""A benchmark: its contenders, their turns, and the figures."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from keras_crosscoop import dataset
from keras_crosscoop.export.benchmark import benchmark, comparison, timing
from keras_crosscoop.export.benchmark.comparison import CONTENDERS, available
from keras_crosscoop.export.benchmark.timing import WARM_UP, measure, summarize
from keras_crosscoop.export.benchmark.worker import peak_memory
from keras_crosscoop.system.processes import WorkerError

GIB = 2**30


def replies(*milliseconds, memory=1):
    return [{"seconds": time / 1000, "memory": memory, "resident": GIB} for time in milliseconds]


def test_figures_are_those_of_a_calculator():
    keras = replies(10, 20, 30, 40, memory=7)
    lite = [*replies(5, 5, 5, 85, memory=2), *replies(0.0, memory=3)][:4]
    figures = summarize([{"keras": keras, "tflite": lite}])
    assert figures["keras"]["latency"] == pytest.approx({"median": 0.025, "p90": 0.037})
    assert figures["keras"]["throughput"] == pytest.approx(4 / 0.1)
    assert figures["keras"]["speedup"] == 1
    assert figures["keras"]["memory"] == 7
    assert figures["keras"]["rounds"] == 4
    assert figures["tflite"]["latency"] == pytest.approx({"median": 0.005, "p90": 0.061})
    assert figures["tflite"]["throughput"] == pytest.approx(4 / 0.1)
    assert figures["tflite"]["speedup"] == pytest.approx(5)


def test_each_is_compared_with_keras_beside_it():
    first = {"keras": replies(10, 10), "savedmodel": replies(5, 5)}
    later = {"keras": replies(40, 40), "tflite": replies(10, 10)}  # the machine was busy
    figures = summarize([first, later])
    assert {name: figures[name]["speedup"] for name in figures} == pytest.approx(
        {"keras": 1, "savedmodel": 2, "tflite": 4}
    )
    assert figures["keras"]["latency"]["median"] == 0.01
    assert summarize([{"tflite": replies(1)}])["tflite"]["speedup"] is None


@pytest.fixture
def machine(monkeypatch):
    """Workers that take memory of a machine, and a record of their events."""
    state = SimpleNamespace(free=100 * GIB, events=[], broken=(), seconds=0.5)

    class FakeWorker:
        def __init__(self, program, log):
            self.name, self.open = log.stem, True
            state.events.append(f"+{self.name}")
            state.free -= GIB

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.close()

        def send(self, message):
            self.message = message

        def receive(self, timeout):
            if isinstance(self.message, dict):
                if self.name in state.broken:
                    raise WorkerError("It cannot be loaded.")
                return {"seconds": None, "memory": 1, "resident": GIB}
            state.events.append(f"{self.name}{self.message}")
            return {"seconds": state.seconds, "memory": 1, "resident": GIB}

        def close(self):
            if self.open:
                state.events.append(f"-{self.name}")
                state.free += GIB
            self.open = False

    monkeypatch.setattr(timing, "Worker", FakeWorker)
    monkeypatch.setattr(timing, "free_memory", lambda: state.free)
    return state


def jobs(*names):
    return {name: {"format": name} for name in names}


def test_all_are_loaded_and_warm_before_any_is_timed(machine, tmp_path):
    groups, failed = measure(jobs("keras", "tflite"), 2, tmp_path, rounds=3)
    warm = ["0", "1", "0"][:WARM_UP]
    assert machine.events == [
        *("+keras", *(f"keras{number}" for number in warm)),
        *("+tflite", *(f"tflite{number}" for number in warm)),
        *("keras0", "tflite0", "keras1", "tflite1", "keras0", "tflite0"),
        *("-tflite", "-keras"),
    ]
    assert {name: len(group) for name, group in groups[0].items()} == {"keras": 3, "tflite": 3}
    assert failed == {}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 60), (100, 10), (1e-4, 200)])
def test_rounds_last_about_a_minute(machine, tmp_path, seconds, rounds):
    machine.seconds = seconds
    groups, _ = measure(jobs("keras", "onnx"), 1, tmp_path)
    assert {len(group) for group in groups[0].values()} == {rounds}


def test_contenders_that_do_not_fit_into_memory_follow_beside_keras(machine, tmp_path):
    machine.free = 2.5 * GIB
    groups, _ = measure(jobs("keras", "savedmodel", "tflite", "onnx"), 1, tmp_path, rounds=1)
    assert [list(group) for group in groups] == [["keras", "savedmodel"], ["keras", "tflite"], ["keras", "onnx"]]
    machine.free = 0.5 * GIB  # one at a time is tried at least
    groups, _ = measure(jobs("tflite", "onnx"), 1, tmp_path, rounds=1)
    assert [list(group) for group in groups] == [["tflite"], ["onnx"]]


def test_a_contender_that_cannot_be_loaded_stops_no_other(machine, tmp_path):
    machine.broken = ("keras",)
    groups, failed = measure(jobs("keras", "tflite"), 1, tmp_path, rounds=1)
    assert [list(group) for group in groups] == [["tflite"]]
    assert failed == {"keras": "It cannot be loaded."}
    assert measure(jobs("keras"), 1, tmp_path, rounds=1)[0] == []


def test_the_memory_of_the_parent_process_does_not_count():
    held = np.ones(2**28, np.uint8)
    source = timing.__file__.replace("timing", "worker")
    program = f"import ast, psutil, pathlib\ntree = ast.parse(pathlib.Path({source!r}).read_text())\n"
    program += "tree.body = [node for node in tree.body if getattr(node, 'name', '') == 'peak_memory']\n"
    program += "Path = pathlib.Path; exec(compile(tree, '', 'exec')); print(peak_memory())"
    result = subprocess.check_output([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    assert 2**22 < int(result) < peak_memory() - held.nbytes / 2


def test_contenders_are_those_that_packages_allow(monkeypatch):
    assert available(["onnx", "keras", "onnx"]) == (["onnx", "keras"], {})
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    names, left_out = available(None)
    assert names == [name for name in CONTENDERS if name != "onnx"]
    assert "keras-crosscoop[onnx]" in left_out["onnx"]
    with pytest.raises(ValueError, match=r"keras-crosscoop\[onnx\]"):
        available(["onnx"])
    with pytest.raises(ValueError, match='Did you mean "tflite-int8"'):
        available(["tflite-int"])


FIGURES = {"bytes": 7, "agreement": 0.97, "mean_iou": {"live": 0.5, "exported": 0.4}}


@pytest.mark.slow
def test_a_benchmark_of_two_formats(trained, data_dir, litert_files, monkeypatch, network):
    """One with a real process, one whose export fails."""

    def export(run, data, name, *, quantize, progress, folder, **options):
        assert (options["output"], options["size"], options["images"]) == ("top", (40, 56), 2)
        if quantize == "int8":
            raise RuntimeError("The converter has had enough.\nAnd says why at length.")
        progress("Comparing", 1, 2)
        return litert_files["none"], FIGURES

    monkeypatch.setattr(comparison, "export", export)
    monkeypatch.setattr(type(trained), "load", lambda run: network)
    stages = []
    result = benchmark(
        trained,
        dataset("folder", data_dir),
        ["tflite", "tflite-int8"],
        output="top",
        images=2,
        rounds=2,
        progress=lambda stage, done, total: stages.append(stage),
    )
    assert (result["output"], result["size"], result["images"]) == ("top", [40, 56], 2)
    assert result["failed"] == {"tflite-int8": "RuntimeError: The converter has had enough."}
    assert stages == ["tflite: comparing", "tflite: loading", "Measuring", "Measuring"]
    (tflite,) = result["formats"].values()
    assert 0 < tflite["latency"]["median"] <= tflite["latency"]["p90"]
    assert (tflite["bytes"], tflite["agreement"], tflite["agrees"], tflite["mean_iou"]) == (7, 0.97, False, 0.4)
    assert (tflite["rounds"], tflite["speedup"]) == (2, None)
    assert 1e6 < tflite["memory"] < 1e9
    assert result["fastest"] == result["smallest"] == "tflite"
    assert result["together"] == [["tflite"]]


def test_keras_alone_is_compared_with_the_labels(make_run, data_dir, tmp_path, monkeypatch, small_network):
    run = make_run(tmp_path / "run", lambda settings: small_network)
    monkeypatch.setattr(type(run), "load", lambda run: small_network)
    monkeypatch.setattr(comparison, "measure", lambda *arguments, **options: ([], {}))
    monkeypatch.setattr(comparison, "summarize", lambda groups: {"keras": {"latency": {"median": 1}}})
    probabilities = np.eye(3, dtype="float32")[np.arange(40 * 56).reshape(40, 56) % 3]
    monkeypatch.setattr(comparison, "live", lambda model, output: lambda image: probabilities)
    data = dataset("folder", data_dir)
    result = benchmark(run, data, ["keras"])["formats"]["keras"]
    labels = np.stack([data.read(*pair)[1] for pair in data.pairs("val")])
    classes = np.broadcast_to(probabilities.argmax(-1), labels.shape)
    ious = [
        ((labels == c) & (classes == c)).sum() / ((labels != 255) & ((labels == c) | (classes == c))).sum()
        for c in range(3)
    ]
    assert result["mean_iou"] == pytest.approx(np.mean(ious))
    assert (result["agreement"], result["agrees"]) == (1, True)
    assert result["bytes"] == run.weights.stat().st_size
