"""`crosscoop-tf data show`."""

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command("show", cls=TensorFlowCommand)
def show() -> None:
    """To be written."""
