"""Settings: the order of their sources, their file, and errors of one line."""

import inspect
import itertools
import re
from pathlib import Path

import pytest
import yaml
from helpers import refused

from keras_crosscoop import config
from keras_crosscoop.data import load_dataset

RECIPES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))}


def recipe(name):
    return config.settings(config.read(RECIPES[name]))


def test_defaults_are_the_papers_recipe():
    settings = config.settings()
    assert settings.model.model_dump() == {
        "top": "xception65",
        "bottom": "resnet101",
        "topology": "cross",
        "sites": ("backbone", "aspp", "aspp_output", "decoder"),
        "fusion": "concat",
        "channel_reduction": 1,
        "output_stride": 16,
        "decoder_channels": 256,
        "dropout": (0.5, 0.5, 0.1),
        "weights": "imagenet",
    }
    train = settings.train
    assert (train.batch_size, train.learning_rate, train.epochs) == (6, 0.007, 50)
    assert (train.head_lr_multiplier, train.poly_power, train.momentum, train.weight_decay) == (10, 0.9, 0.9, 5e-4)
    assert (settings.data.crop_size, settings.data.scale) == (513, (0.5, 2.0))


def test_later_settings_override_earlier_ones():
    """Each layer changes only the settings that it names."""
    layer = {"data": {"crop_size": 256}, "train": {"epochs": 30, "batch_size": 8, "learning_rate": 0.01}}
    settings = config.settings(
        layer, config.parse("train.epochs=5"), config.parse("train.batch_size=2"), config.nest("train.epochs", 3)
    )
    train = settings.train
    assert (train.epochs, train.batch_size, train.learning_rate, train.momentum) == (3, 2, 0.01, 0.9)
    assert settings.data.crop_size == 256
    assert layer["train"] == {"epochs": 30, "batch_size": 8, "learning_rate": 0.01}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([{"optimizer": "adamw"}], (6e-5, 0.01, None, None)),
        ([{"optimizer": "sgd", "momentum": None}], (0.007, 5e-4, 0.9, False)),
        ([{"optimizer": "adamw", "learning_rate": 0.1, "momentum": None}], (0.1, 0.01, None, None)),
        ([{"learning_rate": 0.1, "momentum": 0.5}, {"optimizer": "adamw", "weight_decay": 0}], (6e-5, 0, None, None)),
        ([{"optimizer": "adamw"}, {"learning_rate": 0.1}, {"optimizer": "sgd"}], (0.007, 5e-4, 0.9, False)),
        (
            [{"learning_rate": 0.1, "momentum": 0.5}, {"optimizer": "sgd", "schedule": "cosine"}],
            (0.1, 5e-4, 0.5, False),
        ),
    ],
)
def test_rates_stay_with_their_optimizer(layers, expected):
    """Learning rate, weight decay, momentum, decoupled weight decay."""
    train = config.settings(*({"train": layer} for layer in layers)).train
    assert (train.learning_rate, train.weight_decay, train.momentum, train.decoupled_weight_decay) == expected


def test_the_power_stays_with_its_schedule():
    layers = [{"train": {"poly_power": 2, "learning_rate": 0.1}}, {"train": {"schedule": "cosine"}}]
    train = config.settings(*layers).train
    assert (train.poly_power, train.learning_rate) == (None, 0.1)
    assert config.settings(*layers, config.parse("train.schedule=poly")).train.poly_power == 0.9


MOBILENET = {"name": "mobilenet", "alpha": 0.75}


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (MOBILENET, {"name": "mobilenet_v3_large"}, {"name": "mobilenet_v3_large"}),
        (MOBILENET, {"name": "mobilenet"}, MOBILENET),
        (MOBILENET, {"alpha": 0.5}, {"name": "mobilenet", "alpha": 0.5}),
        (MOBILENET, "mobilenet", "mobilenet"),
        ("mobilenet", {"alpha": 0.5}, {"name": "mobilenet", "alpha": 0.5}),
        ("mobilenet", {"name": "resnet50", "multi_grid": [1, 2, 4]}, {"name": "resnet50", "multi_grid": [1, 2, 4]}),
    ],
)
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_options_stay_with_their_backbone(side, lower, upper, expected):
    model = config.settings({"model": {side: lower}}, {"model": {side: upper}}).model
    assert getattr(model, side) == expected


