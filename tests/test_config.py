"""Settings come from where they should, survive their file, and refuse what they cannot be in one line."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

from keras_crosscoop import config
from keras_crosscoop.errors import InputError

RECIPES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


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
    """Defaults < recipe < `--set` < options: each layer changes what it names and leaves the rest."""
    recipe = {"data": {"crop_size": 256}, "train": {"epochs": 30, "batch_size": 8, "learning_rate": 0.01}}
    settings = config.settings(
        recipe, config.parse("train.epochs=5"), config.parse("train.batch_size=2"), config.nest("train.epochs", 3)
    )
    train = settings.train
    assert (train.epochs, train.batch_size, train.learning_rate, train.momentum) == (3, 2, 0.01, 0.9)
    assert settings.data.crop_size == 256
    assert recipe["train"] == {"epochs": 30, "batch_size": 8, "learning_rate": 0.01}  # nobody wrote into it


def test_a_name_replaces_a_backbone_with_options():
    recipe = {"model": {"bottom": {"name": "mobilenet", "alpha": 0.75}}}
    assert config.settings(recipe, {"model": {"bottom": "resnet50"}}).model.bottom == "resnet50"
    assert config.settings({"model": {"bottom": "resnet50"}}, recipe).model.bottom == {
        "name": "mobilenet",
        "alpha": 0.75,
    }


def test_an_option_of_a_backbone_can_be_changed_alone():
    recipe = {"model": {"bottom": {"name": "mobilenet", "alpha": 0.75}}}
    settings = config.settings(recipe, config.parse("model.bottom.alpha=0.5"))
    assert settings.model.bottom == {"name": "mobilenet", "alpha": 0.5}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"name": "mobilenet", "alpha": 0.75}, {"name": "mobilenet_v3_large"}, {"name": "mobilenet_v3_large"}),
        ({"name": "mobilenet", "alpha": 0.75}, {"name": "mobilenet"}, {"name": "mobilenet", "alpha": 0.75}),
        ({"name": "mobilenet", "alpha": 0.75}, {"alpha": 0.5}, {"name": "mobilenet", "alpha": 0.5}),
        ({"name": "mobilenet", "alpha": 0.75}, "mobilenet", "mobilenet"),
        ("mobilenet", {"alpha": 0.5}, {"name": "mobilenet", "alpha": 0.5}),
        ("mobilenet", {"name": "resnet50", "multi_grid": [1, 2, 4]}, {"name": "resnet50", "multi_grid": [1, 2, 4]}),
    ],
)
@pytest.mark.parametrize("side", ["top", "bottom"])
def test_options_go_with_the_backbone_that_they_are_of(side, below, above, expected):
    model = config.settings({"model": {side: below}}, {"model": {side: above}}).model
    assert getattr(model, side) == expected


def test_other_mappings_are_joined_and_go_with_null():
    recipe = {"loss": {"class_weights": {"road": 2, "sky": 0.5}, "weights": {"top": 2, "bottom": 1}}}
    loss = config.settings(recipe, config.parse("loss.class_weights.sky=1"), config.parse("loss.weights.top=3")).loss
    assert (loss.class_weights, loss.weights) == ({"road": 2, "sky": 1}, {"top": 3, "bottom": 1})
    assert config.settings(recipe, config.parse("loss.class_weights=null")).loss.class_weights is None


def test_a_config_of_the_first_version_names_two_weights_for_one_output():
    loss = config.settings({"model": {"bottom": None}, "loss": {"weights": {"top": 1.0, "bottom": 1.0}}}).loss
    assert loss.weights == {"top": 1, "bottom": 1}


def numbers(schema, definitions, path=()):
    """Every number that settings take, with what JSON Schema says of it, and every value of any kind."""
    if reference := schema.get("$ref"):
        schema = definitions[reference.rpartition("/")[2]]
    if schema.get("type") in ("integer", "number") and "enum" not in schema:
        yield ".".join(path), schema
    if schema.get("additionalProperties") is True or not schema.keys() - {"title", "default"}:
        yield ".".join(path), None
    for name, each in schema.get("properties", {}).items():
        yield from numbers(each, definitions, (*path, name))
    inside = [
        *schema.get("anyOf", []),
        *schema.get("prefixItems", []),
        schema.get("items"),
        schema.get("additionalProperties"),
    ]
    for each in inside:
        if isinstance(each, dict):
            yield from numbers(each, definitions, path)


def test_every_number_has_a_least_and_a_greatest_value():
    schema = config.Settings.model_json_schema()
    found = list(numbers(schema, schema["$defs"]))
    assert {path for path, _ in found} >= {"data.crop_size", "data.scale", "train.epochs", "loss.class_weights"}
    assert len(found) > 30
    assert {path for path, number in found if number is None} == {"model.top", "model.bottom"}  # bounded by `backbones`
    for path, number in found:
        if number is not None:
            assert {"minimum", "exclusiveMinimum"} & number.keys(), path
            assert {"maximum", "exclusiveMaximum"} & number.keys(), path


@pytest.mark.parametrize("value", ["2147483648", "1" + 30 * "0", "1.0e+30", "-1", ".nan", ".inf", "1" + 399 * "0"])
@pytest.mark.parametrize(
    "name",
    [
        *("data.crop_size", "model.decoder_channels", "train.batch_size", "train.epochs", "train.steps_per_execution"),
        *("evaluation.crop", "evaluation.window", "train.learning_rate", "loss.class_weights.road", "train.save_every"),
    ],
)
def test_numbers_beyond_reason_are_refused_in_one_line(name, value):
    with pytest.raises(InputError, match=f"^Setting {name}: .*Received: ") as error:
        config.settings(config.parse(f"{name}={value}"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("value", ["true", "no"])
def test_no_number_is_a_boolean(value):
    """Python and pydantic take them for 1 and 0: `train.patience=yes`, say, would be a patience of 1."""
    schema = config.Settings.model_json_schema()
    names = {path for path, number in numbers(schema, schema["$defs"]) if number is not None}
    for name in names:
        inside = {"loss.weights": ".top", "loss.class_weights": ".road"}.get(name, "")
        several = {"model.dropout": 3, "data.scale": 2}.get(name)
        given = f"[{', '.join([value] * several)}]" if several else value
        with pytest.raises(InputError, match=f"^Setting {name}") as error:
            config.settings(config.parse(f"{name}{inside}={given}"))
        assert "Received: " in str(error.value)


def test_bounds_admit_what_people_train():
    """A night's worth of epochs that patience ends, the largest crops and batches published, and the least rates."""
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
        ("model.weights=null", {"model": {"weights": None}}),
        ("data.flip=no", {"data": {"flip": False}}),
        ("data.dir=null", {"data": {"dir": None}}),
        ("data.name=a=b", {"data": {"name": "a=b"}}),
    ],
)
def test_assignments_are_yaml(assignment, expected):
    assert config.parse(assignment) == expected
    config.settings(expected)


