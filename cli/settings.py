"""Options that describe a run, and their conversion to settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from crosscoop_tf import recipes
from crosscoop_tf.options import add_options

if TYPE_CHECKING:
    from keras_crosscoop.config import Settings

# The setting that each option sets.
_SETTINGS = {
    "dataset": "data.name",
    "data_dir": "data.dir",
    "crop_size": "data.crop_size",
    "top": "model.top",
    "bottom": "model.bottom",
    "topology": "model.topology",
    "weights": "model.weights",
    "top_weights": "model.weights.top",
    "bottom_weights": "model.weights.bottom",
    "init_from": "train.init_from",
    "epochs": "train.epochs",
    "time": "train.time",
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

recipe_options = add_options(
    click.option("--config", "recipe", help="Name of a recipe, or a YAML file. Default: the recipe of the data set."),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change a setting, such as train.learning_rate=0.01; may be repeated.",
    ),
)
model_options = add_options(
    recipe_options,
    click.option("--top", help="Backbone of the top network; `crosscoop-tf info --backbones` lists all."),
    click.option("--bottom", help='Backbone of the bottom network; "none" trains a single network.'),
    click.option(
        "--topology", help="Which networks read their partner's features: cross (both), one_way (only bottom) or none."
    ),
)
data_options = add_options(
    click.option(
        "--dataset",
        help="Data set to train on; `crosscoop-tf data list` lists all, and tfds:NAME is one of TensorFlow Datasets. "
        "Default: see --data-dir, or street_scenes.",
    ),
    click.option(
        "--data-dir", type=click.Path(), help="Folder of the data set, or a dataset.yaml; see `data describe`."
    ),
)
training_options = add_options(
    click.option("--epochs", type=int, help="Passes over the training images."),
    click.option("--batch-size", type=int, help="Images per step, over all devices."),
    click.option("--crop-size", type=int, help="Height and width of training crops, in pixels."),
    click.option(
        "--weights",
        help='Initial weights of both backbones: "imagenet", a file (see docs/weights.md), or "none".',
    ),
    click.option("--top-weights", help="Initial weights of the top backbone only."),
    click.option("--bottom-weights", help="Initial weights of the bottom backbone only."),
    click.option("--precision", help="float32, mixed_float16, mixed_bfloat16, or auto (the fastest on this device)."),
)


def resolve(
    recipe: str | None, assignments: tuple[str, ...], kind: str = "", *, planned: bool = False, **options: Any
) -> "Settings":
    """Merges a recipe, `--set` and the other options, in this order, into settings.

    Without a data set's name, `data.dir` is looked into (`recognise`). The default recipe is `DATASET-KIND` if it
    exists, else `DATASET`. A run that starts from an earlier one
    (`train.init_from`) takes the model settings of that run, except those that the user gives.

    Args:
        recipe: Name or path of a recipe; None for the default.
        assignments: Values of `--set`, such as "train.epochs=3".
        kind: Variant of the default recipe, such as "ablation".
        planned: Whether a plan replaces the default recipe, but for the splits and the evaluation that are usual for
            the data set; always with `train.time`.
        **options: Values by option name; None where an option was not given.

    Raises:
        InputError: The recipe or a setting does not exist, or a value is invalid.
    """
    from keras_crosscoop import config
    from keras_crosscoop.data.own.discovery import recognise
    from keras_crosscoop.errors import InputError

    # Settings of an optimizer come after the optimizer, which would drop earlier ones.
    ordered = sorted(
        assignments, key=lambda assignment: assignment.partition("=")[0].removeprefix("train.") in config.CHOICES
    )
    changes = [
        *(config.parse(assignment) for assignment in ordered),
        *(config.nest(_SETTINGS[name], value) for name, value in options.items() if value is not None),
    ]
    explicit = [recipes.read(recipe) if recipe else {}, *changes]
    dataset = _last_value(changes, "data", "name")
    folder = _last_value(explicit, "data", "dir")
    if dataset is None and folder is not None and _last_value(explicit, "data", "name") is None:
        dataset = recognise(Path(folder).expanduser())
        changes.append(config.nest("data.name", dataset))
        explicit = [explicit[0], *changes]
    dataset = dataset or "street_scenes"
    planned = planned or _last_value(explicit, "train", "time") is not None
    candidates = [name for name in (f"{dataset}-{kind}", dataset) if name in recipes.names()]
    default = recipes.read(candidates[0]) if candidates and not recipe else {}
    if planned:
        splits = {name: split for name, split in default.get("data", {}).items() if name.endswith("_split")}
        default = {"data": splits, "evaluation": default.get("evaluation", {})}
    model = _model_settings(_last_value(explicit, "train", "init_from"))
    # Replaced rather than merged: backbone options in the default recipe, such as `alpha`, do not belong to the run.
    default_model = {name: value for name, value in default.get("model", {}).items() if name not in model}
    settings = config.settings({**default, "model": {**default_model, **model}}, *explicit)
    if settings.model.bottom is None and (weights := options.get("bottom_weights")) is not None:
        raise InputError(f"A single network has no bottom weights. Received: {weights!r}")
    return settings


def _last_value(layers: Sequence[Mapping[str, Any]], section: str, name: str) -> Any:
    values = [layer[section][name] for layer in layers if name in (layer.get(section) or {})]
    return values[-1] if values else None


def _model_settings(init_from: Any) -> dict[str, Any]:
    """Returns the model settings of an earlier run; nothing for a weights file."""
    from keras_crosscoop import config

    path = config.settings({"train": {"init_from": init_from}}).train.init_from
    if path is None or not (path / "config.yaml").is_file():
        return {}
    from keras_crosscoop.runs import Run

    return Run.open(path).settings.model.architecture
