"""`crosscoop-tf data check`."""

import click
from crosscoop_tf.quiet import TensorFlowCommand


@click.command("check", cls=TensorFlowCommand)
def check() -> None:
    """To be written."""
