"""Readings of stored values or colours as classes, and the question where two readings explain the masks."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import yaml

from keras_crosscoop.data.coding import Stored, text_of
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.class_tables import Classes
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.mask_content import Area
from keras_crosscoop.data.own.vocabulary import BACKGROUND, OBJECT, is_background, negates
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL

MIN_GAP = 20  # between values that JPEG's errors, about 10, cannot confuse
_MIN_SOLID = 0.001  # the share of the pixels inside of areas that the value of a class has
_CLOSE_SOLID = 0.01  # a share above which a close value is a class of its own
SURROUNDS = 0.6  # the share of masks whose border has mostly one value, above which the value looks like background
_SHOWN = 12  # classes in a statement


class Reading(NamedTuple):
    """A reading of the masks.

    Attributes:
        names: The class names in the order of their ids.
        values: The name of the class of each stored value or colour.
        ignore: The stored values or colours without a class (void).
        nearest: Whether other values stand for the nearest listed one.
        statements: The reasons and exceptions, in plain sentences.
        findings: Problems, warnings and notes.
        colours: The colours in which classes are drawn, as far as a table or a palette gives them.
    """

    names: tuple[str, ...]
    values: Mapping[Stored, str]
    ignore: tuple[Stored, ...] = ()
    nearest: bool = False
    statements: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    colours: Mapping[str, RGB] | None = None

    @property
    def by_colour(self) -> bool:
        """Whether masks are read as colours instead of integers."""
        return isinstance(next(iter(self.values), 0), tuple)

    def complete(self, description: Description) -> Description:
        """Returns the description with the reading: `values` and `ignore` hold colours if masks are read by colour."""
        return description.model_copy(update={"values": self.values, "ignore": self.ignore}).updated(
            names=self.names, nearest=self.nearest, colours=self.colours
        )

    def with_reasons(self, *statements: str, findings: Iterable[Finding] = ()) -> "Reading":
        """Returns a copy with more statements and findings."""
        return self._replace(
            statements=(*self.statements, *filter(None, statements)), findings=(*self.findings, *findings)
        )


class Option(NamedTuple):
    """One of several readings that explain the masks.

    Attributes:
        reading: The reading, as "0 is unlabelled".
        line: The line of `dataset.yaml` that settles it.
        second_line: Another line that is needed as well, if any.
    """

    reading: str
    line: str
    second_line: str = ""


def question(subject: str, options: Sequence[Option], classes: Classes, received: str) -> InputError:
    """Returns the error that tells all readings, and the line of YAML that settles each.

    Example:
        >>> options = [Option("it is void", "ignore: [0]"), Option("it is a", "names: [a]")]
        >>> str(question("Value 0", options, Classes(), "a.png")).partition(". ")[0]
        'Value 0 can be read in 2 ways: it is void (`ignore: [0]`), or it is a (`names: [a]`)'
    """
    ways = ", or ".join(
        f"{reading} (`{line}`{f' and `{second_line}`' if second_line else ''})"
        for reading, line, second_line in options
    )
    return InputError(
        f"{subject} can be read in {len(options)} ways: {ways}. Write one of them into {classes.yaml}. "
        f"Received: {received}"
    )


def values_line(values: Mapping[Stored, str]) -> str:
    """Returns the line `values: {...}` of `dataset.yaml`.

    Example:
        >>> values_line({0: "road", 1: "no"})
        "values: {0: road, 1: 'no'}"
    """
    plain = {key if isinstance(key, int) else text_of(key): name for key, name in values.items()}
    return f"values: {_flow(plain)}"


def names_line(names: Sequence[str]) -> str:
    """Returns the line `names: [...]` of `dataset.yaml`."""
    return f"names: {_flow(list(names))}"


def _flow(content: object) -> str:
    text = yaml.safe_dump(content, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 20)
    return text.strip()


def share(pixels: int, total: int) -> str:
    """Returns a share in percent: "6.9 %", or "0.004 %" for small ones.

    Example:
        >>> share(69, 1000), share(1, 25000), share(0, 5)
        ('6.9 %', '0.004 %', '0 %')
    """
    percent = 100 * pixels / max(total, 1)
    if not percent:
        return "0 %"
    return f"{percent:.1f} %" if percent >= 0.1 else f"{percent:.1g} %"


def shares(stored: Iterable[Stored], areas: Mapping[Stored, Area], total: int, shown: int = 6) -> str:
    """Lists stored values with their shares: "0 (93.1 %) and 255 (6.9 %)"."""
    keys = list(stored)
    parts = [f"{text_of(key)} ({share(areas.get(key, Area()).pixels, total)})" for key in keys[:shown]]
    return f"{', '.join(parts)} and {len(keys) - shown} more" if len(keys) > shown else join_and(parts)


def join_and(parts: Sequence[str]) -> str:
    """Joins parts with commas and a final "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


