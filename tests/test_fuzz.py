"""Damaged files are read, or refused in one line.

10,000 of them (slow) in processes of their own, each in a minute and the memory that docs/files.md names.
"""

import json
import os
import random
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import seeds, weight_seeds

from keras_crosscoop.errors import InputError

COUNT = 2000  # of each kind
SECONDS = 60  # for one file: HDF5 takes 10 for some damaged texts, and the machine may have other work
START = 300  # until the first one is read

WORKER = Path(__file__).parent / "fuzzing" / "worker.py"


@pytest.mark.parametrize("make", [seeds.yaml, weight_seeds.checkpoints])
def test_some_damaged_files_are_read_or_refused(make, tmp_path, monkeypatch):
    """Small files, within this process."""
    monkeypatch.chdir(tmp_path)
    examples, outcomes = make(tmp_path), {"read": 0, "refused": 0}
    for number in range(100):
        seed = examples[number % len(examples)]
        content = seed.mutate(seed.content, random.Random(number), [seed.content])
        try:
            seed.run(content)
            outcomes["read"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 0


class Worker:
    """A process that reads inputs from a number on, and its replies."""

    def __init__(self, kind, folder, first, stop):
        command = [sys.executable, str(WORKER), kind, str(folder), str(first), str(stop)]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONFAULTHANDLER": "1"}
        self.errors = (folder.parent / f"{kind}.stderr").open("wb+")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, env=environment)
        self.pending = b""

    def line(self, seconds):
        """The next line, None after the last, or where none comes in that time."""
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            data = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                return None
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def close(self):
        """Ends the process; returns the exit code it had, None if it was running, and the end of its output."""
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.seek(0)
        printed = self.errors.read()[-1500:].decode(errors="replace")
        self.errors.close()
        return code, printed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "weights", "yaml", "json", "record"])
def test_damaged_files_are_read_or_refused(kind, tmp_path):
    count = int(os.environ.get("CROSSCOOP_FUZZ", COUNT))
    kept = tmp_path / "failures"
    kept.mkdir()
    folder, first, failures, outcomes = tmp_path / kind, 0, [], {"read": 0, "refused": 0}
    while first < count:
        worker, begun, seconds = Worker(kind, folder, first, count), None, START
        while (line := worker.line(seconds)) is not None:
            if "outcome" in line:
                if line["wrong"]:
                    failures.append(keep(folder, kept, begun, line["wrong"]))
                else:
                    outcomes[line["outcome"]] += 1
                first, begun = begun["number"] + 1, None
            else:
                begun, seconds = line, SECONDS
        code, printed = worker.close()
        if begun is None and first < count:
            pytest.fail(f"the worker did not begin ({code}): {printed}")
        if begun:
            reason = f"no answer in {SECONDS} s" if code is None else f"the process ended with {code}"
            failures.append(keep(folder, kept, begun, f"{reason}: {printed}"))
            first = begun["number"] + 1
    assert failures == [], f"{len(failures)} of {count}; {outcomes}"
    assert outcomes["refused"] > count / 10  # or nothing was damaged
    assert outcomes["read"] > 0


def keep(folder, kept, begun, reason):
    """Keeps an input for inspection, and returns its path with the reason."""
    target = kept / f"{begun['number']}-{begun['seed']}"
    shutil.copy(folder / "input", target)
    return f"{target}: {reason}"
