"""`crosscoop-tf data list`."""

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command("list", cls=TensorFlowCommand)
def list_() -> None:
    """To be written."""
