"""Locks on folders: one process at a time, until it ends in whatever way."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

from helpers import refused

from keras_crosscoop.system import locks
from keras_crosscoop.system.locks import locked

HOLDER = """
import sys, pathlib
from keras_crosscoop.system.locks import locked
with locked(pathlib.Path(sys.argv[1]), "Busy."):
    print("has it", flush=True)
    sys.stdin.read()
"""


def enter(folder):
    with locked(folder, "It is in use. Wait."):
        pass


def test_a_second_process_is_refused_and_changes_nothing(tmp_path):
    """Until the first is dead, too."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "has it\n"
    before = [(path.name, path.stat()) for path in tmp_path.iterdir()]
    assert refused(enter, tmp_path) == f"It is in use. Wait. Received: {tmp_path}"
    assert [(path.name, path.stat()) for path in tmp_path.iterdir()] == before
    process.kill()
    process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    enter(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_nothing_is_left(tmp_path):
    with locked(tmp_path, ""):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert [*tmp_path.iterdir()] == []
    with locked(tmp_path, ""):
        (tmp_path / ".lock").unlink()
        tmp_path.rmdir()  # as somebody may do


def test_one_at_a_time_however_they_meet(tmp_path):
    """Each removes the file, which others may have opened before: a counter would lose increments."""
    (tmp_path / "count").write_text("0")
    done = []

    def work():
        for _ in range(200):
            try:
                with locked(tmp_path, "Busy."):
                    count = int((tmp_path / "count").read_text())
                    (tmp_path / "count").write_text(str(count + 1))
                    done.append(1)
            except ValueError as error:
                assert str(error).startswith("Busy.")  # noqa: PT017 - of the many that may be raised

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert int((tmp_path / "count").read_text()) == len(done)


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    enter(tmp_path)
    assert "This file system has no locks (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    assert refused(enter, tmp_path / "gone").startswith("The folder cannot be written (No such file or directory).")
    monkeypatch.setattr(locks, "fcntl", None)
    enter(tmp_path)
