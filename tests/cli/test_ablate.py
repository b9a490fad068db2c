"""`crosscoop-tf ablate`, in miniature."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from crosscoop_tf.ablate import ablate
from crosscoop_tf.fit import fit
from crosscoop_tf.settings import resolve
from helpers import untimed
from PIL import Image

from keras_crosscoop import load
from keras_crosscoop.ablation import telling
from keras_crosscoop.ablation.rows import ROWS, TABLES
from keras_crosscoop.metrics import iou_per_class
from keras_crosscoop.models import costs
from keras_crosscoop.system.locks import locked

TINY = (
    *("--dataset=folder", "--top=tiny_xception", "--bottom=tiny_resnet", "--weights=none"),
    *("--crop-size=32", "--set=model.decoder_channels=8", "--batch-size=4", "--precision=float32", "--epochs=2"),
)
SHOWN = "--rows=ensemble_singles,cross"


def options(halves, output):
    return (*TINY, f"--data-dir={halves}", f"--output={output}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ablation") / "of halves"


@pytest.fixture
def ablation(crosscoop, halves, folder):
    """Its folder, and what it printed; done once for the module."""
    if not folder.exists():
        code, out, err = crosscoop("ablate", *options(halves, folder), SHOWN, "--seeds=1", "--json")
        assert code == 0, err
        (folder / "printed.json").write_text(out)
    return folder, json.loads((folder / "printed.json").read_text())


def test_every_row_is_trained_and_told(ablation):
    folder, found = ablation
    lines = [(line["row"], line["output"], line["seeds"]) for line in found["lines"]]
    assert lines == [
        ("single_top", "single", [0]),
        ("single_bottom", "single", [0]),
        ("ensemble_singles", "ensemble", [0]),
        *(("cross", output, [0]) for output in ("top", "bottom", "ensemble")),
    ]
    assert found["failed"] == {}
    assert json.loads((folder / "ablation.json").read_text()) == found
    with (folder / "ablation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["output"]) for row in rows] == [line[:2] for line in lines]
    for kind in ("md", "html"):
        assert "single network: tiny_xception" in (folder / f"ablation.{kind}").read_text()
    with Image.open(folder / "examples.png") as sheet:
        assert sheet.width > 1000


def test_figures_are_those_of_the_runs(ablation, halves):
    """Of each run evaluated by hand: segmented and counted."""
    folder, found = ablation
    images, labels = (
        [np.asarray(Image.open(halves / kind / "val" / f"{number}.png")) for number in range(3)]
        for kind in ("images", "masks")
    )

    def mean_iou(networks, output):
        matrix = np.zeros((2, 2), int)
        for image, truth in zip(images, labels, strict=True):
            if output == "ensemble" and len(networks) == 2:
                probabilities = sum(network.segment(image, probabilities=True)[1] for network in networks)
                classes = probabilities.argmax(-1)
            else:
                classes = networks[0].segment(image, output)
            np.add.at(matrix, (truth, classes), 1)
        return np.nanmean(iou_per_class(matrix))

    for line in found["lines"]:
        names = ["single_top", "single_bottom"] if line["row"] == "ensemble_singles" else [line["row"]]
        networks = [load(folder / name / "seed-0") for name in names]
        assert line["mean_iou"] == pytest.approx([mean_iou(networks, line["output"])])
        if line["row"] != "cross":
            cross = next(
                each
                for each in found["lines"]
                if (each["row"], each["output"]) == ("cross", line["gain_of_cross"]["output"])
            )
            assert line["gain_of_cross"]["of_seeds"] == pytest.approx(np.subtract(cross["mean_iou"], line["mean_iou"]))


def test_conditions_are_the_same_for_all(ablation):
    folder, _ = ablation
    configs = {
        row: (folder / row / "seed-0/config.yaml").read_text() for row in ("single_top", "single_bottom", "cross")
    }
    parts = {row: text.partition("model:")[0] + text.partition("train:")[2] for row, text in configs.items()}
    assert len({*parts.values()}) == 1
    assert "seed: 0" in parts["cross"]


def test_done_rows_are_not_trained_again(ablation, crosscoop, halves):
    folder, found = ablation
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")}
    code, out, err = crosscoop("ablate", *options(halves, folder), SHOWN, "--seeds=1", "--json")
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")} == before
    again = json.loads(out)
    for line in (*again["lines"], *found["lines"]):
        line["cost"].pop("seconds")
    assert again == found


def test_tables_are_written_whatever_the_costs_of_a_row_or_the_pictures_do(ablation, crosscoop, halves, monkeypatch):
    folder, found = ablation
    parts = costs.parts

    def of_singles(model):
        if len(model.sides) > 1:
            raise ValueError("not enough values to unpack\nin line 115")
        return parts(model)

    monkeypatch.setattr(costs, "parts", of_singles)
    monkeypatch.setattr(telling, "draw_examples", lambda *arguments: [][sys.stdout.write("Downloading data\n")])
    for kind in ("csv", "json", "md", "html"):
        (folder / f"ablation.{kind}").unlink()
    code, out, err = crosscoop("ablate", *options(halves, folder), SHOWN, "--seeds=1", "--json")
    assert code == 1
    assert err.splitlines() == [
        "Downloading data",
        "crosscoop-tf: costs of cross failed. ValueError: not enough values to unpack",
        "crosscoop-tf: examples failed. IndexError: list index out of range",
    ]
    again = json.loads(out)
    assert json.loads((folder / "ablation.json").read_text()) == again
    assert {line["row"] for line in again["lines"] if line["cost"]} == {
        "single_top",
        "single_bottom",
        "ensemble_singles",
    }
    assert [line["mean_iou"] for line in again["lines"]] == [line["mean_iou"] for line in found["lines"]]
    for kind in ("md", "html"):
        text = (folder / f"ablation.{kind}").read_text()
        assert "costs of cross" in text
        assert "not enough values" in text
        assert "cross cooperative network" in text
    assert "cross,ensemble" in (folder / "ablation.csv").read_text()


@pytest.mark.slow
def test_one_row_fails_and_the_others_are_told(ablation, crosscoop, halves, monkeypatch):
    """There is a file in its folder that is nobody's."""
    folder, _ = ablation
    (folder / "none" / "seed-0").mkdir(parents=True)
    (folder / "none" / "seed-0" / "best.weights.h5").write_text("of another time")
    code, out, err = crosscoop("ablate", *options(halves, folder), "--rows=none,cross", "--seeds=1")
    assert code == 1
    assert "none, seed 0 failed. A run needs a new or empty folder." in err.splitlines()[-1]
    assert "cross" in out
    shutil.rmtree(folder / "none")


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_two_at_a_time_are_refused(ablation, crosscoop, halves):
    folder, _ = ablation
    with locked(folder, ""):
        code, _, err = crosscoop("ablate", *options(halves, folder), SHOWN, "--seeds=1")
    assert code == 2
    assert "Another ablation is at work in the folder." in err
    assert err.count("\n") == 1


