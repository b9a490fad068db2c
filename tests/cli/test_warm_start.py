"""`crosscoop-tf fit --init-from` goes on from an earlier run, and says what it could not use."""

import csv

import keras
import numpy as np
import pytest
import yaml
from crosscoop_tf import recipes
from crosscoop_tf.settings import resolve
from helpers import TINY_FIT

import keras_crosscoop
from keras_crosscoop import config
from keras_crosscoop.errors import InputError
from keras_crosscoop.runs import Run, build
from keras_crosscoop.training import trainer

MICRO = (*TINY_FIT, "--top=micro_3x3", "--bottom=none", "--epochs=1", "--set=model.decoder_channels=8")


@pytest.mark.slow
def test_a_run_starts_from_one_of_other_classes(crosscoop, run_folder, make_folder, tmp_path):
    """With its network, and at a rate of learning that changes nothing: the earlier values are still there."""
    arguments = (
        f"--data-dir={make_folder()}",
        f"--init-from={run_folder}",
        "--output=run",
        "--set=train.learning_rate=1e-30",
    )
    code, _, err = crosscoop("fit", "--dataset=folder", "--crop-size=32", "--epochs=1", *arguments)
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
    rows = {row["variable"]: row for row in csv.DictReader((tmp_path / "run/init_from.csv").read_text().splitlines())}
    assert rows.keys() == {weight.path for weight in model.weights}
    trained = {weight.path: weight.numpy() for weight in earlier.trainable_weights}
    for weight in model.trainable_weights:
        assert (rows[weight.path]["outcome"] == "loaded") == ("classifier" not in weight.path)
        if "classifier" not in weight.path:
            np.testing.assert_array_equal(weight.numpy(), trained[weight.path], err_msg=weight.path)
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["train"]["init_from"] == str(run_folder)


@pytest.fixture
def earlier(tmp_path, make_folder):
    """The folder of a run that has a network of its own."""
    model = {
        "top": "tiny_resnet",
        "bottom": {"name": "mobilenet", "alpha": 0.25},
        **{
            "topology": "one_way",
            "sites": ["aspp"],
            "channel_reduction": 2,
            "output_stride": 32,
            "decoder_channels": 16,
        },
        **{"dropout": [0, 0, 0], "weights": None},
    }
    settings = config.settings({"model": model, "data": {"name": "folder", "dir": make_folder()}})
    return Run.create(tmp_path / "earlier", settings, keras_crosscoop.dataset("folder", settings.data.dir)).folder


OF_THE_RUN = {
    "top": "tiny_resnet",
    "bottom": {"name": "mobilenet", "alpha": 0.25},
    "topology": "one_way",
    "sites": ("aspp",),
    "fusion": "concat",
    "channel_reduction": 2,
    "output_stride": 32,
    "decoder_channels": 16,
}


@pytest.mark.parametrize(
    ("content", "assignments", "options", "changed"),
    [
        (None, [], {}, {}),
        (None, [], {"bottom": "resnet50", "topology": "cross"}, {"bottom": "resnet50", "topology": "cross"}),
        (None, ["model.bottom.alpha=0.5"], {}, {"bottom": {"name": "mobilenet", "alpha": 0.5}}),
        (None, ["model.bottom={name: mobilenet_v3_large}"], {}, {"bottom": {"name": "mobilenet_v3_large"}}),
        ("model: {decoder_channels: 64, weights: null}", [], {}, {"decoder_channels": 64}),
        ("model: {top: xception65}", [], {"top": "resnet50"}, {"top": "resnet50"}),
        ("train: {epochs: 3}", [], {}, {}),
    ],
)
def test_a_warm_start_has_the_runs_network_unless_another_is_named(
    earlier, tmp_path, content, assignments, options, changed
):
    """The data set's own recipe, which names two others, does not count; its other settings do."""
    recipe = None
    if content:
        (recipe := tmp_path / "my.yaml").write_text(content)
    for given in ({"init_from": str(earlier)}, {}):
        sets = [*assignments] if given else [*assignments, f"train.init_from={earlier}"]
        settings = resolve(recipe and str(recipe), tuple(sets), dataset="folder", **given, **options)
        assert settings.model.architecture == OF_THE_RUN | changed
        assert settings.model.dropout == ((0.5, 0.5, 0.1) if content else (0, 0, 0))
        assert settings.model.weights == (None if content and "weights" in content else "imagenet")
        assert settings.data.crop_size == (513 if content else 320)
        assert settings.train.init_from == earlier


