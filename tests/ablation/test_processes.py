"""Jobs in processes: their order, their failures, their shares of the machine, and how signals end them."""

import json
import os
import signal
import threading
import time

import pytest

from keras_crosscoop.ablation import processes
from keras_crosscoop.ablation.processes import Job, run_jobs
from keras_crosscoop.errors import Interrupted

WORKER = """
import json, os, pathlib, signal, sys, threading, time
job = json.loads(sys.stdin.readline())
folder = pathlib.Path(job["folder"])
say = lambda **content: print(json.dumps(content), flush=True)
def end():
    sys.stdin.read()
    time.sleep(job.get("saves", 0))
    (folder / "ended").touch()
    say(error="stopped", saved="lost" not in job)
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
for each in job.get("needs", []):
    assert (folder.parent / each / "done").exists()
say(doing="training", done=1, total=2)
(folder / "environment.json").write_text(json.dumps(dict(os.environ)))
time.sleep(job.get("sleep", 0))
if job.get("how") == "error":
    say(error="There is no such file. Received: x")
elif job.get("how") == "prints":
    print("hello", flush=True)
    time.sleep(job.get("waits", 0))
elif job.get("how") == "dies":
    print("Killed by a test", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
else:
    (folder / "done").touch()
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes jobs of a worker that does what it is told, without TensorFlow."""
    monkeypatch.setattr(processes, "_PROGRAM", WORKER)

    def make(name, after=(), **told):
        return Job(name, {"folder": str(tmp_path / name), **told}, after)

    return make


@pytest.fixture
def told():
    """What is told of progress."""
    return []


def watch(told):
    return lambda *what: told.append(what)


def test_all_are_done_and_told(job, told, tmp_path):
    assert run_jobs([job("a"), job("b")], 1, watch(told)) == {}
    assert (tmp_path / "a/done").exists()
    assert (tmp_path / "b/done").exists()
    assert told == [
        *(("a", "training", 1, 2), ("a", "done", 1, 1)),
        *(("b", "training", 1, 2), ("b", "done", 1, 1)),
    ]
    assert not (tmp_path / "a.log").exists()


def test_jobs_wait_for_what_they_are_made_of(job, told):
    jobs = [job("joined", ("a", "b"), needs=["a", "b"]), job("a", sleep=0.3), job("b", sleep=0.6), job("c")]
    assert run_jobs(jobs, 3, watch(told)) == {}


def test_failures_are_named_and_the_others_go_on(job, told, tmp_path):
    jobs = [job("a", how="error"), job("b", how="dies"), job("joined", ("a", "c")), job("c")]
    failed = run_jobs(jobs, 1, watch(told))
    assert failed == {
        "a": "There is no such file. Received: x",
        "b": "Its process ended with exit code -9. Killed by a test",
        "joined": "It is made of a, which failed.",
    }
    assert (tmp_path / "c/done").exists()
    assert {what[0] for what in told if what[1] == "failed"} == {"a", "b", "joined"}
    assert (tmp_path / "b.log").read_text() == "Killed by a test\n"


def test_so_many_at_a_time_share_the_machine(job, told, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 8)
    start = time.monotonic()
    run_jobs([job(name, sleep=1) for name in "abcd"], 4, watch(told))
    assert time.monotonic() - start < 3.5
    environments = [json.loads((tmp_path / name / "environment.json").read_text()) for name in "abcd"]
    assert {each["TF_NUM_INTRAOP_THREADS"] for each in environments} == {"2"}


@pytest.mark.parametrize(("visible", "expected"), [(None, ["0", "1"]), ("3,5", ["3", "5"])])
def test_each_has_a_gpu_of_its_own(job, told, tmp_path, monkeypatch, visible, expected):
    monkeypatch.setattr(processes.tf.config, "list_physical_devices", lambda kind: ["one", "other"])
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    run_jobs([job(name, sleep=0.5) for name in "ab"], 2, watch(told))
    found = [json.loads((tmp_path / name / "environment.json").read_text())["CUDA_VISIBLE_DEVICES"] for name in "ab"]
    assert sorted(found) == expected


@pytest.fixture
def stopped(tmp_path):
    """Sends signals once a job named "a" is at work."""

    def stop(numbers, wait):
        while not (tmp_path / "a/environment.json").exists():
            time.sleep(0.05)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(wait)

    return lambda *numbers, wait=0: threading.Thread(target=stop, args=(numbers, wait)).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_jobs_save_and_begins_no_other(job, told, tmp_path, stopped, number):
    stopped(number)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"^stopped, and saved\. Go on by the same command") as error:
        run_jobs([job("a", sleep=60), job("b")], 1, watch(told))
    assert error.value.signal == number
    assert (tmp_path / "a/ended").exists()
    assert not (tmp_path / "b").exists()
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_wait(job, told, tmp_path, stopped):
    stopped(signal.SIGINT, signal.SIGINT, wait=1.2)
    with pytest.raises(Interrupted, match=r"^stopped, and saved, but for a\. Go on by the same command"):
        run_jobs([job("a", sleep=60, saves=60)], 1, watch(told))
    assert not (tmp_path / "a/ended").exists()


def test_one_that_comes_twice_at_once_is_one(job, told, tmp_path, stopped):
    stopped(signal.SIGTERM, signal.SIGTERM, wait=0.1)
    with pytest.raises(Interrupted, match=r"^stopped, and saved\. Go on"):
        run_jobs([job("a", sleep=60, saves=0.5)], 1, watch(told))
    assert (tmp_path / "a/ended").exists()


def test_what_was_not_saved_is_named(job, told, stopped):
    stopped(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"^stopped, and saved, but for a\. Go on by the same command"):
        run_jobs([job("a", sleep=60, lost=True), job("b", sleep=60)], 2, watch(told))


def test_a_job_that_speaks_otherwise_and_does_not_end_is_ended(job, told, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.1)
    begin = time.monotonic()
    failed = run_jobs([job("a", how="prints", waits=60, saves=60)], 1, watch(told))
    assert failed == {"a": "Its process wrote what is no reply: 'hello'."}
    assert time.monotonic() - begin < 30


def test_a_job_that_cannot_begin_or_speaks_otherwise_has_failed(job, told, tmp_path):
    (tmp_path / "a").write_text("no folder")
    failed = run_jobs([job("a"), job("b", how="prints"), job("c")], 1, watch(told))
    assert failed["a"].startswith("FileExistsError: ")
    assert failed["b"] == "Its process wrote what is no reply: 'hello'."
    assert (tmp_path / "c/done").exists()