def test_other_mappings_are_merged_and_null_replaces_them():
    layer = {"loss": {"class_weights": {"road": 2, "sky": 0.5}, "weights": {"top": 2, "bottom": 1}}}
    loss = config.settings(layer, config.parse("loss.class_weights.sky=1"), config.parse("loss.weights.top=3")).loss
    assert (loss.class_weights, loss.weights) == ({"road": 2, "sky": 1}, {"top": 3, "bottom": 1})
    assert config.settings(layer, config.parse("loss.class_weights=null")).loss.class_weights is None


def numbers(schema, definitions, path=()):
    """Yields the name and JSON schema of each number among the settings, and None for values of any type."""
    if reference := schema.get("$ref"):
        schema = definitions[reference.rpartition("/")[2]]
    if schema.get("type") in ("integer", "number") and "enum" not in schema:
        yield ".".join(path), schema
    if schema.get("additionalProperties") is True or not schema.keys() - {"title", "default"}:
        yield ".".join(path), None
    for name, value in schema.get("properties", {}).items():
        yield from numbers(value, definitions, (*path, name))
    items = [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    for item in (*items, schema.get("items"), schema.get("additionalProperties")):
        if isinstance(item, dict):
            yield from numbers(item, definitions, path)


def schemas_of_numbers():
    schema = config.Settings.model_json_schema()
    return list(numbers(schema, schema["$defs"]))


def test_every_number_has_a_lower_and_an_upper_bound():
    schemas = schemas_of_numbers()
    assert {path for path, _ in schemas} >= {"data.crop_size", "data.scale", "train.epochs", "loss.class_weights"}
    assert len(schemas) > 30
    assert {path for path, schema in schemas if schema is None} == {"model.top", "model.bottom"}  # see `backbones`
    for path, schema in schemas:
        if schema is not None:
            assert {"minimum", "exclusiveMinimum"} & schema.keys(), path
            assert {"maximum", "exclusiveMaximum"} & schema.keys(), path


def test_no_number_is_a_boolean():
    """Python and pydantic take true for 1: `train.patience=yes` would be a patience of 1."""
    for name in {path for path, schema in schemas_of_numbers() if schema is not None}:
        key = {"loss.weights": ".top", "loss.class_weights": ".road"}.get(name, "")
        count = {"model.dropout": 3, "data.scale": 2}.get(name)
        value = f"[{', '.join(['yes'] * count)}]" if count else "yes"
        assert refused(config.settings, config.parse(f"{name}{key}={value}")).startswith(f"Setting {name}")


@pytest.mark.parametrize("value", ["2147483648", "1" + 399 * "0", "1.0e+30", "-1", ".nan", ".inf"])
@pytest.mark.parametrize(
    "name", ["data.crop_size", "train.epochs", "train.learning_rate", "loss.class_weights.road", "train.save_every"]
)
def test_numbers_out_of_bounds_are_refused(name, value):
    message = refused(config.settings, config.parse(f"{name}={value}"))
    assert message.startswith(f"Setting {name}: ")
    assert len(message) < 500


@pytest.mark.parametrize(
    ("value", "expected"),
    [(500, {"every_steps": 500}), ("10min", {"every_seconds": 600}), ("0.5 min", {"every_seconds": 30})],
)
def test_checkpoints_are_saved_every_so_many_steps_or_minutes(value, expected):
    assert config.settings({"train": {"save_every": value}}).train.save_interval == expected


def test_bounds_admit_realistic_settings():
    """Epochs without end, the largest published crops and batches, and the smallest rates."""
    train = {"epochs": 10**9, "patience": 3, "batch_size": 32_768, "learning_rate": 1e-30, "save_every": "0.01min"}
    config.settings({"train": train, "data": {"crop_size": 8192}, "model": {"decoder_channels": 2048}})


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.epochs=3", {"train": {"epochs": 3}}),
        ("train.learning_rate=1.0e-3", {"train": {"learning_rate": 0.001}}),
        ("model.sites=[aspp, decoder]", {"model": {"sites": ["aspp", "decoder"]}}),
        ("model.bottom={name: mobilenet, alpha: 0.5}", {"model": {"bottom": {"name": "mobilenet", "alpha": 0.5}}}),
        ("model.weights=a=b.weights.h5", {"model": {"weights": "a=b.weights.h5"}}),
        ("data.flip=no", {"data": {"flip": False}}),
        ("data.dir=null", {"data": {"dir": None}}),
    ],
)
def test_assignments_are_yaml(assignment, expected):
    assert config.parse(assignment) == expected
    config.settings(expected)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train.learning_rate=1e-3", 0.001),  # YAML reads it as text
        ("model.bottom=none", None),
        ("model.weights=none", None),
    ],
)
def test_values_as_people_write_them(assignment, expected):
    section, name = assignment.partition("=")[0].split(".")
    assert getattr(getattr(config.settings(config.parse(assignment)), section), name) == expected


