"""What a command prints is its own; what goes wrong in native code shows all the same."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import dataset
from keras_crosscoop.system.processes import CHATTER

PROGRAM = """
import json, sys
from crosscoop_tf.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["crosscoop-tf", *arguments]
    main()
    print("END", flush=True)
    print("END", file=sys.stderr)
"""


@pytest.mark.parametrize("end", ["", "os.abort()"])
def test_known_messages_of_native_code_are_dropped_and_others_are_not(end):
    """Also the last words of a process that dies at once."""
    script = f"""
import os, sys
from crosscoop_tf.tensorflow_command import native_messages_filtered
os.write(2, b"INFO: before\\n")
with native_messages_filtered({CHATTER!r}):
    print("INFO: Python's own", file=sys.stderr)
    for line in (
        b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
        b"I0000 00:00:1795898571.296735   20749 port.cc:153] oneDNN custom operations are on.",
        b"W0000 00:00:1795898571.296735   20749 a.cc:1] Ignored output_format.",
        b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        b"fully_quantize: 0, inference_type: 6",
        b"F0000 00:00:1795898571.296735   20749 b.cc:2] Check failed: it is broken",
    ):
        os.write(2, line + b"\\n")
    {end}
os.write(2, b"INFO: after\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode == 0) == (not end)
    expected = [
        "INFO: before",
        "INFO: Python's own",
        "F0000 00:00:1795898571.296735   20749 b.cc:2] Check failed: it is broken",
    ]
    assert sorted(done.stderr.splitlines()) == sorted([*expected, *["INFO: after"] * (not end)])


@pytest.mark.slow
def test_training_and_conversion_print_their_own_lines_alone(halves, tmp_path):
    """Images of many sizes, for which TensorFlow would warn of retracing; LiteRT, whose converter and runtime talk."""
    rng = np.random.default_rng(0)
    for number in range(8):
        size = (32 + 16 * (number % 4), 48 + 16 * (number // 4))
        for kind, shape in (("images", (*size, 3)), ("masks", size)):
            folder = tmp_path / "data" / kind
            for split in ("train", "val"):
                (folder / split).mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 2 if kind == "masks" else 256, shape, np.uint8)
                Image.fromarray(pixels).save(folder / split / f"{number}.png")
    (tmp_path / "data/classes.txt").write_text("dark\nbright\n")
    run, data = tmp_path / "run", f"--data-dir={tmp_path / 'data'}"
    tiny = ("--dataset=folder", "--top=tiny_resnet", "--bottom=none", "--weights=none", "--crop-size=32")
    quick = ("--epochs=1", "--batch-size=4", "--set=model.decoder_channels=8")
    options = ("--format=tflite", "--quantize=int8", "--calibration=2", "--images=2", "--min-agreement=0")
    commands = [
        ("fit", *tiny, *quick, data, f"--output={run}"),
        ("predict", run, tmp_path / "data/images/val", f"--output={tmp_path / 'out'}"),
        ("export", run, *options, "--size=32x48"),
    ]
    arguments = json.dumps([[*map(str, command)] for command in commands])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fit, predict, export = done.stderr.split("END\n")[:-1]
    *statements, epoch, evaluating = fit.splitlines()
    assert statements == list(dataset("folder", tmp_path / "data").statements)
    assert re.fullmatch(r"epoch 1/1  loss .*", epoch)
    assert evaluating.startswith("Evaluating ")
    assert (predict, export) == ("", "")
    assert done.stdout.split("END\n")[1] == f"Pictures: {tmp_path / 'out'}\n"
    assert list(json.loads((run / "metrics.json").read_text())["outputs"]) == ["single"]


@pytest.mark.slow
def test_evaluation_and_prediction_print_their_own_lines_alone(tiny_run_folder, halves, tmp_path):
    """In a process of its own: native code prints about start-up once per process."""
    commands = [
        ("evaluate", tiny_run_folder),
        ("predict", tiny_run_folder, halves / "images/val", f"--output={tmp_path / 'out'}"),
    ]
    arguments = json.dumps([[*map(str, command)] for command in commands])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    evaluating, predicting = done.stderr.split("END\n")[:-1]
    assert [line.split()[0] for line in evaluating.splitlines()] == ["Evaluating"]
    assert predicting == ""
