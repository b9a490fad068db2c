"""`crosscoop-tf data prepare`."""

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command("prepare", cls=TensorFlowCommand)
def prepare() -> None:
    """To be written."""
