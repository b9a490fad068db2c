"""HTML pages from templates, with inline style and script."""

from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined

from keras_crosscoop.images.palettes import VOID_COLOUR
from keras_crosscoop.system.files import write_text

# Okabe and Ito, "Color Universal Design", 2008. The first two and black also differ in grey.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")

_TEMPLATES = Environment(
    loader=PackageLoader("keras_crosscoop.evaluation.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def percent(value: float | None, digits: int = 1) -> str:
    """Formats a fraction of 1 in percent, without the sign; a dash for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


_TEMPLATES.filters |= {
    "percent": percent,
    "hex": lambda rgb: f"#{bytes(rgb).hex()}",
    "heat": lambda share: mpl.colors.to_hex(mpl.colormaps["magma_r"](share)),  # also readable in grey
    "series_colour": lambda index: COLOURS[index % len(COLOURS)],
}
_TEMPLATES.globals |= {"version": version("keras-crosscoop"), "void_colour": VOID_COLOUR}


def write_page(template: str, target: Path, **content: Any) -> None:
    """Renders a template and writes the page atomically.

    Raises:
        InputError: The page cannot be written.
    """
    page = _TEMPLATES.get_template(template).render(now=datetime.now().astimezone(), **content)
    write_text(target, page, "report")
