"""Findings about a data set, from its description and from checks of its files."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A finding about a data set.

    Attributes:
        severity: "problem", which must be fixed before training; "warning", which may be unintended; or "note".
        split: The split; "" for the whole data set.
        message: One line.
        files: The files concerned, if any.
    """

    severity: Literal["problem", "warning", "note"]
    split: str
    message: str
    files: tuple[str, ...] = ()