class Nearest(NamedTuple):
    """Stored values and the nearest listed ones.

    Attributes:
        areas: The area of each listed value, with those of all values to which it is the nearest.
        inexact: The number of pixels whose value is not listed.
        between: The number of those that are not close to a listed value: farther than a quarter of its distance to
            the next listed one.
    """

    areas: Mapping[Stored, Area]
    inexact: int
    between: int


def to_nearest(areas: Mapping[Stored, Area], listed: Sequence[Stored]) -> Nearest:
    """Adds the area of each stored value, or colour, to the nearest listed one.

    Example:
        >>> to_nearest({0: Area(90), 255: Area(8), 100: Area(2)}, [0, 255]).between
        2
    """
    merged = dict.fromkeys(listed, Area())
    other = [key for key in areas if key not in merged]
    points = np.array(listed, np.float64).reshape(len(listed), -1)
    gaps = np.sqrt(((points[:, None] - points) ** 2).sum(-1))
    np.fill_diagonal(gaps, np.inf)
    between = 0
    for key in areas:
        nearest = key
        if key not in merged:
            distances = np.sqrt(((points - np.array(key)) ** 2).sum(-1))
            index = int(distances.argmin())
            nearest = listed[index]
            between += areas[key].pixels * int(distances[index] > gaps[index].min() / 4)
        merged[nearest] = merged[nearest].add(areas[key])
    return Nearest(merged, sum(areas[key].pixels for key in other), between)


def tell(reading: Reading, areas: Mapping[Stored, Area], total: int) -> list[str]:
    """Tells which values become which classes, with shares of all pixels."""
    is_colour = reading.by_colour
    kind = "Colour" if is_colour else "Value"
    by_name: dict[str, list[Stored]] = {}
    for key, name in reading.values.items():
        by_name.setdefault(name, []).append(key)
    classes = [
        f"{name} ({share(sum(areas.get(key, Area()).pixels for key in keys), total)})" for name, keys in by_name.items()
    ]
    if len(classes) > _SHOWN:
        classes = [*classes[:_SHOWN], f"{len(classes) - _SHOWN} more"]
    keys = list(reading.values)
    lines = [f"{_enumerate(keys, kind)} become{'s' if len(keys) == 1 else ''} {join_and(classes)}."]
    if void := [key for key in reading.ignore if key in areas]:
        ignored = share(sum(areas[key].pixels for key in void), total)
        lines.append(f"{_enumerate(void, kind)} {'is' if len(void) == 1 else 'are'} ignored: {ignored} of all pixels.")
    return lines


def _enumerate(keys: Sequence[Stored], kind: str) -> str:
    if len(keys) == 1:
        return f"{kind} {text_of(keys[0])}"
    if len(keys) > 2 and isinstance(keys[0], int):
        runs: list[list[int]] = []
        for key in sorted(keys):
            if runs and key == runs[-1][-1] + 1:
                runs[-1].append(key)
            else:
                runs.append([key])
        if len(runs) <= 6:
            return f"{kind}s " + join_and(
                [f"{run[0]} to {run[-1]}" if len(run) > 2 else join_and(list(map(str, run))) for run in runs]
            )
    if len(keys) > _SHOWN:
        return f"{len(keys)} {kind}s ({', '.join(map(text_of, keys[:_SHOWN]))}, ...)"
    return f"{kind}s {join_and([text_of(key) for key in keys])}"


def find_clusters(areas: Mapping[int, Area], *, lossy: bool = False) -> tuple[list[int], bool]:
    """Finds the values that form areas instead of edges. In lossy files, black and white may be off by a few values.

    Returns:
        The values, at least `MIN_GAP` apart; and whether closer ones form areas, too, or there is one value alone, so
        that the nearest value is no safe reading.

    Example:
        >>> find_clusters({0: Area(900, 20), 255: Area(90, 10), 130: Area(10, 10)})
        ([0, 255], False)
    """
    solid = {value: area.pixels - area.edges for value, area in areas.items()}
    inside = max(sum(solid.values()), 1)
    values: list[int] = []
    confused = False
    for value in sorted(solid, key=lambda value: -solid[value]):
        near = any(abs(other - value) < MIN_GAP for other in values)
        if not near and solid[value] >= _MIN_SOLID * inside:
            values.append(value)
        confused |= near and solid[value] >= _CLOSE_SOLID * inside
    if lossy:
        values = list(map(_black_or_white, values))
    return sorted(values), confused or len(values) < 2


