"""Locks on folders: one process at a time, until it ends in whatever way."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading

from helpers import refused

from keras_crosscoop.system import locks
from keras_crosscoop.system.locks import LOCK_FILE, locked

HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print("has it", flush=True)
sys.stdin.read()
"""


def enter(folder):
    with locked(folder, "It is in use. Wait."):
        pass


def test_a_second_process_is_refused_and_changes_nothing(tmp_path):
    """Until the first is dead, too."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / LOCK_FILE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "has it\n"
    before = [(path.name, path.stat()) for path in tmp_path.iterdir()]
    assert refused(enter, tmp_path) == f"It is in use. Wait. Received: {tmp_path}"
    assert [(path.name, path.stat()) for path in tmp_path.iterdir()] == before
    process.kill()
    process.communicate()
    enter(tmp_path)


def test_a_locked_folder_is_refused(tmp_path):
    with locked(tmp_path, "Busy."):
        assert refused(enter, tmp_path) == f"It is in use. Wait. Received: {tmp_path}"


def test_the_folder_may_be_removed_meanwhile(tmp_path):
    (folder := tmp_path / "run").mkdir()
    with locked(folder, ""):
        shutil.rmtree(folder)
    assert not folder.exists()


def test_one_at_a_time_however_they_meet(tmp_path):
    """Otherwise a counter would lose increments."""
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
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
