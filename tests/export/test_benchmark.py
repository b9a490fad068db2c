"""Formats in turn: who is asked what when, what is made of the answers, and that nobody holds the others up."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from keras_crosscoop.export.benchmark import measuring, turns
from keras_crosscoop.export.benchmark.contenders import FORMATS, available
from keras_crosscoop.export.benchmark.measuring import WARM_UP, measure, summarized
from keras_crosscoop.export.benchmark.turns import Worker, WorkerError, alternate
from keras_crosscoop.export.benchmark.worker import peak_memory

GIB = 2**30


def replies(*milliseconds, memory=1):
    return [{"seconds": each / 1000, "memory": memory, "resident": GIB} for each in milliseconds]


def test_figures_are_those_of_a_calculator():
    keras = replies(10, 20, 30, 40, memory=7)
    lite = [*replies(5, 5, 5, 85, memory=2), *replies(0.0, memory=3)][:4]
    found = summarized([{"keras": keras, "tflite": lite}])
    assert found["keras"]["latency"] == pytest.approx({"median": 0.025, "p90": 0.037})
    assert found["keras"]["throughput"] == pytest.approx(4 / 0.1)
    assert found["keras"]["speedup"] == 1
    assert found["keras"]["memory"] == 7
    assert found["keras"]["rounds"] == 4
    assert found["tflite"]["latency"] == pytest.approx({"median": 0.005, "p90": 0.061})
    assert found["tflite"]["throughput"] == pytest.approx(4 / 0.1)
    assert found["tflite"]["speedup"] == pytest.approx(5)


def test_each_is_compared_with_keras_beside_it():
    first = {"keras": replies(10, 10), "savedmodel": replies(5, 5)}
    later = {"keras": replies(40, 40), "tflite": replies(10, 10)}  # the machine was busy
    found = summarized([first, later])
    assert {name: figures["speedup"] for name, figures in found.items()} == pytest.approx(
        {"keras": 1, "savedmodel": 2, "tflite": 4}
    )
    assert found["keras"]["latency"]["median"] == 0.01
    assert summarized([{"tflite": replies(1)}])["tflite"]["speedup"] is None


def test_everyone_has_a_turn_before_anyone_has_another():
    asked, failed = [], {}

    def worker(name, fails_at=None):
        def segment(number):
            asked.append((name, number))
            if number == fails_at:
                raise WorkerError("It is broken.")
            return {"seconds": number}

        return segment

    answered = alternate({"a": worker("a"), "b": worker("b", 1), "c": worker("c")}, [0, 1, 2], failed)
    assert asked == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("c", 1), ("a", 2), ("c", 2)]
    assert answered == {name: [{"seconds": number} for number in range(3)] for name in "ac"}
    assert failed == {"b": "It is broken."}


@pytest.fixture
def machine(monkeypatch):
    """Workers that take memory of a machine, and what became of them."""
    state = SimpleNamespace(free=100 * GIB, events=[], broken=())

    class FakeWorker:
        def __init__(self, job, errors, patience):
            self.name = job["format"]
            state.events.append(f"+{self.name}")
            state.free -= GIB

        def __enter__(self):
            return self

        def __exit__(self, *error):
            state.events.append(f"-{self.name}")
            state.free += GIB

        def load(self):
            if self.name in state.broken:
                raise WorkerError("It cannot be loaded.")

        def segment(self, number):
            state.events.append(f"{self.name}{number}")
            return {"seconds": 0.5, "memory": 1, "resident": GIB}

    monkeypatch.setattr(measuring, "Worker", FakeWorker)
    monkeypatch.setattr(measuring, "free_memory", lambda: state.free)
    return state


def jobs(*names):
    return {name: {"format": name} for name in names}


def test_all_are_loaded_and_warm_before_any_is_timed(machine, tmp_path):
    groups = measure(jobs("keras", "tflite"), 2, tmp_path, {}, rounds=3)
    warm = ["0", "1", "0"][:WARM_UP]
    assert machine.events == [
        *("+keras", *(f"keras{number}" for number in warm)),
        *("+tflite", *(f"tflite{number}" for number in warm)),
        *("keras0", "tflite0", "keras1", "tflite1", "keras0", "tflite0"),
        *("-tflite", "-keras"),
    ]
    assert {name: len(group) for name, group in groups[0].items()} == {"keras": 3, "tflite": 3}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.5, 60), (100, 10), (1e-4, 200)])
def test_rounds_last_about_a_minute(machine, tmp_path, monkeypatch, seconds, rounds):
    monkeypatch.setattr(measuring.Worker, "segment", lambda *_: {"seconds": seconds, "memory": 1, "resident": GIB})
    groups = measure(jobs("keras", "onnx"), 1, tmp_path, {})
    assert {len(group) for group in groups[0].values()} == {rounds}


def test_what_the_memory_does_not_hold_comes_later_beside_keras(machine, tmp_path):
    machine.free = 2.5 * GIB
    names = ("keras", "savedmodel", "tflite", "onnx")
    groups = measure(jobs(*names), 1, tmp_path, {}, rounds=1)
    assert [list(group) for group in groups] == [["keras", "savedmodel"], ["keras", "tflite"], ["keras", "onnx"]]
    machine.free = 0.5 * GIB  # one at a time is tried at least
    groups = measure(jobs("tflite", "onnx"), 1, tmp_path, {}, rounds=1)
    assert [list(group) for group in groups] == [["tflite"], ["onnx"]]


def test_what_cannot_be_loaded_holds_up_nobody(machine, tmp_path):
    machine.broken = ("keras",)
    failed = {}
    groups = measure(jobs("keras", "tflite"), 1, tmp_path, failed, rounds=1)
    assert [list(group) for group in groups] == [["tflite"]]
    assert failed == {"keras": "It cannot be loaded."}
    assert measure(jobs("keras"), 1, tmp_path, failed, rounds=1) == []


PROGRAMS = {
    "hangs": ("import time; time.sleep(600)", "It gave no answer for 2 seconds."),
    "dies": ("import os; os.kill(os.getpid(), 9)", "Its process ended by signal 9, as one that takes too much memory."),
    "breaks": (
        "import sys; print('Bad luck\\nINFO: Created TensorFlow Lite XNNPACK', file=sys.stderr); sys.exit(3)",
        "exit code 3. It said: Bad luck",
    ),
    "prints": ("input(); print('hello'); input()", "Its process wrote what is no reply: 'hello'."),
    "speaks otherwise": ('input(); print(\'{"seconds": "x"}\'); input()', 'no reply: \'{"seconds": "x"}\'.'),
    "is endless": ("import sys\nwhile True: sys.stdout.write('x' * 2**16)", "Its process wrote what is no reply: 'xxx"),
    "stops amid a reply": ("print('{', end=''); import os, sys; sys.stdout.flush(); os._exit(3)", "with exit code 3."),
    "leaves a child": ("import subprocess; subprocess.Popen(['sleep', '30'])", "Its process ended with exit code 0."),
    "writes no text": ("import os; os.write(1, bytes(range(128, 256)) + b'\\n'); input()", "wrote what is no reply"),
    "complains": ('input(); print(\'{"error": "InputError: no"}\')', "InputError: no"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_process_that_goes_wrong_takes_one_line_and_is_gone(kind, tmp_path, monkeypatch):
    program, message = PROGRAMS[kind]
    monkeypatch.setattr(turns, "_PROGRAM", program)
    begin = time.monotonic()
    with Worker({}, tmp_path / "stderr", patience=2 if kind == "hangs" else 60) as worker:
        with pytest.raises(WorkerError) as error:
            worker.load()
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert worker._process.returncode is not None
    assert time.monotonic() - begin < 30


def test_a_block_that_ends_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "_PROGRAM", "import time; time.sleep(600)")
    with Worker({}, tmp_path / "stderr") as worker:
        assert worker._process.poll() is None
    assert worker._process.returncode is not None


def test_the_memory_of_who_started_a_process_is_not_its_own():
    held = np.ones(2**30, np.uint8)
    program = "from keras_crosscoop.export.benchmark.worker import peak_memory; print(peak_memory())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.check_output([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    assert 2**27 < int(found) < peak_memory() - held.nbytes / 2


def test_formats_are_those_that_can_be_had(monkeypatch):
    assert available(["onnx", "keras", "onnx"]) == (["onnx", "keras"], {})
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    names, left_out = available(None)
    assert names == [name for name in FORMATS if name != "onnx"]
    assert "keras-crosscoop[onnx]" in left_out["onnx"]
    with pytest.raises(ValueError, match=r"keras-crosscoop\[onnx\]"):
        available(["onnx"])
    with pytest.raises(ValueError, match='Did you mean "tflite-int8"'):
        available(["tflite-int"])