def _black_or_white(value: int) -> int:
    """Returns 0 or 255 for a value that JPEG's errors explain by it, and other values unchanged."""
    return 0 if value <= MIN_GAP // 2 else 255 if value >= 255 - MIN_GAP // 2 else value


def are_stretched(values: Sequence[int]) -> bool:
    """Whether ids seem to be multiplied so that they reach from 0 to the largest value, which then is no void."""
    steps = {high - low for low, high in pairwise(values)}
    return values[0] == 0 and values[-1] in (IGNORE_LABEL, 65535) and min(steps) > 1 and max(steps) - min(steps) <= 1


def read_two_values(
    values: tuple[Stored, Stored], areas: Mapping[Stored, Area], masks: int, classes: Classes, received: str
) -> Reading:
    """Reads the lower value as background and the higher one as the object, unless names or borders contradict.

    Args:
        values: The two values, the lower one first; or two colours, black first.
        areas: The areas of both.
        masks: The number of masks.
        classes: Two named classes, one, or none.
        received: The masks, for errors.

    Raises:
        InputError: The border of most masks contradicts the reading, or names and values do not tell which is which.
    """
    low, high = values
    low_text, high_text = map(text_of, values)
    names = classes.names
    around = {value: areas[value].surrounds / max(masks, 1) for value in values}
    statements = []
    if len(names) > 2:
        raise InputError(
            f"The masks hold two values, {low_text} and {high_text}, but {classes.source} names {len(names)} classes. "
            f"Use the masks of these classes, or write `{values_line({low: 'NAME', high: 'NAME'})}` into "
            f"{classes.yaml}. Received: {received}"
        )
    if len(names) < 2:
        names = two_names(classes)
        statements.append(
            "No table names the classes: they are called background and object."
            if names[1] == OBJECT and not classes.names
            else f"The only class in {classes.source} is {classes.names[0]}; the other value is "
            f"{names[1] if classes.names[0] == names[0] else names[0]}."
        )
    direct, swapped = {low: names[0], high: names[1]}, {low: names[1], high: names[0]}
    reading = Reading(names, direct, statements=tuple(statements))
    ids = classes.settled and values == (0, 1)  # the description says which is which

    last_is_background = is_background(names[1]) or negates(names[1], names[0])
    first_is_background = is_background(names[0]) or negates(names[0], names[1])
    background = high if last_is_background else low if first_is_background else None
    other = low if background == high else high
    options = [Option(_words(mapping), values_line(mapping)) for mapping in (direct, swapped)]
    subject = f"Masks of the values {low_text} and {high_text}"
    if background is not None and around[other] > SURROUNDS and around[other] > around[background]:
        evidence = (
            f"{text_of(other)} covers most of the border in {share(round(around[other] * masks), masks)} of the masks, "
            "as a background does"
        )
        if ids:
            message = f"Value {evidence}, but {classes.source} calls it {direct[other]}. Are the masks inverted?"
            return reading.with_reasons(findings=[Finding("warning", "", message)])
        raise question(f"{subject} ({evidence})", options, classes, received)
    if background is None and around[low] > SURROUNDS and areas[low].pixels > areas[high].pixels:
        evidence = f"value {low_text} looks like a background, but {classes.source} names none"
        if ids:
            return reading.with_reasons(findings=[Finding("warning", "", f"{evidence[0].upper()}{evidence[1:]}.")])
        if values == (0, 1):
            options[1] = Option(f"0 is void and 1 is {names[0]}", "ignore: [0]")
        raise question(f"{subject} ({evidence})", options, classes, received)
    return reading


def two_names(classes: Classes) -> tuple[str, str]:
    """Returns the names of background and object, as far as classes are named."""
    if len(classes.names) == 2:
        return classes.names
    if len(classes.names) == 1:
        return (classes.names[0], OBJECT) if is_background(classes.names[0]) else (BACKGROUND, classes.names[0])
    return BACKGROUND, OBJECT


def _words(mapping: Mapping[Stored, str]) -> str:
    return " and ".join(f"{text_of(value)} is {name}" for value, name in mapping.items())
