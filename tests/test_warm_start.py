"""A new model starts from an earlier one: weights that fit are loaded, the others stay, and a report lists all."""

import csv

import numpy as np
import pytest
from helpers import assert_equal, refused

from keras_crosscoop import CrossCoop, backbones, config
from keras_crosscoop.data import Dataset
from keras_crosscoop.runs import Run, build, build_warm, warm_start

MICRO = {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None}
DATASET = Dataset("drawn", ("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), ("train",), lambda split: [])

SIDES = ["top", "bottom"]
READ_HIGH_LEVEL_FEATURES = {f"aspp_{branch}_conv/kernel" for branch in ("1x1", "rate_6", "rate_12", "rate_18", "pool")}
READ_FROM_THE_PARTNER = {  # by the layers of one side of a cross pair, at all four sites
    *READ_HIGH_LEVEL_FEATURES,
    *("aspp_output_conv/kernel", "decoder_1_conv/kernel", "decoder_2_conv/kernel", "classifier/kernel"),
}


def of_sides(sides, names):
    return {f"{side}_{name}" for side in sides for name in names}


def randomised(model, seed):
    """No two models' values are alike."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=array.shape) for array in model.get_weights()])
    return model


def values(model):
    """Of every weight, by its path."""
    return {weight.path: weight.numpy() for weight in model.weights}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The values of an earlier pair, and where it was saved: a run, a `.keras` file and a `.weights.h5` file."""
    model = randomised(build(config.Model(**MICRO), 3), 1)
    run = Run.create(tmp_path_factory.mktemp("runs"), config.settings({"model": MICRO}), DATASET)
    run.save_weights(model)
    files = tmp_path_factory.mktemp("files")
    model.save(files / "pair.keras")
    model.save_weights(files / "pair.weights.h5")
    return values(model), {"run": run.folder, "keras": files / "pair.keras", "weights": files / "pair.weights.h5"}


@pytest.fixture(scope="module")
def model():
    """A new pair of the same kind, with other values."""
    return build(config.Model(**MICRO), 3)


@pytest.mark.parametrize("form", ["run", "keras", "weights"])
def test_the_same_network_is_loaded_whole(earlier, model, form):
    theirs, places = earlier
    randomised(model, 2)
    report = warm_start(model, str(places[form]))
    assert report.skipped == []
    assert {entry.name for entry in report.loaded} == theirs.keys()
    assert_equal(values(model), theirs)


@pytest.mark.parametrize(
    ("change", "of_another_shape"),
    [
        ({"num_classes": 5}, {f"{side}_classifier/{name}" for side in SIDES for name in ("kernel", "bias")}),
        ({"topology": "one_way"}, of_sides(["top"], READ_FROM_THE_PARTNER)),
        ({"sites": ["backbone", "aspp", "decoder"]}, of_sides(SIDES, ["decoder_1_conv/kernel"])),
        (
            {"bottom": "tiny_resnet"},
            {"bottom_decoder_low_conv/kernel", *of_sides(SIDES, READ_HIGH_LEVEL_FEATURES)},
        ),
    ],
    ids=["other classes", "one way", "one site less", "another partner"],
)
def test_what_fits_is_loaded_and_the_rest_keeps_its_values(earlier, tmp_path, change, of_another_shape):
    """The report lists each weight of the model and each array of the file once."""
    theirs, places = earlier
    model = randomised(CrossCoop(**{"num_classes": 3, **MICRO, **change}), 2)
    before = values(model)
    report = warm_start(model, places["run"])

    absent = {path for path in before if path.startswith("bottom_backbone/")} if "bottom" in change else set()
    fits = before.keys() - of_another_shape - absent
    assert fits < theirs.keys()
    assert_equal(values(model), before | {path: theirs[path] for path in fits})
    of_model = {entry.name: entry for entry in report.entries if entry.in_model is not None}
    assert {name: entry.in_model for name, entry in of_model.items()} == {w.path: tuple(w.shape) for w in model.weights}
    assert {name for name, entry in of_model.items() if entry.outcome == "loaded"} == fits
    assert {name for name, entry in of_model.items() if entry.outcome == "of another shape"} == of_another_shape
    assert {name for name, entry in of_model.items() if entry.outcome == "not in the file"} == absent
    assert len(report.entries) == len(report.loaded) + len(report.skipped) == len(of_model) + len(report.unused)
    shapes = sorted(entry.in_file for entry in report.entries if entry.in_file is not None)
    assert shapes == sorted(array.shape for array in theirs.values())

    report.write(tmp_path / "init_from.csv")
    rows = list(csv.DictReader((tmp_path / "init_from.csv").read_text().splitlines()))
    for row, entry in zip(rows, report.entries, strict=True):
        shapes = ["" if shape is None else str(shape) for shape in (entry.in_file, entry.in_model)]
        assert list(row.values()) == [entry.name, entry.outcome, *shapes]
    summary, *lines = str(report).splitlines()
    assert summary.startswith(f"{len(fits)} variables loaded from best.weights.h5; skipped: ")
    assert len(lines) == min(len(report.skipped), 21)
    if change == {"num_classes": 5}:
        assert summary.endswith("skipped: 4 of another shape")
        assert sorted(lines) == sorted(
            f"  {side}_classifier/{line}"
            for side in SIDES
            for line in (
                "kernel: (1, 1, 16, 3) in the file, (1, 1, 16, 5) in the model",
                "bias: (3,) in the file, (5,) in the model",
            )
        )


def test_what_matches_nothing_is_refused_and_changes_nothing(model, tmp_path):
    before = values(model)
    path = tmp_path / "backbone.weights.h5"
    backbones.build("tiny_resnet", weights=None).save_weights(path)
    message = refused(warm_start, model, path)
    assert message.startswith('The weights do not fit "cross_coop": ')
    assert "The first unused array of the file is stem_" in message
    assert message.endswith(f"of one that shares layers with it. Received: {path}")
    assert "no such run or file of weights" in refused(warm_start, model, tmp_path / "nowhere.keras")
    assert "This is not a run" in refused(warm_start, model, tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    assert "file of weights cannot be read" in refused(warm_start, model, path)
    run = Run.create(tmp_path / "run", config.settings({"model": MICRO}), DATASET)
    assert "The run has no weights" in refused(warm_start, model, run.folder)
    assert_equal(values(model), before)


def test_less_than_a_backbone_is_refused_and_changes_nothing(earlier):
    """Both backbones are others, but most layers of their heads fit."""
    theirs, places = earlier
    model = randomised(CrossCoop(3, **MICRO | {"top": "tiny_resnet", "bottom": "tiny_resnet"}), 2)
    before = values(model)
    for place in places.values():
        message = refused(warm_start, model, place)
        assert "fill no backbone" in message
        assert "(top_backbone, bottom_backbone)" in message
        assert "train.init_from_needs_backbone=false" in message
        assert_equal(values(model), before)
    report = warm_start(model, places["run"], needs_backbone=False)
    loaded = {entry.name for entry in report.loaded}
    assert f"only {len(loaded)} of its {len(before)} variables" in message
    assert_equal({name: values(model)[name] for name in loaded}, {name: theirs[name] for name in loaded})


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Which backbones ask for "imagenet" weights, and what they are given: the tiny ones have none of their own."""
    asked, given, original = set(), {}, backbones.build

    def fetching(name, *, weights, scope, **options):
        if weights == "imagenet":
            asked.add(scope)
            network = randomised(original(name, weights=None), 9)
            given[name] = {path.partition("/")[2]: array for path, array in values(network).items()}
            network.save_weights(weights := tmp_path / f"{name}.weights.h5")
        return original(name, weights=weights, scope=scope, **options)

    monkeypatch.setattr(backbones, "build", fetching)
    return asked, given


@pytest.mark.parametrize(
    ("change", "weights", "fetched"),
    [
        ({"bottom": "tiny_resnet"}, "imagenet", ["bottom"]),
        ({"bottom": "tiny_resnet"}, {"top": "imagenet", "bottom": None}, []),
    ],
)
def test_pretrained_weights_fill_backbones_that_the_source_lacks(earlier, published, change, weights, fetched):
    theirs, places = earlier
    asked, imagenet = published
    settings = config.Model(**{**MICRO, **change, "weights": weights})
    model, report = build_warm(settings, 5, places["weights"])
    assert asked == of_sides(fetched, ["backbone"])
    assert model.compiled
    loaded = {entry.name for entry in report.loaded}
    arrays = values(model)
    assert_equal({path: arrays[path] for path in loaded}, {path: theirs[path] for path in loaded})
    for side in SIDES:
        backbone = {path.partition("/")[2]: arrays[path] for path in arrays if path.startswith(f"{side}_backbone/")}
        if side in fetched:
            assert_equal(backbone, imagenet[change[side]])
        else:
            assert side in change or {f"{side}_backbone/{name}" for name in backbone} < loaded
    assert {f"{side}_classifier/kernel" for side in SIDES} < {entry.name for entry in report.missing}


def test_a_single_network_starts_from_another(published, tmp_path):
    settings = {"top": "micro_3x3", "bottom": None, "decoder_channels": 8}
    source = randomised(build(config.Model(**settings, weights=None), 3), 1)
    source.save_weights(path := tmp_path / "single.weights.h5")
    asked, imagenet = published
    model, report = build_warm(config.Model(**settings, weights="imagenet"), 5, path)
    assert asked == set()
    assert {entry.name for entry in report.skipped} == of_sides(["single"], ["classifier/kernel", "classifier/bias"])
    assert_equal(values(model.get_layer("single_backbone")), values(source.get_layer("single_backbone")))
    other = config.Model(**{**settings, "top": "tiny_resnet"}, weights="imagenet")
    model, _ = build_warm(other, 5, path, needs_backbone=False)
    assert asked == {"single_backbone"}
    arrays = values(model.get_layer("single_backbone"))
    assert_equal({path.partition("/")[2]: array for path, array in arrays.items()}, imagenet["tiny_resnet"])
