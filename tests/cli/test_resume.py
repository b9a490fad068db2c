"""A run that was killed or stopped, and resumed, ends as one that never was: the same bits."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import TINY_FIT, untimed

COMMAND = (
    *("fit", *TINY_FIT, "--batch-size=4", "--epochs=8", "--save-every=2"),
    *("--set=model.decoder_channels=8", "--set=train.ema_decay=0.9", "--set=train.validate_every=3"),
    "--set=data.rare_classes=0.5",
)


@pytest.fixture(scope="module")
def start(halves, tmp_path_factory):
    """Starts `crosscoop-tf fit` in a process of its own."""
    root = tmp_path_factory.mktemp("resumed")

    def begin(name, *options):
        program = "from crosscoop_tf.main import main; main()"
        again = (root / name / "config.yaml").exists()
        new = [*COMMAND, f"--data-dir={halves}", f"--output={root / name}", *options]
        arguments = ["fit", f"--resume={root / name}"] if again else new
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        return root / name, subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True, env=environment
        )

    return begin


@pytest.fixture(scope="module")
def undisturbed(start):
    """The folder of a run that nobody stopped."""
    folder, process = start("undisturbed")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return folder


def state(folder):
    """The last checkpoint, and the metrics of all epochs."""
    with np.load(max((folder / "checkpoints").glob("*.npz"))) as arrays:
        values = {name: arrays[name].tobytes() for name in arrays.files}
    return values, list(csv.reader((folder / "history.csv").read_text().splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM],
)
def test_ends_as_if_nothing_had_happened(start, undisturbed, crosscoop, number):
    folder, process = start(f"stopped-{number}")
    while not list(folder.glob("checkpoints/0*.npz")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert not (folder / "metrics.json").exists()  # it came in time
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert f"--resume {folder}" in errors.splitlines()[-1]
    code, _, _ = crosscoop("fit", "--resume", folder)
    assert code == 0
    values, history = state(folder)
    expected_values, expected_history = state(undisturbed)
    assert history == expected_history
    assert len(history) == 9
    assert values == expected_values
    assert untimed(folder / "metrics.json") == untimed(undisturbed / "metrics.json")


@pytest.mark.slow
def test_ten_kills_at_random_moments(start):
    """At whatever it does then: imports, compiling, steps, saving, validation."""
    longer = "--epochs=60"
    undisturbed, process = start("undisturbed-longer", longer)
    process.communicate()
    for _ in range(10):
        folder, process = start("killed", longer)
        before = list(folder.glob("checkpoints/0*.npz"))
        latest = time.monotonic() + random.uniform(0, 40)
        while time.monotonic() < latest and list(folder.glob("checkpoints/0*.npz")) == before:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it was not done yet
    folder, process = start("killed", longer)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    values, history = state(folder)
    expected_values, expected_history = state(undisturbed)
    assert history == expected_history
    assert len(history) == 61
    assert values == expected_values


def test_a_signal_ends_the_run_saved_and_it_is_resumed(crosscoop, halves, tmp_path, monkeypatch, builds_micro_networks):
    """SIGTERM comes within the third of four steps; the history has every epoch in the end."""
    from crosscoop_tf.progress import FitProgress

    def terminate(progress, batch, logs):
        if progress.model.optimizer.iterations == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    options = (*TINY_FIT, "--batch-size=4", "--epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(FitProgress, "on_train_batch_end", terminate)
        code, _, err = crosscoop("fit", *options, f"--data-dir={halves}", "--output=run")
    assert code == 128 + signal.SIGTERM
    assert "--resume run" in err.splitlines()[-1]
    assert not (tmp_path / "run/metrics.json").exists()

    code, _, err = crosscoop("fit", "--resume", "run", "--epochs=9")
    assert code == 2
    assert "--resume takes no other options. Received: --epochs" in err
    assert crosscoop("fit", "--resume", "run").code == 0
    assert len((tmp_path / "run/history.csv").read_text().splitlines()) == 1 + 2
    assert json.loads((tmp_path / "run/metrics.json").read_text())["images"] == 3


def test_only_runs_are_resumed(crosscoop, tmp_path):
    code, _, err = crosscoop("fit", "--resume", tmp_path)
    assert code == 2
    assert "This is not a run" in err
