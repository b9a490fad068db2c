"""Numbers on the command line: sizes of images, how many of them, and shares; each has a greatest value."""

import math
import re
from typing import Any

import click


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int] | str:
        if value == "dynamic" or isinstance(value, tuple):
            return value
        if not (found := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", value)):
            self.fail(
                f"A size is height x width, as 360x480, 1 to 99999 pixels each, or dynamic. Received: {value!r}",
                param,
                ctx,
            )
        return int(found[1]), int(found[2])


class ShareRange(click.FloatRange):
    """From 0 to 1; for click, NaN lies in every range."""

    def __init__(self, *, max_open: bool = False) -> None:
        super().__init__(0, 1, max_open=max_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Gives the number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is no number from 0 to 1.", param, ctx)
        return number


SIZE = _Size()
PIXELS = click.IntRange(1, 99_999)  # of one side
IMAGES = click.IntRange(1, 100_000)