@pytest.mark.parametrize(
    "assignment",
    [
        *("train.epochs", "=3", "", "train.epochs=[1,", "data.name=a: b: c"),
        *("model.top={name: resnet50, name: resnet101}", "a." * 50 + "b=1"),
    ],
)
def test_what_is_no_assignment_is_refused_in_one_line(assignment):
    with pytest.raises(InputError, match=r"section\.key=value|no valid YAML") as error:
        config.parse(assignment)
    assert str(error.value).endswith(f"Received: {assignment!r}")
    assert "\n" not in str(error.value)


def test_numbers_as_people_write_them():
    """YAML reads 1e-3 as text."""
    assert config.settings(config.parse("train.learning_rate=1e-3")).train.learning_rate == 0.001


def test_none_is_null_on_the_command_line():
    assert config.settings(config.parse("model.bottom=none")).model.bottom is None
    assert config.settings(config.parse("model.weights=none")).model.weights is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trian": {}}, "There is no setting of that name. Did you mean \"train\"? Received: 'trian'."),
        (
            {"train": {"epoch": 3}},
            "There is no setting of that name. Did you mean \"train.epochs\"? Received: 'train.epoch'.",
        ),
        pytest.param(
            {"data": {"xyz": 1}},
            "There is no setting of that name. Valid: data.name, data.dir, data.train_split, data.val_split, "
            "data.on_error, data.crop_size, data.scale, data.flip, data.photometric. Received: 'data.xyz'.",
        ),
        ({"data": {"crop-size": 5}}, 'Did you mean "data.crop_size"?'),
        (
            {"model": {"topology": "crss"}},
            "Setting model.topology is one of none, one_way, cross. Received: 'crss'",
        ),
        (
            {"model": {"sites": ["aspp", "decodr"]}},
            "backbone, aspp, aspp_output, decoder. Received: 'decodr'",
        ),
        ({"model": {"fusion": "sum"}}, "is one of concat, add. Received: 'sum'"),
        ({"model": {"output_stride": 12}}, "is one of 8, 16, 32. Received: 12"),
        ({"train": {"epochs": "many"}}, "Setting train.epochs: Input should be a valid integer"),
        ({"train": {"epochs": 0}}, "Setting train.epochs: Input should be greater than or equal to 1. Received: 0"),
        ({"train": {"epochs": None}}, "Setting train.epochs: Input should be a valid integer. Received: None"),
        ({"train": {"momentum": 1}}, "Setting train.momentum: Input should be less than 1. Received: 1"),
        (
            {"train": {"learning_rate": float("nan")}},
            "Input should be a finite number. Received: nan",
        ),
        ({"train": 5}, "Section train holds settings, such as train.NAME=VALUE. Received: 5"),
        ({"train": {"weight_decay": float("inf")}}, "Setting train.weight_decay: Input should be a finite number"),
        ({"train": {"precision": "float16"}}, "is one of float32, mixed_float16, mixed_bfloat16, auto"),
        ({"train": {"save_every": 0}}, "it is a number of steps, such as 500, or of minutes"),
        ({"train": {"save_every": True}}, "it is a number of steps, such as 500, or of minutes"),
        ({"loss": {"weights": {"tpo": 1}}}, "Setting loss.weights.tpo is one of top, bottom, single. Received: 'tpo'"),
        (
            {"loss": {"weights": {"top": 0}}, "model": {"bottom": None}},
            "There is no output for setting loss.weights of that name. Valid: single. Received: 'top'",
        ),
        (
            {"loss": {"weights": {"single": 2, "top": 1}}},
            "There is no output for setting loss.weights of that name. Valid: top, bottom. Received: 'single'",
        ),
        (
            {"loss": {"weights": {"top": 0, "bottom": 0}}},
            "Setting loss.weights must not be all 0, or nothing is learnt. Received: {'top': 0.0, 'bottom': 0.0}",
        ),
        ({"data": {"scale": [1]}}, "Setting data.scale.1: Field required. Received: [1]"),
        ({"data": {"name": {"a": "b"}}}, "Setting data.name: Input should be a valid string. Received: {'a': 'b'}"),
        ({"model": {"top": 5}}, "Setting model.top"),
        (
            {"model": {"weights": {"left": "imagenet"}}},
            "Setting model.weights: it must name top and bottom",
        ),
        (
            {"model": {"weights": {"top": "imagenet"}}},
            "Setting model.weights: it must name top and bottom",
        ),
        ({"model": {"weights": 5}}, "Setting model.weights: "),
        ({1: 2}, "Setting 1: Keys should be strings"),
        ({"model": {"dropout": [0, 0, 1.5]}}, "Setting model.dropout.2: Input should be less than 1. Received: 1.5"),
        ({"model": {"dropout": [0, 0]}}, "Setting model.dropout.2: Field required"),
        ({"train": {"seed": -1}}, "Setting train.seed: Input should be greater than or equal to 0. Received: -1"),
        ({"data": {"scale": [2.0, 0.5]}}, "Setting data.scale: "),
        ({"model": {"top": {"alpha": 0.5}}}, "Setting model.top: a backbone is a name, or a mapping of"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line(given, message):
    with pytest.raises(InputError) as error:
        config.settings(given)
    assert message in str(error.value)
    assert "Received: " in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_are_frozen():
    settings = config.settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.train.epochs = 3


CHANGED = {
    "data": {"name": "camvid", "dir": "/data/CamVid", "crop_size": 99, "scale": [0.75, 1.5], "flip": False},
    "model": {
        "top": {"name": "mobilenet", "alpha": 0.25},
        "bottom": None,
        "sites": ["aspp"],
        "weights": {"top": "a.weights.h5", "bottom": None},
    },
    "train": {"learning_rate": 1e-7, "seed": 12},
    "loss": {"class_weights": {"road": 0.25, "sky": 0}},
    "evaluation": {"crop": 513},
}


@pytest.mark.parametrize("given", [{}, CHANGED])
def test_what_is_written_is_read_back(given, tmp_path):
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
        (b"train: [1,\n  2", "The config is no valid YAML ("),
        (b"- train", "A config must hold sections such as data, model and train. Received: "),
        (b"\t", "The config is no valid YAML ("),
        (b"", "A config must hold sections such as data, model and train. Received: "),
        (b"!!python/object/apply:os.system [ls]", "The config is no valid YAML ("),
        (
            b"loss:\n  dice_weight: 1\ndata: {}\nloss:\n  focal_gamma: 2\n",
            'The config is no valid YAML ("loss" is given twice, in lines 1 and 4). Received: ',
        ),
        (b"train:\n  epochs: 1\n\n  'epochs': 2\n", '("epochs" is given twice, in lines 2 and 4). Received: '),
    ],
)
def test_files_that_hold_no_settings_are_refused_in_one_line(content, message, tmp_path):
    file = tmp_path / "bad.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError) as error:
        config.read(file)
    assert message in str(error.value)
    assert str(error.value).endswith(f"Received: {file}")
    assert "\n" not in str(error.value)


