"""From options to settings: what the commands that describe a run have in common."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from crosscoop_tf import recipes

if TYPE_CHECKING:
    from keras_crosscoop.config import Settings

# Which setting each option stands for.
_SETTINGS = {
    "dataset": "data.name",
    "data_dir": "data.dir",
    "crop_size": "data.crop_size",
    "top": "model.top",
    "bottom": "model.bottom",
    "topology": "model.topology",
    "weights": "model.weights",
    "init_from": "train.init_from",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
    "precision": "train.precision",
    "strategy": "train.strategy",
    "deterministic": "train.deterministic",
    "save_every": "train.save_every",
    "profile": "train.profile",
    "rows": "ablation.rows",
    "seeds": "ablation.seeds",
}

_RECIPE_OPTIONS = (
    click.option("--config", "recipe", help="A recipe by name or a YAML file; by default the data set's own recipe."),
    click.option(
        "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, as train.learning_rate=0.01."
    ),
)
_MODEL_OPTIONS = (
    *_RECIPE_OPTIONS,
    click.option("--top", help="The first network's backbone; `crosscoop-tf info --backbones` lists them."),
    click.option("--bottom", help='The second network\'s backbone; "none" makes it a single network.'),
    click.option("--topology", help="Who reads the other's features: cross (both), one_way (bottom) or none."),
)
_DATA_OPTIONS = (
    click.option(
        "--dataset", help="What to train on: street_scenes (drawn here) by default; `crosscoop-tf data list` lists all."
    ),
    click.option("--data-dir", type=click.Path(), help="The folder that holds the data set."),
)
_TRAINING_OPTIONS = (
    click.option("--epochs", type=int, help="How often to go through the data."),
    click.option("--batch-size", type=int, help="Images a step."),
    click.option("--crop-size", type=int, help="Height and width of training crops, in pixels."),
    click.option(
        "--weights", help='Initial weights of both backbones: "imagenet", a file (see docs/weights.md), or "none".'
    ),
    click.option("--top-weights", help="The same, of the first backbone only."),
    click.option("--bottom-weights", help="The same, of the second backbone only."),
    click.option("--precision", help="float32, mixed_float16, mixed_bfloat16, or auto: what the device is fast at."),
)


def data_options(command: Callable) -> Callable:
    """Adds the options that say what is trained on."""
    return _with(_DATA_OPTIONS, command)


def training_options(command: Callable) -> Callable:
    """Adds the options that say how one network, or each of several alike, is trained."""
    return _with(_TRAINING_OPTIONS, command)


def recipe_options(command: Callable) -> Callable:
    """Adds the options that say which settings to begin with, and what to change in them, for `resolve`."""
    return _with(_RECIPE_OPTIONS, command)


def model_options(command: Callable) -> Callable:
    """Adds these and the options that say which network is meant."""
    return _with(_MODEL_OPTIONS, command)


def _with(options: Sequence[Callable], command: Callable) -> Callable:
    for option in reversed(options):
        command = option(command)
    return command


def resolve(recipe: str | None, assignments: tuple[str, ...], kind: str = "", **options: Any) -> "Settings":
    """The settings of a recipe, changed by --set, and those by the other options: None where one was not given.

    Without a recipe it is the data set's own one of that kind, `NAME-KIND`, or else its own one. A training that starts
    from an earlier run has that run's network, but for what the recipe given, --set and options say of it.

    Raises:
        InputError: there is no such recipe or setting, or a value that cannot be.
    """
    from keras_crosscoop import config

    changes = [
        *(config.parse(assignment) for assignment in assignments),
        *(config.nest(_SETTINGS[name], value) for name, value in options.items() if value is not None),
    ]
    given = recipes.read(recipe) if recipe else {}
    name = _last(changes, "data", "name") or "street_scenes"
    own = next((each for each in (f"{name}-{kind}", name) if each in recipes.names()), None)
    default = recipes.read(own) if own and not recipe else {}
    network = _network(_last([given, *changes], "train", "init_from"))
    # Not merged with the data set's own recipe: its options of a backbone, such as `alpha`, are not the run's.
    others = {name: value for name, value in default.get("model", {}).items() if name not in network}
    return config.settings({**default, "model": {**others, **network}}, given, *changes)


def _last(layers: Sequence[Mapping[str, Any]], section: str, name: str) -> Any:
    """The value that the last of these settings gives, or None."""
    sections = [layer[section] for layer in layers if isinstance(layer.get(section), dict)]
    return next((each[name] for each in reversed(sections) if name in each), None)


def _network(init: Any) -> dict[str, Any]:
    """The settings of section model that describe a run's network; none of a file of weights."""
    from keras_crosscoop import config

    path = config.settings({"train": {"init_from": init}}).train.init_from
    if path is None or not (path / "config.yaml").is_file():
        return {}
    from keras_crosscoop.runs import Run

    return Run.open(path).settings.model.architecture
