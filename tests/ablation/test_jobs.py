"""Jobs in processes: their order, their failures, their shares of the machine, and how signals end them."""

import json
import os
import signal
import threading
import time

import pytest

from keras_crosscoop.ablation import jobs, worker
from keras_crosscoop.ablation.jobs import Job, run_jobs
from keras_crosscoop.errors import Interrupted
from keras_crosscoop.system import signals

WORKER = """
import json, os, pathlib, signal, sys, threading, time
job = json.loads(sys.stdin.readline())
folder = pathlib.Path(job["folder"])
say = lambda **content: os.write(1, json.dumps(content).encode() + b"\\n")  # whole, from two threads
def end():
    sys.stdin.read()
    time.sleep(job.get("saving", 0))
    (folder / "ended").touch()
    say(**({"error": "no room"} if "lost" in job else {"end": "stopped"}))
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
for name in job.get("needs", []):
    assert (folder.parent / name / "done").exists()
say(stage="training", done=1, total=2)
(folder / "environment.json").write_text(json.dumps(dict(os.environ)))
for name in job.get("meets", []):
    while not (folder.parent / name / "environment.json").exists():
        time.sleep(0.01)
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
    say(end="")
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Makes jobs for a worker that does what its task says, without TensorFlow."""
    monkeypatch.setattr(jobs, "_PROGRAM", WORKER)
    monkeypatch.setattr(signals, "AT_ONCE", 0.1)

    def make(name, after=(), **task):
        return Job(name, {"folder": str(tmp_path / name), **task}, after)

    return make


@pytest.fixture
def progress():
    return []


@pytest.fixture
def run(progress):
    """Runs jobs, and records their progress."""
    return lambda jobs, at_once: run_jobs(jobs, at_once, lambda *stage: progress.append(stage))


def test_all_are_done_with_progress(job, run, progress, tmp_path):
    assert run([job("a"), job("b")], 1) == {}
    assert (tmp_path / "a/done").exists()
    assert progress == [
        *(("a", "training", 1, 2), ("a", "done", 1, 1)),
        *(("b", "training", 1, 2), ("b", "done", 1, 1)),
    ]
    assert not (tmp_path / "a.log").exists()


def test_ensembles_wait_for_their_members(job, run):
    jobs = [job("ensemble", ("a", "b"), needs=["a", "b"]), job("a", sleep=0.1), job("b", sleep=0.2), job("c")]
    assert run(jobs, 3) == {}


def test_failures_are_named_and_the_others_go_on(job, run, progress, tmp_path):
    (tmp_path / "d").write_text("no folder")
    jobs = [
        *(job("a", how="error"), job("b", how="dies"), job("ensemble", ("a", "c"))),
        *(job("d"), job("e", how="prints"), job("c")),
    ]
    failed = run(jobs, 1)
    assert failed.pop("d").startswith("The folder cannot be made (File exists).")
    assert failed == {
        "a": "There is no such file. Received: x",
        "b": "Its process ended by signal 9, perhaps for lack of memory. Its last output: Killed by a test",
        "ensemble": "It needs a, which failed.",
        "e": "Its process wrote an invalid message: 'hello'.",
    }
    assert (tmp_path / "c/done").exists()
    assert not (tmp_path / "ensemble").exists()
    assert {name for name, stage, *_ in progress if stage == "failed"} == {"a", "b", "d", "e", "ensemble"}
    assert (tmp_path / "b.log").read_text() == "Killed by a test\n"


@pytest.mark.parametrize(("visible", "expected"), [(None, ["0", "1"]), ("3,5", ["3", "5"])])
def test_simultaneous_jobs_share_cores_and_gpus(job, run, tmp_path, monkeypatch, visible, expected):
    monkeypatch.setattr(jobs, "cores", lambda: 8)
    monkeypatch.setattr(jobs.tf.config, "list_physical_devices", lambda kind: ["one", "other"])
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert run([job("a", meets=["b"]), job("b", meets=["a"])], 2) == {}
    environments = [json.loads((tmp_path / name / "environment.json").read_text()) for name in "ab"]
    assert sorted(environment["CUDA_VISIBLE_DEVICES"] for environment in environments) == expected
    assert {environment["TF_NUM_INTRAOP_THREADS"] for environment in environments} == {"4"}


@pytest.fixture
def stop(tmp_path):
    """Sends signals once a job named "a" is at work."""

    def send(numbers, wait):
        while not (tmp_path / "a/environment.json").exists():
            time.sleep(0.01)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(wait)

    return lambda *numbers, wait=0: threading.Thread(target=send, args=(numbers, wait)).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_jobs_save_and_begins_no_other(job, run, tmp_path, stop, number):
    stop(number)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"^stopped and saved\. Continue with the same command") as error:
        run([job("a", sleep=60), job("b"), job("ensemble", ("a",))], 1)
    assert error.value.signal == number
    assert (tmp_path / "a/ended").exists()
    assert not (tmp_path / "b").exists()
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_wait(job, run, tmp_path, stop):
    stop(signal.SIGINT, signal.SIGINT, wait=0.3)
    with pytest.raises(Interrupted, match=r"^stopped and saved, except a\. Continue with the same command"):
        run([job("a", sleep=60, saving=60)], 1)
    assert not (tmp_path / "a/ended").exists()


def test_a_signal_that_comes_twice_at_once_is_one(job, run, tmp_path, stop, monkeypatch):
    monkeypatch.setattr(signals, "AT_ONCE", 60)
    stop(signal.SIGTERM, signal.SIGTERM, wait=0.1)
    with pytest.raises(Interrupted, match=r"^stopped and saved\. Continue"):
        run([job("a", sleep=60, saving=0.3)], 1)
    assert (tmp_path / "a/ended").exists()


def test_jobs_that_could_not_save_are_named(job, run, stop):
    stop(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"^stopped and saved, except a\. Continue with the same command"):
        run([job("a", sleep=60, lost=True, meets=["b"]), job("b", sleep=60)], 2)


def test_a_job_that_was_stopped_alone_has_failed(job, run, tmp_path, stop):
    """Without a signal to this process its text is the reason."""
    program = 'import sys; sys.stdin.readline(); print(\'{"end": "stopped, and saved"}\', flush=True)'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "_PROGRAM", program)
        assert run([job("a")], 1) == {"a": "stopped, and saved"}


def test_a_job_that_does_not_end_is_killed(job, run, monkeypatch):
    monkeypatch.setattr(jobs, "_PATIENCE", 0.1)
    begin = time.monotonic()
    failed = run([job("a", how="prints", waits=60, saving=60)], 1)
    assert failed == {"a": "Its process wrote an invalid message: 'hello'."}
    assert time.monotonic() - begin < 30


def test_the_real_worker_reports_its_error(tmp_path, monkeypatch, capsys):
    """The worker's program, in this process; where it reads its job, and its log, are replaced."""
    task = {"folder": str(tmp_path / "a"), "settings": {"data": {"name": "nothing"}}, "ensemble": []}
    replies = []
    monkeypatch.setattr(worker, "connect", lambda: (iter([task]), lambda **reply: replies.append(reply)))
    monkeypatch.setattr(worker, "lock", lambda file, wait: None)
    monkeypatch.setattr(worker, "_end_with", lambda messages: None)
    exec(jobs._PROGRAM, {})
    ((kind, reason),) = replies[0].items()
    assert (kind, len(replies)) == ("error", 1)
    assert reason.startswith("There is no data set or folder of that name.")
    assert "Traceback" in capsys.readouterr().err