def test_a_training_has_the_same_options_in_fit_and_ablate():
    of_fit, of_ablate = ({option.opts[0]: option.help for option in command.params} for command in (fit, ablate))
    shared = {"--dataset", "--data-dir", "--config", "--set", "--epochs", "--batch-size", "--crop-size", "--precision"}
    for option in shared | {"--weights", "--top-weights", "--bottom-weights"}:
        assert of_fit[option] == of_ablate[option], option


@pytest.mark.parametrize("named", [{"dataset": "camvid"}, {"assignments": ("data.name=camvid",)}])
def test_a_data_set_has_its_own_recipe(named):
    settings = resolve(None, **{"assignments": (), "kind": "ablation", **named})
    assert (settings.data.crop_size, settings.train.epochs, settings.model.top) == (192, 8, "mobilenet_v2")


def test_help_names_every_row(crosscoop):
    code, out, _ = crosscoop("ablate", "--help")
    assert code == 0
    assert all(re.search(rf"\b{name}\b", out) for name in (*ROWS, *TABLES))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows=table2"], 'There is no row of that name. Did you mean "table5"?'),
        (["--rows="], "There is no row of that name."),
        (["--bottom=none"], "An ablation compares two networks"),
        (["--dataset=folder", "--data-dir=nowhere"], "nowhere, which is not a folder."),
        (["--set=train.lr=1"], "There is no setting of that name."),
        (["--set=model.channel_reduction=4"], "which model.channel_reduction they have. Leave it out. Received: 4"),
        (["--set=model.sites=[aspp]"], "which model.sites they have."),
        (["--set=train.init_from=a run"], "Leave out train.init_from. Received: "),
        (["--bottom-weights=nowhere.weights.h5"], "nowhere.weights.h5"),
        (["--top-weights=imagenet"], "tiny_xception"),
    ],
)
def test_bad_input_takes_one_line_and_leaves_nothing(crosscoop, tmp_path, arguments, message):
    code, out, err = crosscoop("ablate", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "saved_models").exists()


def test_another_ablation_or_anything_else_is_not_touched(ablation, crosscoop, halves, tmp_path):
    folder, _ = ablation
    code, _, err = crosscoop("ablate", *options(halves, folder), "--set=train.learning_rate=0.5")
    assert code == 2
    assert "The folder holds an ablation with other settings" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    code, _, err = crosscoop("ablate", *options(halves, tmp_path / "mine"))
    assert code == 2
    assert "An ablation needs a new or empty folder" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_all_rows_with_two_seeds(crosscoop, halves, tmp_path):
    """Each row's networks: who reads whom shows in parameters, and every line has its gain and its spread."""
    code, out, err = crosscoop("ablate", *options(halves, tmp_path / "all"), "--seeds=2", "--jobs=2", "--json")
    assert code == 0, err
    found = json.loads(out)["lines"]
    assert {line["row"] for line in found} == {*ROWS}
    parameters = {line["row"]: line["cost"]["parameters"] for line in found}
    singles = parameters["single_top"] + parameters["single_bottom"]
    assert parameters["none"] == parameters["ensemble_singles"] == singles
    order = ("none", "cross_without_c1_c2", "cross_without_c1", "cross_without_c2", "cross")
    assert sorted(order, key=parameters.get) == list(order)
    assert singles < parameters["cross_reduced"] < parameters["cross"]
    assert singles < parameters["one_way"] < parameters["cross"]
    for line in found:
        assert line["seeds"] == [0, 1]
        assert len(set(line["mean_iou"])) == 2  # seeds differ
        assert (line["gain_of_cross"] is None) == (line["row"] == "cross")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_it_ends_with_the_same_table(ablation, halves, tmp_path, number):
    """Also by a signal that nobody can answer: its rows end by themselves then, having saved."""
    _, found = ablation
    program = "import sys; from crosscoop_tf.main import main; sys.argv[0] = 'crosscoop-tf'; main()"
    command = [sys.executable, "-c", program, "ablate", *options(halves, tmp_path / "a"), SHOWN, "--seeds=1", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / "a/single_bottom/seed-0/classes.json").exists():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.1)
    time.sleep(2)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    for line in (*again["lines"], *found["lines"]):
        line["cost"].pop("seconds")
    assert again["lines"] == found["lines"]
    first, second = (untimed(root / "cross/seed-0/metrics.json") for root in (ablation[0], tmp_path / "a"))
    assert first == second
