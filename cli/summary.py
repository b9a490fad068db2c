"""`crosscoop-tf summary`: the parts of a network and their costs, before training."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from crosscoop_tf.options import Size
from crosscoop_tf.settings import model_options, resolve
from crosscoop_tf.tensorflow_command import TensorFlowCommand

if TYPE_CHECKING:
    from keras_crosscoop.config import Model


@click.command(cls=TensorFlowCommand)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@model_options
@click.option("--dataset", help="Use the recipe of this data set.")
@click.option("--size", type=Size(), metavar="HxW", help="Image size in pixels. Default: the size of training crops.")
@click.option(
    "--classes",
    type=click.IntRange(1, 255),
    help="Number of classes. Default: the run's, or 21 as in VOC.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def summary(
    run: Path | None,
    recipe: str | None,
    assignments: tuple[str, ...],
    size: tuple[int, int] | None,
    classes: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show parameters, FLOPs and memory of each part of a network, and what each connection site adds.

    Give a run, or the options with which `fit` would train the network. All numbers are for one image. FLOPs are those
    of the forward pass, two per multiply-add; a training step needs about three times as many. Activations are the
    outputs of all layers, which training keeps in memory.

    \b
    crosscoop-tf summary saved_models/street_scenes-1
    crosscoop-tf summary --config cityscapes --size 1024x2048 --classes 19
    crosscoop-tf summary --config voc2012 --topology none
    crosscoop-tf summary --top resnet50 --bottom mobilenet_v2 --set model.decoder_channels=128 --json
    """
    from crosscoop_tf.tables import print_summary
    from rich.console import Console

    from keras_crosscoop.models import costs
    from keras_crosscoop.runs import Run, build

    if run is not None:
        if recipe or assignments or any(options.values()):
            raise click.UsageError("A run cannot be combined with options that describe a network. Omit one of them.")
        opened = Run.open(run)
        settings, default = opened.settings, len(opened.classes)
    else:
        settings, default = resolve(recipe, assignments, **options), 21
    num_classes = default if classes is None else classes
    height, width = size or (settings.data.crop_size, settings.data.crop_size)
    with Console(stderr=True).status("Building the network"):
        model = build(settings.model, num_classes, pretrained=False, input_shape=(height, width, 3))
        parts = costs.components(model)
        cooperate = settings.model.bottom is not None and settings.model.topology != "none"
        sites = costs.site_costs(model) if cooperate else {}
    if as_json:
        click.echo(
            json.dumps(
                {
                    "model": settings.model.model_dump(mode="json"),
                    "input_shape": [height, width, 3],
                    "total": dataclasses.asdict(sum((part.cost for part in parts), costs.Cost())),
                    "parts": [{**part._asdict(), "cost": dataclasses.asdict(part.cost)} for part in parts],
                    "sites": {site: dataclasses.asdict(cost) for site, cost in sites.items()},
                }
            )
        )
    else:
        print_summary(f"{_title(settings.model)}, one image of {height}x{width}", parts, sites)


def _title(model: "Model") -> str:
    if model.bottom is None:
        return f"{model.top}, output stride {model.output_stride}"
    connected = "not connected" if model.topology == "none" else model.topology
    return f"{model.top} + {model.bottom}, output stride {model.output_stride}, {connected}"
