"""`crosscoop-tf plan`: the settings that `fit --time` would choose, and why."""

import json
from pathlib import Path
from typing import Any

import click
from crosscoop_tf.settings import data_options, model_options, resolve, training_options
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command(cls=TensorFlowCommand)
@data_options
@model_options
@training_options
@click.option("--time", help='Time for everything, such as "30min" or "2h".')
@click.option("--output", type=click.Path(path_type=Path), help="Write the settings as a recipe for `fit --config`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def plan(
    recipe: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show the settings that suit your data, this machine and your time, each with its reason.

    The settings that you give are kept. `fit --time` makes the same plan, and then measures how many steps fit into the
    time.

    \b
    crosscoop-tf plan --data-dir MY_DATA --time 2h
    crosscoop-tf plan --data-dir MY_DATA --output plan.yaml
    crosscoop-tf fit --config plan.yaml
    """
    from crosscoop_tf.tables import print_plan

    from keras_crosscoop import config, planning
    from keras_crosscoop.data import dataset
    from keras_crosscoop.errors import InputError
    from keras_crosscoop.system.files import write_text
    from keras_crosscoop.training import builders

    settings = resolve(recipe, assignments, planned=True, **options)
    if output is not None and output.exists():
        raise InputError(f"The recipe exists already. Name another file with --output. Received: {output}")
    data = builders.data(dataset(settings.data.name, settings.data.dir), settings)
    data, report = builders.check_data(data, settings)
    facts = planning.describe_data(data, report, settings), planning.describe_machine(settings)
    chosen = planning.plan(*facts, settings)
    for line in chosen.warnings:
        click.echo(f"warning: {line}", err=True)
    if output is not None:
        write_text(output, chosen.recipe(), "recipe")
    if as_json:
        click.echo(json.dumps({"choices": chosen.as_dict(), "settings": config.plain(chosen.settings)}))
    else:
        print_plan(chosen)
