"""`crosscoop-tf fit`: trains, evaluates and shows."""

from pathlib import Path
from typing import Any

import click
from crosscoop_tf import recipes
from crosscoop_tf.quiet import TensorFlowCommand

# Which setting each option stands for.
_SETTINGS = {
    "dataset": "data.name",
    "data_dir": "data.dir",
    "crop_size": "data.crop_size",
    "top": "model.top",
    "bottom": "model.bottom",
    "topology": "model.topology",
    "weights": "model.weights",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "seed": "train.seed",
}


@click.command(cls=TensorFlowCommand)
@click.option("--dataset", help="What to train on: street_scenes (drawn here, the default), camvid or folder.")
@click.option("--data-dir", type=click.Path(), help="The folder that holds the data set.")
@click.option("--config", "recipe", help="A recipe by name or a YAML file; by default the data set's own recipe.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, as train.learning_rate=0.01."
)
@click.option("--epochs", type=int, help="How often to go through the data.")
@click.option("--batch-size", type=int, help="Images a step.")
@click.option("--crop-size", type=int, help="Height and width of training crops, in pixels.")
@click.option("--top", help="The first network's backbone.")
@click.option("--bottom", help='The second network\'s backbone; "none" trains a single network.')
@click.option("--topology", help="Who reads the other's features: cross (both), one_way (bottom) or none.")
@click.option("--weights", help='Of both backbones: "imagenet", a .weights.h5 file, or "none".')
@click.option("--top-weights", help="The same, of the first backbone.")
@click.option("--bottom-weights", help="The same, of the second backbone.")
@click.option("--seed", type=int, help="Of everything random.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder; saved_models/DATASET-N by default.")
def fit(
    recipe: str | None,
    assignments: tuple[str, ...],
    top_weights: str | None,
    bottom_weights: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Train a cross-cooperative network, measure it on the validation split, and draw a few predictions.

    Without options it trains a light pair on the embedded data set, in minutes, with no download. Settings come from
    the recipe, are changed by --set, and those by the other options.

    \b
    crosscoop-tf fit
    crosscoop-tf fit --epochs 3 --output saved_models/quick
    crosscoop-tf fit --dataset camvid --data-dir CamVid
    crosscoop-tf fit --dataset folder --data-dir MY_DATA --top resnet50 --bottom mobilenet_v2
    crosscoop-tf fit --config my.yaml --set train.learning_rate=0.01 --set model.width=128
    """
    from crosscoop_tf.progress import FitProgress
    from crosscoop_tf.tables import print_evaluation
    from rich.console import Console

    from keras_crosscoop import config, evaluation, training
    from keras_crosscoop.data import dataset

    changes = [
        *(config.parse(assignment) for assignment in assignments),
        *(config.nest(_SETTINGS[name], value) for name, value in options.items() if value is not None),
    ]
    data_changes = (change["data"] for change in changes if isinstance(change.get("data"), dict))
    name = ["street_scenes", *(data["name"] for data in data_changes if "name" in data)][-1]  # the last one counts
    base = recipes.read(recipe or name) if recipe or name in recipes.names() else {}
    settings = config.settings(base, *changes).with_weights(top=top_weights, bottom=bottom_weights)

    with Console(stderr=True).status("Opening the data set"):  # street_scenes is drawn the first time
        data = dataset(settings.data.name, settings.data.dir)
    with FitProgress(settings) as progress:
        run, model = training.fit(settings, output or recipes.new_folder(settings.data.name), [progress])
    figures = evaluation.evaluate(model, data, "val")
    evaluation.write_json(figures, run.folder / "metrics.json")
    evaluation.draw_examples(model, data, "val", run.folder / "pictures")
    print_evaluation(figures)
    click.echo(f"Run: {run.folder}   Pictures: {run.folder / 'pictures'}")