@pytest.mark.parametrize("assignment", ["train.epochs", "=3", "", "train.epochs=[1,", "a." * 50 + "b=1"])
def test_other_assignments_are_refused(assignment):
    message = refused(config.parse, assignment)
    assert "section.key=value" in message or "not valid YAML" in message
    assert message.endswith(f"Received: {assignment!r}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trian": {}}, "There is no setting of that name. Did you mean \"train\"? Received: 'trian'."),
        ({"train": {"epoch": 3}}, "Did you mean \"train.epochs\"? Received: 'train.epoch'."),
        (
            {"data": {"xyz": 1}},
            "There is no setting of that name. Valid: data.name, data.dir, data.train_split, data.val_split, "
            "data.on_error, data.check, data.crop_size, data.scale, data.flip, data.rotation, "
            "data.orientation, data.photometric, data.mix, "
            "data.rare_classes. Received: 'data.xyz'.",
        ),
        (
            {"model": {"topology": "crss"}},
            "Setting model.topology: Input should be 'none', 'one_way' or 'cross'. Received: 'crss'",
        ),
        ({"model": {"sites": ["aspp", "decodr"]}}, "Setting model.sites.1: Input should be 'backbone', 'aspp', "),
        ({"data": {"photometric": False}}, "Setting data.photometric: Input should be 'none', 'weak' or 'strong'."),
        ({"data": {"rotation": 90}}, "Setting data.rotation: Input should be less than or equal to 45. Received: 90"),
        ({"model": {"output_stride": 12}}, "Setting model.output_stride: Input should be 8, 16 or 32. Received: 12"),
        ({"train": {"epochs": 0}}, "Setting train.epochs: Input should be greater than or equal to 1. Received: 0"),
        ({"train": {"epochs": None}}, "Setting train.epochs: Input should be a valid integer. Received: None"),
        ({"train": {"learning_rate": float("nan")}}, "Input should be a finite number. Received: nan"),
        ({"train": {"optimizer": "adam", "momentum": 3}}, "Setting train.optimizer: Input should be 'sgd' or 'adamw'."),
        (
            {"train": {"optimizer": "adamw", "momentum": 0.9}},
            "Setting train.momentum: it has no effect with train.optimizer=adamw; leave it out. Received: 0.9",
        ),
        (
            {"train": {"optimizer": "adamw", "decoupled_weight_decay": False}},
            "Setting train.decoupled_weight_decay: it has no effect with train.optimizer=adamw; leave it out. ",
        ),
        (
            {"train": {"schedule": "cosine", "poly_power": 1}},
            "Setting train.poly_power: it has no effect with train.schedule=cosine; leave it out. Received: 1",
        ),
        ({"train": 5}, "Section train holds settings, such as train.NAME=VALUE. Received: 5"),
        ({"train": {"save_every": 0}}, "it must be a number of steps, such as 500, or minutes"),
        ({"train": {"save_every": True}}, "it must be a number of steps, such as 500, or minutes"),
        ({"loss": {"weights": {"tpo": 1}}}, "Setting loss.weights.tpo: Input should be 'top', 'bottom' or 'single'."),
        (
            {"loss": {"weights": {"top": 0}}, "model": {"bottom": None}},
            "There is no output for setting loss.weights of that name. Valid: single. Received: 'top'",
        ),
        ({"loss": {"weights": {"single": 2, "top": 1}}}, "Valid: top, bottom. Received: 'single'"),
        ({"loss": {"weights": {"top": 0, "bottom": 0}}}, "Setting loss.weights must not be all 0"),
        ({"data": {"scale": [1]}}, "Setting data.scale.1: Field required. Received: [1]"),
        ({"data": {"scale": [2.0, 0.5]}}, "Setting data.scale: the smaller factor must come first"),
        ({"model": {"top": 5}}, "Setting model.top: "),
        ({"model": {"top": {"alpha": 0.5}}}, "Setting model.top: a backbone is a name, or a mapping of"),
        ({"model": {"weights": {"left": "imagenet"}}}, "Setting model.weights: it must name top or bottom"),
        ({"model": {"weights": 5}}, "Setting model.weights: "),
        ({"model": {"dropout": [0, 0, 1.5]}}, "Setting model.dropout.2: Input should be less than 1. Received: 1.5"),
        ({1: 2}, "Setting 1: Keys should be strings"),
    ],
)
def test_invalid_settings_are_refused(given, message):
    assert message in refused(config.settings, given)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        config.settings().train.epochs = 3


