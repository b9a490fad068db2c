"""Options that commands about a run share."""

from pathlib import Path

import click
from click.core import ParameterSource
from crosscoop_tf.sizes import IMAGES

output_head_option = click.option(
    "--output-head",
    type=click.Choice(["ensemble", "top", "bottom", "single"]),
    help="Which network's classes; the ensemble's by default, where there are two.",
)
data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="The folder of the data set; the run's own by default."
)
calibration_option = click.option(
    "--calibration",
    type=IMAGES,
    default=100,
    show_default=True,
    help="Training images that tell int8 the range of every feature.",
)


def check_calibration_unused(context: click.Context, received: str) -> None:
    """Refuses --calibration where nothing is quantised to int8.

    Raises:
        click.UsageError: it was given.
    """
    if context.get_parameter_source("calibration") is not ParameterSource.DEFAULT:
        raise click.UsageError(f"--calibration is for int8. Received: {received}", context)
