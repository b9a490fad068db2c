"""What every command has in common: help, version, errors, and that nothing slow is loaded for these."""

import subprocess
import sys

import pytest


def test_help_and_version_load_neither_tensorflow_nor_keras():
    script = """
import sys
from crosscoop_tf.main import commands
for arguments in (["--help"], ["--version"], ["fit", "--help"], ["info", "--backbones"]):
    slow = {"rich"} & set(sys.modules)  # before the last, which prints a table by it
    try:
        commands(arguments)
    except SystemExit:
        pass
slow |= {"tensorflow", "keras", "keras_crosscoop", "numpy", "pydantic"} & set(sys.modules)
sys.exit(f"loaded {slow}" if slow else 0)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "crosscoop-tf, version 0." in result.stdout


@pytest.mark.parametrize("command", ["fit", "evaluate", "predict", "summary", "info"])
def test_every_command_is_listed_and_shows_examples(crosscoop, command):
    assert f"  {command}  " in crosscoop("--help").out
    assert f"\n  crosscoop-tf {command}" in crosscoop(command, "--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--epoch"], "Try: crosscoop-tf fit --help"),
        (["fitt"], "No such command 'fitt'."),
        (["fit", "--dataset", "camvd"], 'no data set or folder of that name. Did you mean "camvid"?'),
        (["fit", "--dataset", "camvid"], "needs --data-dir"),
        (["fit", "--dataset", "camvid", "--data-dir", "nowhere"], "There is no such folder of a data set."),
        (["fit", "--config", "camvit"], 'no config of that name. Did you mean "camvid"?'),
        (["fit", "--config", "my.yaml"], "There is no such YAML file. Is the path right? Received: my.yaml"),
        (["fit", "--topology", "crss"], "Setting model.topology: Input should be 'none', 'one_way' or 'cross'"),
        (["fit", "--set", "model.sites=[asp]"], "Setting model.sites.0: Input should be 'backbone', 'aspp',"),
        (["fit", "--set", "train.epoch=3"], 'no setting of that name. Did you mean "train.epochs"?'),
        (["fit", "--set", "train.epochs"], "section.key=value"),
        (["fit", "--epochs", "0"], "Setting train.epochs: Input should be greater than or equal to 1. Received: 0"),
        (["evaluate", "nowhere"], "This is not a run"),
        (["predict", "nowhere", "a.jpg", "--output", "out"], "This is not a run"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(crosscoop, tmp_path, arguments, message):
    code, out, err = crosscoop(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("crosscoop-tf: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_info_names_versions_and_devices(crosscoop):
    code, out, _ = crosscoop("info")
    assert code == 0
    for name in ("python", "tensorflow", "keras-crosscoop", "CPU:0", "float32"):
        assert name in out
