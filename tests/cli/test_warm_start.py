"""`crosscoop-tf fit --init` goes on from an earlier run, and says what it could not use."""

import csv

import keras
import numpy as np
import yaml
from helpers import TINY_FIT

import keras_crosscoop

TINY = (*TINY_FIT, "--epochs=1", "--set=model.width=8")


def test_a_run_starts_from_one_of_other_classes(crosscoop, run_folder, make_folder, tmp_path):
    """At a rate of learning that changes nothing, so that the earlier values are still there."""
    arguments = (
        f"--data-dir={make_folder()}",
        f"--init={run_folder}",
        "--output=run",
        "--set=train.learning_rate=1e-30",
    )
    code, _, err = crosscoop("fit", *TINY, *arguments)
    assert code == 0
    lines = err.splitlines()
    start = next(number for number, line in enumerate(lines) if "loaded from best.weights.h5" in line)
    assert lines[start].endswith("variables loaded from best.weights.h5; skipped: 4 of another shape")
    assert sorted(lines[start + 1 : start + 5]) == [
        "  bottom_classifier/bias: (2,) in the file, (3,) in the model",
        "  bottom_classifier/kernel: (1, 1, 16, 2) in the file, (1, 1, 16, 3) in the model",
        "  top_classifier/bias: (2,) in the file, (3,) in the model",
        "  top_classifier/kernel: (1, 1, 16, 2) in the file, (1, 1, 16, 3) in the model",
    ]

    earlier, model = keras_crosscoop.load(run_folder), keras_crosscoop.load(tmp_path / "run")
    rows = {row["variable"]: row for row in csv.DictReader((tmp_path / "run/init.csv").read_text().splitlines())}
    assert rows.keys() == {weight.path for weight in model.weights}
    trained = {weight.path: weight.numpy() for weight in earlier.trainable_weights}
    for weight in model.trainable_weights:
        assert (rows[weight.path]["outcome"] == "loaded") == ("classifier" not in weight.path)
        if "classifier" not in weight.path:
            np.testing.assert_array_equal(weight.numpy(), trained[weight.path], err_msg=weight.path)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["train"]["init"] == str(run_folder)


def test_what_cannot_be_started_from_is_refused_in_one_line(crosscoop, make_folder, tmp_path):
    data = f"--data-dir={make_folder()}"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    (tmp_path / "text.weights.h5").write_text("hello")
    for name, message in {
        "nowhere": "no such run or file of weights to start from",
        "other.keras": "Nothing in the file fits",
        "text.weights.h5": "cannot be read",
        "mine": "This is no run",
    }.items():
        code, out, err = crosscoop("fit", *TINY, data, f"--init={name}", "--output=run")
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("crosscoop-tf: ")
        assert message in err.splitlines()[-1]
        assert err.splitlines()[-1].endswith(f"Received: {tmp_path / name}")
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
