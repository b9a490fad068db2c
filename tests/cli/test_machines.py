"""Two machines train together, on loopback: when one is killed or told to stop, both end in order, and both go on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import TINY_FIT, free_ports

pytestmark = pytest.mark.slow
COMMAND = ("fit", *TINY_FIT, "--batch-size=4", "--epochs=12", "--save-every=5", "--set=model.decoder_channels=8")


def start(*arguments):
    """The two processes of a command."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    program = "from crosscoop_tf.main import main; main()"
    processes = []
    for index in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_CONFIG": config}
        command = [sys.executable, "-c", program, *map(str, arguments)]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
    return processes


def ended(processes):
    """The exit codes, and what was printed."""
    errors = [process.communicate(timeout=300)[1] for process in processes]
    return [process.returncode for process in processes], errors


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_both_end_and_go_on(halves, tmp_path, victim, number):
    run = tmp_path / "run"
    processes = start(*COMMAND, f"--data-dir={halves}", f"--output={run}")
    while not list(run.glob("checkpoints/0*.npz")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    processes[victim].send_signal(number)
    codes, errors = ended(processes)
    if number == signal.SIGTERM:
        assert codes == [143, 143]
        assert all("stopped and saved at step" in text for text in errors)
    else:
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == 2
        assert f"another machine of this training (worker {victim}) is lost" in errors[1 - victim]
        assert "Traceback" not in errors[1 - victim]
    codes, errors = ended(start("fit", "--resume", run))
    assert codes == [0, 0], errors
    assert len((run / "history.csv").read_text().splitlines()) == 13
    assert (run / "metrics.json").exists()