CHANGED = {
    "data": {"name": "camvid", "dir": "/data/CamVid", "crop_size": 99, "scale": [0.75, 1.5], "flip": False},
    "model": {"top": MOBILENET, "bottom": None, "sites": ["aspp"], "weights": {"top": "a.weights.h5", "bottom": None}},
    "train": {"optimizer": "adamw", "learning_rate": 1e-7, "schedule": "cosine", "seed": 12},
    "loss": {"class_weights": {"road": 0.25, "sky": 0}},
    "evaluation": {"crop": 513},
}


@pytest.mark.parametrize("given", [{}, CHANGED])
def test_dumped_settings_are_read_back(given, tmp_path):
    settings = config.settings(given)
    file = tmp_path / "config.yaml"
    file.write_text(config.dump(settings), encoding="utf-8")
    assert config.settings(config.read(file)) == settings
    assert list(yaml.safe_load(file.read_text())) == ["data", "model", "train", "loss", "evaluation"]
    if given:
        assert (settings.data.dir, settings.model.sites) == (Path("/data/CamVid"), ("aspp",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "The config cannot be read. Is the path right? Received: "),
        (b"\xff\xfe\x00", "The config cannot be read."),
        (b"train: [1,\n  2", "The config is not valid YAML ("),
        (b"- train", "A config must hold sections such as data, model and train. Received: "),
        (b"", "A config must hold sections such as data, model and train. Received: "),
        (b"loss: {}\ndata: {}\nloss: {}\n", '(line 3, column 1: "loss" is given twice). Received: '),
    ],
)
def test_invalid_files_are_refused(content, message, tmp_path):
    file = tmp_path / "bad.yaml"
    if content is not None:
        file.write_bytes(content)
    error = refused(config.read, file)
    assert message in error
    assert error.endswith(f"Received: {file}")
    assert "cannot be read" in refused(config.read, tmp_path)


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ("imagenet", {"top": "/w/a.h5"}, {"top": "/w/a.h5", "bottom": "imagenet"}),
        ({"top": "/w/a.h5", "bottom": None}, {"bottom": "/w/b.h5"}, {"top": "/w/a.h5", "bottom": "/w/b.h5"}),
        (None, {"top": "/w/a.h5"}, {"top": "/w/a.h5", "bottom": None}),
        ("imagenet", {"bottom": "none"}, {"top": "imagenet", "bottom": None}),
    ],
)
def test_weights_of_one_side_leave_the_other(before, given, after):
    layers = [{"model": {"weights": before}}, *(config.nest(f"model.weights.{side}", given[side]) for side in given)]
    assert config.settings(*layers).model.weights == after


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = config.settings({"data": {"dir": "CamVid"}, "model": {"weights": "a.weights.h5"}})
    assert settings.data.dir == tmp_path / "CamVid"
    assert settings.model.weights == str(tmp_path / "a.weights.h5")
    settings = config.settings({"model": {"weights": {"top": "~/b.weights.h5"}}})
    assert settings.model.weights == {"top": "/home/somebody/b.weights.h5", "bottom": "imagenet"}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_valid(name):
    content = config.read(RECIPES[name])
    settings = config.settings(content)
    for section, given in content.items():
        values = getattr(settings, section).model_dump(mode="json")
        assert {key: values[key] for key in given} == given
    assert settings.data.name == name.partition("-")[0]
    opening = RECIPES[name].read_text().split("data:")[0]
    assert all(fact in opening for fact in ("Command:", "Cost:", "Score:"))


