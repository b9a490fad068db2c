"""`crosscoop-tf ablate`, in miniature."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from crosscoop_tf.ablate import ablate
from crosscoop_tf.fit import fit
from crosscoop_tf.settings import resolve
from export.networks import decided
from helpers import untimed
from micro import micro_pair
from PIL import Image

from keras_crosscoop import dataset
from keras_crosscoop.ablation import report, study, worker
from keras_crosscoop.ablation.costs import RowCost
from keras_crosscoop.ablation.rows import ROWS, TABLES
from keras_crosscoop.metrics import iou_per_class
from keras_crosscoop.runs import Run
from keras_crosscoop.system.locks import locked

TINY = (
    *("--dataset=folder", "--top=tiny_resnet", "--bottom=tiny_resnet", "--weights=none", "--crop-size=32"),
    *("--set=model.decoder_channels=8", "--batch-size=4", "--precision=float32", "--epochs=2"),
)
COST = RowCost(parameters=1000, flops=2000, seconds=0.5)
SHOWN = ("--rows=ensemble_singles,cross", "--seeds=1")


def options(halves, output):
    return (*TINY, f"--data-dir={halves}", f"--output={output}")


@pytest.fixture(scope="module")
def networks():
    """The network of each run, by its folder."""
    return {}


@pytest.fixture
def in_process(networks, monkeypatch):
    """Rows are random micro networks, and measured in this process. Their costs are fixed."""

    def run_jobs(jobs, at_once, progress):
        for job in jobs:
            worker.work(job.task, lambda stage, done, total: None)
            progress(job.name, "done", 1, 1)
        return {}

    def random_run(settings, folder, callbacks):
        run = Run.create(folder, settings, dataset(settings.data.name, settings.data.dir))
        sides = ("top", "bottom") if settings.model.bottom else ("single",)
        network = micro_pair(len(folder.parent.name), classes=len(run.classes), sides=sides)
        networks[folder] = decided(network, (32, 48))
        run.save_weights(network)
        return run

    monkeypatch.setattr(study, "build", lambda model, num_classes: None)
    monkeypatch.setattr(Run, "load", lambda run: networks[run.folder])
    monkeypatch.setattr(report, "row_costs", lambda builders, size: (dict.fromkeys(builders, COST), {}))
    monkeypatch.setattr(study, "run_jobs", run_jobs)
    monkeypatch.setattr(worker, "fit", random_run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ablation") / "of halves"


@pytest.fixture
def ablation(crosscoop, halves, folder, in_process):
    """Its folder, and what it printed; done once for the module."""
    if not folder.exists():
        code, out, err = crosscoop("ablate", *options(halves, folder), *SHOWN, "--json")
        assert code == 0, err
        (folder / "printed.json").write_text(out)
    return folder, json.loads((folder / "printed.json").read_text())


def test_every_row_is_in_every_file(ablation):
    folder, printed = ablation
    results = [(result["row"], result["output"], result["seeds"]) for result in printed["results"]]
    assert results == [
        ("single_top", "single", [0]),
        ("single_bottom", "single", [0]),
        ("ensemble_singles", "ensemble", [0]),
        *(("cross", output, [0]) for output in ("top", "bottom", "ensemble")),
    ]
    assert printed["failed"] == {}
    assert all(result["cost"] == COST._asdict() for result in printed["results"])
    assert json.loads((folder / "ablation.json").read_text()) == printed
    with (folder / "ablation.csv").open() as file:
        assert [(row["row"], row["output"]) for row in csv.DictReader(file)] == [result[:2] for result in results]
    for kind in ("md", "html"):
        assert "single network: tiny_resnet" in (folder / f"ablation.{kind}").read_text()
    with Image.open(folder / "examples.png") as sheet:
        assert sheet.width > 1000


def test_scores_are_those_of_the_runs(ablation, halves, networks):
    """Of each run evaluated by hand: segmented and counted."""
    folder, printed = ablation
    images, labels = (
        [np.asarray(Image.open(halves / kind / "val" / f"{number}.png")) for number in range(3)]
        for kind in ("images", "masks")
    )

    def mean_iou(members, output):
        matrix = np.zeros((2, 2), int)
        for image, truth in zip(images, labels, strict=True):
            if output == "ensemble" and len(members) == 2:
                probabilities = sum(member.segment(image, probabilities=True)[1] for member in members)
                classes = probabilities.argmax(-1)
            else:
                classes = members[0].segment(image, output)
            np.add.at(matrix, (truth, classes), 1)
        return np.nanmean(iou_per_class(matrix))

    for result in printed["results"]:
        names = ["single_top", "single_bottom"] if result["row"] == "ensemble_singles" else [result["row"]]
        members = [networks[folder / name / "seed-0"] for name in names]
        assert result["mean_iou"] == pytest.approx([mean_iou(members, result["output"])])
        if result["row"] != "cross":
            output = result["gain_of_cross"]["output"]
            cross = next(other for other in printed["results"] if (other["row"], other["output"]) == ("cross", output))
            assert result["gain_of_cross"]["of_seeds"] == pytest.approx(
                np.subtract(cross["mean_iou"], result["mean_iou"])
            )


def test_conditions_are_the_same_for_all(ablation):
    folder, _ = ablation
    configs = {
        row: (folder / row / "seed-0/config.yaml").read_text() for row in ("single_top", "single_bottom", "cross")
    }
    parts = {row: text.partition("model:")[0] + text.partition("train:")[2] for row, text in configs.items()}
    assert len({*parts.values()}) == 1
    assert "seed: 0" in parts["cross"]


@pytest.fixture
def quick_report(monkeypatch):
    """Costs cannot be measured for one row, and pictures not be drawn."""
    monkeypatch.setattr(report, "row_costs", lambda builders, size: ({}, {"cross": "ValueError: not enough values"}))
    monkeypatch.setattr(report, "draw_examples", lambda *arguments: [][sys.stdout.write("Downloading data\n")])


def test_done_rows_are_not_trained_again_and_tables_need_neither_costs_nor_pictures(
    ablation, crosscoop, halves, quick_report, monkeypatch
):
    folder, printed = ablation
    monkeypatch.setattr(study, "run_jobs", lambda jobs, at_once, progress: {} if not jobs else None)
    monkeypatch.setattr(study, "build", None)
    for kind in ("csv", "json", "md", "html"):
        (folder / f"ablation.{kind}").unlink()
    code, out, err = crosscoop("ablate", *options(halves, folder), *SHOWN, "--json")
    assert code == 1
    assert err.splitlines() == [
        "Downloading data",
        "crosscoop-tf: costs of cross failed. ValueError: not enough values",
        "crosscoop-tf: examples failed. IndexError: list index out of range",
    ]
    again = json.loads(out)
    assert json.loads((folder / "ablation.json").read_text()) == again
    assert [{**result, "cost": None} for result in printed["results"]] == again["results"]
    for kind in ("md", "html"):
        text = (folder / f"ablation.{kind}").read_text()
        assert "costs of cross" in text
        assert "not enough values" in text
        assert "cross cooperative network" in text
    assert "cross,ensemble" in (folder / "ablation.csv").read_text()


def test_the_table_and_the_rows_that_failed(ablation, crosscoop, halves, quick_report, monkeypatch):
    folder, _ = ablation
    monkeypatch.setattr(study, "run_jobs", lambda jobs, at_once, progress: {job.name: "Bad luck." for job in jobs})
    code, out, err = crosscoop("ablate", *options(halves, folder), "--rows=none,cross", "--seeds=1")
    assert code == 1
    assert "crosscoop-tf: none, seed 0 failed. Bad luck." in err.splitlines()
    assert [line.split("│")[1].split()[0] for line in out.splitlines() if "│" in line and "ensemble" in line] == [
        *("ensemble_singles", "cross"),
    ]
    assert "ablation.html" in out.splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="no locks")
def test_two_at_a_time_are_refused(ablation, crosscoop, halves):
    folder, _ = ablation
    with locked(folder, ""):
        code, _, err = crosscoop("ablate", *options(halves, folder), *SHOWN)
    assert code == 2
    assert "Another ablation uses the folder." in err
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
        (["--bottom=none"], "An ablation compares pairs with single networks"),
        (["--dataset=folder", "--data-dir=nowhere"], "There is no such folder of a data set."),
        (["--set=train.lr=1"], "There is no setting of that name."),
        (["--set=model.channel_reduction=4"], "sets model.channel_reduction itself. Leave it out. Received: 4"),
        (["--set=model.sites=[aspp]"], "sets model.sites itself."),
        (["--set=train.init_from=a run"], "Leave out train.init_from. Received: "),
        (["--top=micro_3x3", "--bottom=micro_5x5", "--bottom-weights=nowhere.weights.h5"], "nowhere.weights.h5"),
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


@pytest.fixture(scope="module")
def real_ablation(halves, tmp_path_factory):
    """Trained by processes, as users do; its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("real") / "a"
    done = subprocess.run(command(halves, folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def command(halves, folder):
    program = "import sys; from crosscoop_tf.main import main; sys.argv[0] = 'crosscoop-tf'; main()"
    return [sys.executable, "-c", program, "ablate", *options(halves, folder), *SHOWN, "--json"]


@pytest.mark.slow
def test_all_rows_with_two_seeds(crosscoop, halves, tmp_path):
    """Each row's networks: who reads whom shows in parameters, and every result has its gain and its spread."""
    code, out, err = crosscoop("ablate", *options(halves, tmp_path / "all"), "--seeds=2", "--jobs=2", "--json")
    assert code == 0, err
    results = json.loads(out)["results"]
    assert {result["row"] for result in results} == {*ROWS}
    parameters = {result["row"]: result["cost"]["parameters"] for result in results}
    singles = parameters["single_top"] + parameters["single_bottom"]
    assert parameters["none"] == parameters["ensemble_singles"] == singles
    order = ("none", "cross_without_c1_c2", "cross_without_c1", "cross_without_c2", "cross")
    assert sorted(order, key=parameters.get) == list(order)
    assert singles < parameters["cross_reduced"] < parameters["cross"]
    assert singles < parameters["one_way"] < parameters["cross"]
    for result in results:
        assert result["seeds"] == [0, 1]
        assert len(set(result["mean_iou"])) == 2  # seeds differ
        assert (result["gain_of_cross"] is None) == (result["row"] == "cross")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_it_ends_with_the_same_table(real_ablation, halves, tmp_path, number):
    """Also by a signal that nobody can answer: its rows end by themselves then, having saved."""
    _, printed = real_ablation
    arguments = command(halves, tmp_path / "a")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / "a/single_bottom/seed-0/classes.json").exists():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.1)
    time.sleep(2)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    for result in (*again["results"], *printed["results"]):
        result["cost"].pop("seconds", None)  # the table of the first is shared
    assert again["results"] == printed["results"]
    first, second = (untimed(root / "cross/seed-0/metrics.json") for root in (real_ablation[0], tmp_path / "a"))
    assert first == second
