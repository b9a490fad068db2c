"""Options of all commands: every one that is a number has a least and a greatest value."""

import click
import pytest
from crosscoop_tf.main import commands
from crosscoop_tf.options import Fraction
from crosscoop_tf.settings import _SETTINGS, resolve
from helpers import refused

from keras_crosscoop import config

# What is text, file or choice in all commands that have it. Add an option here only if it is no number.
NO_NUMBERS = {
    *("assignments", "beam_options", "bottom", "bottom_weights", "classes", "dataset", "format_", "formats", "name"),
    *(
        "precision",
        "recipe",
        "rows",
        "server",
        "split",
        "splits",
        "strategy",
        "top",
        "top_weights",
        "topology",
        "weights",
    ),
}
READ_LATER = {
    ("fit", "save_every"),
    ("fit", "time"),
    ("plan", "time"),
}  # numbers in text: refused by what reads them, see below
OTHER_TYPES = {"size", "scales"}  # of this package, see below


def walk(command, path=()):
    if isinstance(command, click.Group):
        for name, subcommand in command.commands.items():
            yield from walk(subcommand, (*path, name))
    else:
        yield from ((path, parameter) for parameter in command.params if isinstance(parameter, click.Option))


OPTIONS = [pytest.param(*option, id=" ".join((*option[0], option[1].opts[0]))) for option in walk(commands)]


def is_number(kind):
    return isinstance(kind, click.types.IntParamType | click.types.FloatParamType)


def test_all_commands_are_walked():
    assert len(OPTIONS) > 80
    assert {path for path, _ in walk(commands)} >= {("fit",), ("evaluate",), ("data", "show"), ("benchmark",)}


@pytest.mark.parametrize(("path", "option"), OPTIONS)
def test_every_number_has_bounds(path, option):
    if isinstance(option.type, click.IntRange | Fraction):
        assert None not in (option.type.min, option.type.max)
    elif is_number(option.type):
        assert option.name in _SETTINGS  # whose numbers have bounds, see tests/test_config.py
    elif isinstance(option.type, click.types.StringParamType) and not option.is_flag:
        assert option.name in NO_NUMBERS or (path[-1], option.name) in READ_LATER
    else:
        assert isinstance(option.type, click.Path | click.Choice | click.types.BoolParamType) or (
            option.is_flag or option.type.name in OTHER_TYPES
        )


NUMBERS = [
    pytest.param(*option, id=" ".join((*option[0], option[1].opts[0])))
    for option in walk(commands)
    if is_number(option[1].type) or (option[0][-1], option[1].name) in READ_LATER or option[1].type.name in OTHER_TYPES
]


@pytest.mark.parametrize(("path", "option"), NUMBERS)
def test_numbers_beyond_reason_are_refused_in_one_line(crosscoop, stub_run, halves, tmp_path, path, option):
    """Whatever else a command needs."""
    arguments = {"predict": [stub_run, halves / "images", "--output=out"], "evaluate": [stub_run]}
    arguments |= {"export": [stub_run, "--format=onnx"], "benchmark": [stub_run], "show": ["street_scenes"]}
    before = sorted(tmp_path.rglob("*"))
    for value in ("100000000000000000000000000000", "-1", "nan"):
        code, out, err = crosscoop(*path, *arguments.get(path[-1], []), f"{option.opts[0]}={value}")
        assert (code, out) == (2, "")
        assert err.startswith("crosscoop-tf: ")
        assert err.count("\n") == 1
        assert any(name in err.lower() for name in (option.opts[0], _SETTINGS.get(option.name), option.name) if name)
        assert sorted(tmp_path.rglob("*")) == before


def test_named_options_override_set():
    train = resolve(None, ("train.epochs=3", "train.seed=1"), epochs=5, batch_size=None).train
    assert (train.epochs, train.seed) == (5, 1)


@pytest.mark.parametrize("order", [1, -1])
def test_a_learning_rate_may_be_set_before_its_optimizer(order):
    """The recipe's own goes: it belongs to SGD."""
    sets = ("train.learning_rate=0.001", "train.optimizer=adamw")
    train = resolve("voc2012", sets[::order]).train
    assert (train.learning_rate, train.weight_decay, train.momentum, train.poly_power) == (0.001, 0.01, None, 0.9)


def test_a_single_network_has_no_bottom_weights():
    model = resolve(None, (), bottom="none", top_weights="/a.h5").model
    assert model.weights["top"] == "/a.h5"
    assert "no bottom weights" in refused(resolve, None, (), bottom="none", bottom_weights="/b.h5")


@pytest.mark.parametrize("name", ["crop", "window"])
def test_the_greatest_values_are_those_of_settings(name):
    (greatest,) = {option.type.max for path, option in walk(commands) if (path, option.name) == (("evaluate",), name)}
    config.settings({"evaluation": {name: greatest}})
    with pytest.raises(config.InputError, match=f"less than or equal to {greatest}"):
        config.settings({"evaluation": {name: greatest + 1}})
