"""Options and argument types that several commands share."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource


class Size(click.ParamType):
    """Height and width in pixels; "dynamic" on request."""

    name = "size"

    def __init__(self, *, dynamic: bool = False) -> None:
        self.dynamic = dynamic

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int] | str:
        """Returns `(H, W)` or "dynamic"."""
        if isinstance(value, tuple) or (self.dynamic and value == "dynamic"):
            return value
        if not (match := re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", value)):
            also = ", or dynamic" if self.dynamic else ""
            self.fail(
                f"A size must be HEIGHTxWIDTH, such as 360x480, or one number for both{also}. Received: {value!r}",
                param,
                ctx,
            )
        return int(match[1]), int(match[2] or match[1])


class _Scales(click.ParamType):
    name = "scales"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):  # the default
            return value
        try:
            return tuple(map(float, value.split(",")))
        except ValueError:
            self.fail(f"Scales are numbers separated by commas, such as 0.5,1,1.5. Received: {value!r}", param, ctx)


class Fraction(click.FloatRange):
    """A number from 0 to 1. Click's own range accepts NaN."""

    def __init__(self, *, max_open: bool = False) -> None:
        super().__init__(0, 1, max_open=max_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the number; fails for NaN."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number from 0 to 1.", param, ctx)
        return number


PIXELS = click.IntRange(1, 99_999)  # of one side
IMAGES = click.IntRange(1, 100_000)

output_head_option = click.option(
    "--output-head",
    type=click.Choice(["ensemble", "top", "bottom", "single"]),
    help="Network output to use. Default: ensemble for a pair, single for a single network.",
)
data_dir_option = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Folder of the data set. Default: the run's own."
)
calibration_option = click.option(
    "--calibration",
    type=IMAGES,
    default=100,
    show_default=True,
    help="Number of training images that calibrate int8 quantisation.",
)


def check_calibration_unused(context: click.Context, received: str) -> None:
    """Refuses --calibration where nothing is quantised to int8.

    Raises:
        click.UsageError: The option was given.
    """
    if context.get_parameter_source("calibration") is not ParameterSource.DEFAULT:
        raise click.UsageError(f"--calibration is for int8. Received: {received}", context)


def add_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Combines click options into one decorator; help lists them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


# The arguments of `keras_crosscoop.evaluation.Inference`: `window`, `overlap`, `scales` and `flip`.
inference_options = add_options(
    click.option(
        "--window",
        type=PIXELS,
        help="Predict large images in square windows of this size in pixels. Default: the whole image at once.",
    ),
    click.option(
        "--overlap",
        type=Fraction(max_open=True),
        default=1 / 3,
        help="Minimum overlap of neighbouring windows, as a fraction of the window. Default: 1/3.",
    ),
    click.option(
        "--scales",
        type=_Scales(),
        default=(1.0,),
        metavar="S,S,...",
        help="Predict at these multiples of the image size and average the probabilities. Default: 1.",
    ),
    click.option("--flip", is_flag=True, help="Also predict the mirrored image and average the probabilities."),
)


def given_options(context: click.Context, ignored: Sequence[str] = ()) -> list[str]:
    """Lists the options that the command line names, such as "--seed"."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        and parameter.opts[0] not in ignored
    ]
