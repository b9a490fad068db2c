"""Settings: which layer wins, what is refused, and that every recipe is one."""

from pathlib import Path

import pytest

from keras_crosscoop import config
from keras_crosscoop.errors import InputError

RECIPES = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_later_layers_win_setting_by_setting():
    settings = config.settings(
        {"train": {"epochs": 3, "seed": 1}, "model": {"bottom": {"name": "mobilenet", "alpha": 0.75}}},
        config.parse("train.epochs=5"),
        config.parse("model.bottom.alpha=0.5"),
        config.nest("train.batch_size", 2),
    )
    assert (settings.train.epochs, settings.train.seed, settings.train.batch_size) == (5, 1, 2)
    assert settings.train.momentum == 0.9
    assert settings.model.bottom == {"name": "mobilenet", "alpha": 0.5}
    assert config.settings(settings.model_dump(), {"model": {"bottom": "resnet50"}}).model.bottom == "resnet50"


@pytest.mark.parametrize(
    ("assignment", "value"),
    [("data.scale=[0.5, 1]", (0.5, 1.0)), ("data.flip=no", False), ("data.dir=null", None), ("data.name=a=b", "a=b")],
)
def test_values_are_read_as_yaml(assignment, value):
    name = assignment.partition("=")[0].removeprefix("data.")
    assert getattr(config.settings(config.parse(assignment)).data, name) == value


def test_none_is_a_word_for_null():
    model = config.settings(config.parse("model.bottom=none"), config.parse("model.weights=none")).model
    assert (model.bottom, model.weights) == (None, None)


def test_weights_of_one_side_leave_the_other():
    settings = config.settings({"model": {"weights": "imagenet"}})
    assert settings.with_weights(top=None, bottom=None) == settings
    assert settings.with_weights(top="a.h5").model.weights == {"top": "a.h5", "bottom": "imagenet"}
    both = settings.with_weights(top="a.h5").with_weights(bottom="none").model.weights
    assert both == {"top": "a.h5", "bottom": None}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"train": {"epoch": 3}}, r'no setting.*Did you mean "train.epochs"\? Received: \'train.epoch\''),
        ({"tarin": {}}, r'Did you mean "train"\?'),
        ({"train": {"epochs": "many"}}, "Setting train.epochs: .*Received: 'many'"),
        ({"train": {"momentum": 1}}, "Setting train.momentum: .*less than 1.*Received: 1"),
        ({"train": {"seed": -1}}, "Setting train.seed: .*Received: -1"),
        ({"train": 3}, "Setting train: .*Received: 3"),
        ({"model": {"fusion": "sum"}}, r"choice for setting model.fusion.*concat, add.*Received: 'sum'"),
        ({"model": {"topology": "one-way"}}, r'Did you mean "one_way"\?'),
        ({"model": {"output_stride": 12}}, "model.output_stride.*8, 16, 32.*Received: 12"),
        ({"model": {"dropout": [0.5, 0.5, 1.5]}}, "Setting model.dropout.2: .*Received: 1.5"),
        ({"data": {"scale": [2.0, 0.5]}}, r"Setting data.scale: .*Received: .*2\.0, 0\.5"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(layer, message):
    with pytest.raises(InputError, match=message) as caught:
        config.settings(layer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\t"])
def test_a_file_that_is_no_config_is_named(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config.*Received: .*mine\.yaml"):
        config.read(path)


def test_what_is_written_is_read_back(tmp_path):
    settings = config.settings({"data": {"dir": "somewhere"}, "model": {"weights": {"top": "a.h5", "bottom": None}}})
    (tmp_path / "config.yaml").write_text(config.dump(settings))
    assert config.settings(config.read(tmp_path / "config.yaml")) == settings


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_it_is(path):
    settings = config.settings(config.read(path))
    assert settings.data.name == path.stem
    head = path.read_text().split("data:")[0]
    for fact in ("Command:", "Cost:", "Score:"):
        assert fact in head


def test_the_papers_recipes():
    """Ikedo and Hotta, VISAPP 2022, section 4.1."""
    voc, cityscapes = (
        config.settings(config.read(path)) for path in RECIPES[::-1] if path.stem in ("voc2012", "cityscapes")
    )
    for settings, crop, rate in ((voc, 513, 0.007), (cityscapes, 768, 0.035)):
        assert (settings.data.crop_size, settings.train.learning_rate, settings.train.batch_size) == (crop, rate, 6)
        assert (settings.model.top, settings.model.bottom, settings.model.topology) == (
            "xception65",
            "resnet101",
            "cross",
        )
