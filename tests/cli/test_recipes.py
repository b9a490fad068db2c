"""Every recipe that comes with the package: counted, trained for a step, exported and reported, with its backbones."""

import csv
import json
import math
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from crosscoop_tf import recipes
from crosscoop_tf.main import main
from data.layouts import write_cityscapes, write_voc
from PIL import Image

from keras_crosscoop import config
from keras_crosscoop.data import street_scenes
from keras_crosscoop.models import backbones

SHRUNK = ("--set=model.decoder_channels=8", "--crop-size=33", "--batch-size=2", "--epochs=1", "--weights=none")


# Training every recipe takes minutes. The quick suite checks their settings, and trains in other tests.
RECIPES = [pytest.param(recipe, marks=pytest.mark.slow) for recipe in recipes.names()]


def write_pairs(data_dir, folders):
    """Two training images and one for validation: noise in classes by halves."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(2, dtype=np.uint8), 20)[None].repeat(30, 0)
    for split, count in (("train", 2), ("val", 1)):
        for folder in folders(split):
            (data_dir / folder).mkdir(parents=True)
        for number in range(count):
            images, labels = folders(split)
            noise = rng.integers(0, 256, (*ids.shape, 3), np.uint8)
            Image.fromarray(noise).save(data_dir / images / f"{number}.png")
            Image.fromarray(ids).save(data_dir / labels / f"{number}.png")


def write_folder(data_dir):
    write_pairs(data_dir, lambda split: (f"images/{split}", f"masks/{split}"))
    (data_dir / "classes.txt").write_text("road\nsky\n")


ALL_SCENES = street_scenes.SPLITS
TREES = {  # data set -> what writes a small one; street scenes draw themselves
    "folder": write_folder,
    "camvid": lambda data_dir: write_pairs(data_dir, lambda split: (split, f"{split}annot")),
    "voc2012": lambda data_dir: write_voc(data_dir, train=2, val=1, test=0, extra=2, sbd="aug"),
    "cityscapes": lambda data_dir: write_cityscapes(data_dir, train=2, val=1, test=0),
    "street_scenes": lambda data_dir: None,
}


def command(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["crosscoop-tf", *map(str, arguments)])
        main()


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory):
    """Of each data set, by need."""
    root = tmp_path_factory.mktemp("data")

    def find(name):
        if not (root / name).exists():
            TREES[name](root / name)
        return root / name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(street_scenes, "SPLITS", {"train": 2, "val": 1})
        yield find


@pytest.fixture(scope="module", params=RECIPES)
def trained(request, data_dirs, tmp_path_factory):
    """A recipe, and a run of one step."""
    recipe, run = request.param, tmp_path_factory.mktemp("run") / request.param
    data_dir = data_dirs(recipes.read(recipe)["data"]["name"])
    command("fit", f"--config={recipe}", f"--data-dir={data_dir}", *SHRUNK, f"--output={run}")
    return recipe, run


@pytest.mark.parametrize("recipe", recipes.names())
def test_its_settings_are_valid(recipe):
    settings = config.settings(recipes.read(recipe))
    assert settings.data.name == recipe.partition("-")[0]
    for backbone in (settings.model.top, settings.model.bottom):
        assert (backbone if isinstance(backbone, str) else backbone["name"]) in backbones.NAMES


def test_voc_is_measured_on_the_centre_crop():
    assert config.settings(recipes.read("voc2012")).evaluation.crop == 513


def test_it_names_its_command():
    for recipe in recipes.names():
        text = files("crosscoop_tf.configs").joinpath(f"{recipe}.yaml").read_text("utf-8")
        assert "# Command:  crosscoop-tf " in text


def test_a_step_trains_what_the_recipe_names(trained):
    recipe, run = trained
    model = yaml.safe_load((run / "config.yaml").read_text())["model"]
    assert [model[side] for side in ("top", "bottom")] == [recipes.read(recipe)["model"][s] for s in ("top", "bottom")]
    with (run / "history.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    assert all(math.isfinite(float(epoch[name])) for name in ("loss", "val_loss"))
    assert 0 <= json.loads((run / "metrics.json").read_text())["outputs"]["ensemble"]["mean_iou"] <= 1


def test_its_costs_are_counted(trained, crosscoop):
    """As the run has them, which are those that the recipe describes."""
    recipe, run = trained
    classes = len(json.loads((run / "classes.json").read_text()))
    described = (f"--config={recipe}", "--set=model.decoder_channels=8", "--size=33", f"--classes={classes}")
    code, out, err = crosscoop("summary", *described, "--json")
    assert code == 0, err
    summary = json.loads(out)
    for part in summary["parts"]:
        assert min(part["cost"].values()) > 0, part
    assert json.loads(crosscoop("summary", run, "--json").out)["total"] == summary["total"]


def test_it_is_exported_and_reported(trained, crosscoop):
    _, run = trained
    code, out, err = crosscoop("export", run, "--format=tflite", "--images=1", "--json")
    assert code == 0, err
    assert json.loads(out)["agreement"] > 0.99
    code, _, err = crosscoop("report", run)
    assert code == 0, err
    assert (run / "report.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in recipes.names() if "-" in name or name == "folder"])
def test_its_rows_are_trained_and_told(recipe, data_dirs, crosscoop, monkeypatch, tmp_path):
    """One of the single networks and the full method."""
    name = recipes.read(recipe)["data"]["name"]
    data_dir = tmp_path / "scenes" if name == "street_scenes" else data_dirs(name)
    monkeypatch.setattr(street_scenes, "SPLITS", ALL_SCENES)  # rows have processes of their own, which draw all
    options = (f"--config={recipe}", f"--data-dir={data_dir}", *SHRUNK, "--rows=single_bottom,cross", "--seeds=1")
    code, out, err = crosscoop("ablate", *options, "--output=ablation", "--json")
    assert code == 0, err
    assert all(line["cost"]["flops"] > 0 for line in json.loads(out)["results"])
    assert Path("ablation/ablation.html").stat().st_size > 10_000