def test_a_folder_is_no_config(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        config.read(tmp_path)


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ("imagenet", {"top": "/w/a.h5"}, {"top": "/w/a.h5", "bottom": "imagenet"}),
        ("imagenet", {"bottom": "/w/b.h5"}, {"top": "imagenet", "bottom": "/w/b.h5"}),
        (None, {"top": "/w/a.h5", "bottom": "/w/b.h5"}, {"top": "/w/a.h5", "bottom": "/w/b.h5"}),
        ({"top": "/w/a.h5", "bottom": None}, {"bottom": "/w/b.h5"}, {"top": "/w/a.h5", "bottom": "/w/b.h5"}),
        ("imagenet", {"top": None, "bottom": None}, "imagenet"),
        ("imagenet", {}, "imagenet"),
        ("imagenet", {"bottom": "none"}, {"top": "imagenet", "bottom": None}),
        ({"top": "/w/a.h5", "bottom": "/w/b.h5"}, {"top": "none"}, {"top": None, "bottom": "/w/b.h5"}),
    ],
)
def test_weights_of_one_side_leave_the_other(before, given, after):
    settings = config.settings({"model": {"weights": before}, "train": {"epochs": 7}})
    changed = settings.with_weights(**given)
    assert changed.model.weights == after
    assert changed.train == settings.train
    assert settings.model.weights == before


