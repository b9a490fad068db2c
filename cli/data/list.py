"""`crosscoop-tf data list`: the catalogue."""

import json

import click
from crosscoop_tf.tensorflow_command import TensorFlowCommand


@click.command("list", cls=TensorFlowCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def list_(as_json: bool) -> None:
    """List all data sets: classes, splits, source, licence, and layout of the folder.

    \b
    crosscoop-tf data list
    crosscoop-tf data list --json
    """
    from crosscoop_tf.data.tables import print_catalogue

    from keras_crosscoop.data import CATALOGUE

    if as_json:
        facts = ("classes", "splits", "layout", "source", "licence", "needs_folder")
        entries = {name: {fact: getattr(entry, fact) for fact in facts} for name, entry in CATALOGUE.items()}
        click.echo(json.dumps(entries))
    else:
        print_catalogue(CATALOGUE)