def test_recipes_exist():
    assert RECIPES.keys() >= {"street_scenes", "camvid", "voc2012", "cityscapes"}


def test_each_measured_score_stands_in_one_file():
    """Other files refer to it, so that copies cannot disagree."""
    root = Path(__file__).parents[1]
    scores = {
        path.relative_to(root).as_posix(): {
            score
            for line in path.read_text(encoding="utf-8").splitlines()
            if "mIoU" in line and "published" not in line
            for score in re.findall(r"\b\d\d\.\d\b", line)
        }
        for path in (root / "README.md", *root.glob("docs/*.md"), *root.glob("configs/*.yaml"))
    }
    assert len(scores["README.md"]) > 1
    for one, other in itertools.combinations(scores, 2):
        assert not scores[one] & scores[other], (one, other)
    assert not [path for path in scores if path.startswith("docs/") and scores[path]]
    assert 'see "Measured" in README.md' in RECIPES["street_scenes"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "crop", "rate", "epochs"), [("voc2012", 513, 0.007, 50), ("cityscapes", 768, 0.035, 200)]
)
def test_the_papers_recipes_are_the_papers(name, crop, rate, epochs):
    """Ikedo and Hotta, VISAPP 2022, sections 4.1 and 4.2; the epochs are this package's choice."""
    settings = recipe(name)
    assert (settings.data.name, settings.data.crop_size) == (name, crop)
    assert (settings.train.batch_size, settings.train.learning_rate, settings.train.epochs) == (6, rate, epochs)
    assert (settings.model.top, settings.model.bottom, settings.model.topology) == ("xception65", "resnet101", "cross")
    assert settings.model.weights == "imagenet"


@pytest.mark.parametrize(
    ("name", "rows"), [("voc2012-table1", "table1"), ("voc2012-table5", "table5"), ("cityscapes-table3", "table1")]
)
def test_the_papers_tables_use_its_recipes(name, rows):
    settings = recipe(name)
    assert settings.ablation.rows == (rows,)
    assert config.dump(settings) == config.dump(recipe(name.split("-")[0]))


def test_augmentation_has_the_defaults_of_the_pipeline():
    parameters, settings = inspect.signature(load_dataset).parameters, config.settings().data.augmentation
    assert settings == {name: parameters[name].default for name in settings}
    assert {"rotation", "orientation", "photometric", "mix", "rare_classes"} < settings.keys()