def test_there_are_no_weights_for_a_network_that_is_not_there():
    single = config.settings({"model": {"bottom": None}})
    assert single.with_weights(top="/a.h5").model.weights["top"] == "/a.h5"
    with pytest.raises(InputError, match=r"no bottom network.*Received: '/b\.h5'"):
        single.with_weights(bottom="/b.h5")


def test_paths_are_found_from_anywhere(tmp_path, monkeypatch):
    """A run is used from other folders than the one it was started in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = config.settings({"data": {"dir": "CamVid"}, "model": {"weights": "a.weights.h5"}})
    assert settings.data.dir == tmp_path / "CamVid"
    assert settings.model.weights == str(tmp_path / "a.weights.h5")
    assert settings.with_weights(top="~/b.weights.h5").model.weights == {
        "top": "/home/somebody/b.weights.h5",
        "bottom": str(tmp_path / "a.weights.h5"),
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_valid(recipe):
    content = config.read(recipe)
    settings = config.settings(content)
    for section, given in content.items():
        found = getattr(settings, section).model_dump(mode="json")
        for key, value in given.items():
            assert found[key] == value
    assert settings.data.name == recipe.stem.partition("-")[0]
    opening = recipe.read_text().split("data:")[0]
    assert all(fact in opening for fact in ("Command:", "Cost:", "Score:"))


def test_recipes_are_there():
    assert {recipe.stem for recipe in RECIPES} >= {"street_scenes", "camvid", "voc2012", "cityscapes"}


def test_a_measured_figure_stands_in_one_place():
    """That of the default run was another in README, recipe and docs: one measures, the others refer to it."""
    root = Path(__file__).parents[1]
    figures = {  # file -> figures beside which it says "mIoU"
        path.relative_to(root).as_posix(): {
            figure
            for line in path.read_text(encoding="utf-8").splitlines()
            if "mIoU" in line and "published" not in line
            for figure in re.findall(r"\b\d\d\.\d\b", line)
        }
        for path in (root / "README.md", *root.glob("docs/*.md"), *root.glob("configs/*.yaml"))
    }
    assert len(figures["README.md"]) > 1
    for one, other in itertools.combinations(figures, 2):
        assert not figures[one] & figures[other], (one, other)
    for path, of_file in figures.items():
        assert not (path.startswith("docs/") and of_file), path
    score = (root / "configs/street_scenes.yaml").read_text(encoding="utf-8")
    assert 'see "Measured" in README.md' in score


@pytest.mark.parametrize(
    ("name", "crop", "rate", "epochs"), [("voc2012", 513, 0.007, 50), ("cityscapes", 768, 0.035, 200)]
)
def test_the_papers_recipes_are_the_papers(name, crop, rate, epochs):
    """Ikedo and Hotta, VISAPP 2022, sections 4.1 and 4.2; epochs are this package's."""
    settings = config.settings(config.read(next(recipe for recipe in RECIPES if recipe.stem == name)))
    assert (settings.data.name, settings.data.crop_size) == (name, crop)
    assert (settings.train.batch_size, settings.train.learning_rate, settings.train.epochs) == (6, rate, epochs)
    assert (settings.model.top, settings.model.bottom, settings.model.topology) == ("xception65", "resnet101", "cross")
    assert settings.model.weights == "imagenet"


@pytest.mark.parametrize(
    ("name", "rows"), [("voc2012-table1", "table1"), ("voc2012-table5", "table5"), ("cityscapes-table3", "table1")]
)
def test_the_papers_tables_are_of_its_recipes(name, rows):
    """And say which rows."""
    files = {recipe.stem: recipe for recipe in RECIPES}
    of_table, of_data = (config.settings(config.read(files[each])) for each in (name, name.split("-")[0]))
    assert of_table.ablation.rows == (rows,)
    assert config.dump(of_table) == config.dump(of_data)