def test_a_plan_keeps_the_network_of_a_warm_start(earlier):
    settings = resolve(None, (), dataset="folder", init_from=str(earlier), time="30min")
    assert settings.model.architecture == OF_THE_RUN
    assert "top" in settings.model.model_fields_set
    assert "crop_size" not in settings.data.model_fields_set


def test_options_of_the_data_sets_own_backbone_are_not_the_runs(tmp_path, make_folder):
    """CamVid's recipe has a narrower network of the same name."""
    assert recipes.read("camvid")["model"]["bottom"] == {"name": "mobilenet", "alpha": 0.75}
    model = {"top": "mobilenet_v2", "bottom": {"name": "mobilenet"}}
    settings = config.settings({"model": model, "data": {"name": "folder", "dir": make_folder()}})
    run = Run.create(tmp_path / "run", settings, keras_crosscoop.dataset("folder", settings.data.dir)).folder
    assert resolve(None, (), dataset="camvid", init_from=str(run)).model.bottom == {"name": "mobilenet"}


def test_a_file_of_weights_names_no_network(tmp_path):
    (tmp_path / "a.weights.h5").touch()
    settings = resolve(None, (), dataset="folder", init_from=str(tmp_path / "a.weights.h5"))
    assert settings.model == resolve(None, (), dataset="folder").model


def test_less_than_a_backbone_is_no_start_unless_it_is_meant(crosscoop, halves, tmp_path, monkeypatch):
    """The earlier run has another backbone; the training itself is not of interest here."""

    def train(*_, **__):
        raise InputError("It begins. Received: all")

    monkeypatch.setattr(trainer, "train", train)
    model = {"top": "tiny_resnet", "bottom": None, "decoder_channels": 8, "weights": None}
    settings = config.settings({"model": model, "data": {"name": "folder", "dir": halves}})
    run = Run.create(tmp_path / "earlier", settings, keras_crosscoop.dataset("folder", halves))
    run.save_weights(build(settings.model, 2))
    arguments = ("fit", *MICRO, f"--data-dir={halves}", f"--init-from={run.folder}", "--output=run")
    code, out, err = crosscoop(*arguments)
    assert (code, out) == (2, "")
    *_, line = err.splitlines()  # after sentences about the data set
    assert line.startswith("crosscoop-tf: The weights fill no backbone of ")
    assert not (tmp_path / "run").exists()
    _, _, err = crosscoop(*arguments, "--set=train.init_from_needs_backbone=false")
    assert "variables loaded from best.weights.h5; skipped: " in err
    assert err.endswith("crosscoop-tf: It begins. Received: all\n")


def test_what_cannot_be_started_from_is_refused_in_one_line(crosscoop, make_folder, tmp_path):
    data = f"--data-dir={make_folder()}"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    (tmp_path / "text.weights.h5").write_text("hello")
    for name, message in {
        "nowhere": "no such run or file of weights",
        "other.keras": "The weights do not fit",
        "text.weights.h5": "cannot be read",
        "mine": "This is not a run",
    }.items():
        code, out, err = crosscoop("fit", *MICRO, data, f"--init-from={name}", "--output=run")
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("crosscoop-tf: ")
        assert message in err.splitlines()[-1]
        assert err.splitlines()[-1].endswith(f"Received: {tmp_path / name}")
        assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
