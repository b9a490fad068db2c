"""Sizes of images on the command line, and how many of them: each with a greatest value, as settings have."""

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


SIZE = _Size()
PIXELS = click.IntRange(1, 99_999)  # of one side
PIXELS_OR_NONE = click.IntRange(0, 99_999)
IMAGES = click.IntRange(1, 100_000)
