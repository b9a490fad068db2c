"""Writes a page: a template filled in, its style and script inside."""

from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from keras_crosscoop.errors import InputError
from keras_crosscoop.system.files import atomic_write

_PAGES = Environment(
    loader=PackageLoader("keras_crosscoop.evaluation.report", "page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction of 1 in percent, without the sign; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


_PAGES.filters |= {"percent": percent, "colour": lambda rgb: f"#{bytes(rgb).hex()}"}


def check_new(target: Path, *, force: bool = False) -> None:
    """Refuses, before anything is measured or drawn, a path that no page should be written to.

    Raises:
        InputError: it is no HTML file's, its folder is missing, or something is there already (without `force`).
    """
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"A report is written as HTML. End its name in .html. Received: {target}")
    if not target.absolute().parent.is_dir():
        raise InputError(f"The report's folder is not there. Make it, or name another. Received: {target}")
    if target.exists() and not force:
        raise InputError(f"The file is there already. Write over it with --force. Received: {target}")


def write(template: str, target: Path, **content: Any) -> None:
    """Fills in a template of `page/` and writes it, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    told = {"written": datetime.now().astimezone(), "version": version("keras-crosscoop"), **content}
    write_text(target, _PAGES.get_template(template).render(told), "report")


def write_text(target: Path, text: str, what: str) -> None:
    """Writes a text, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with atomic_write(target) as partial:
            partial.write_text(text, encoding="utf-8", errors="replace")  # file names need not be Unicode
    except OSError as error:
        raise InputError(f"The {what} cannot be written ({error.strerror or error}). Received: {target}") from error
