"""Options of commands that look at whole images: the arguments of `keras_crosscoop.evaluation.Inference`."""

from collections.abc import Callable
from typing import Any

import click
from crosscoop_tf.sizes import PIXELS, ShareRange


class _Scales(click.ParamType):
    name = "scales"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):  # the default
            return value
        try:
            return tuple(map(float, value.split(",")))
        except ValueError:
            self.fail(f"Scales are numbers between commas, such as 0.5,1,1.5. Received: {value!r}", param, ctx)


_OPTIONS = (
    click.option(
        "--window",
        type=PIXELS,
        help="Predict in square windows of this size in pixels, for large images; the whole image at once by default.",
    ),
    click.option(
        "--overlap",
        type=ShareRange(max_open=True),
        default=1 / 3,
        help="Least overlap of neighbouring windows, as a share of the window; 1/3 by default.",
    ),
    click.option(
        "--scales",
        type=_Scales(),
        default=(1.0,),
        metavar="S,S,...",
        help="Predict at these multiples of the image's size, and average the probabilities; 1 by default.",
    ),
    click.option("--flip", is_flag=True, help="Average with the prediction of the mirrored image."),
)


def inference_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them; the command receives `window`, `overlap`, `scales` and `flip`, for `Inference`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
