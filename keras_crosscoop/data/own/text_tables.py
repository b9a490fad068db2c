"""Reads tables of classes in text files: names, ids and colours in any order of columns."""

import csv
import re
from collections.abc import Sequence

from keras_crosscoop.images.palettes import RGB

Entry = tuple[str, int | None, RGB | None]  # name, value, colour

_HEX = re.compile(r"(?:#|0x)([0-9a-fA-F]{6})")
_INTEGER = re.compile(r"-?\d{1,9}(\.0)?")
_SHARE = re.compile(r"0?\.\d+|[01](\.0*)?")  # a number of 0 to 1
_CVAT = re.compile(r"(?P<name>[^:]+):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+):[^:]*:.*")
_NAME_AND_HEX = re.compile(r"(?P<name>.*\S)\s+(?P<hex>(?:#|0x)[0-9a-fA-F]{6})")

# The role of a column by its heading, without case and punctuation.
_ROLES = {
    "name": "name", "names": "name", "class": "name", "classes": "name", "classname": "name", "classnames": "name",
    "label": "name", "labels": "name", "labelname": "name", "labelnames": "name", "category": "name",
    "categories": "name", "categoryname": "name", "title": "name", "description": "name",
    "r": "r", "red": "r", "g": "g", "green": "g", "b": "b", "blue": "b",
    "id": "id", "ids": "id", "idx": "id", "index": "id", "value": "id", "pixelvalue": "id", "classid": "id",
    "labelid": "id", "categoryid": "id", "pixel": "id", "code": "id", "no": "id", "number": "id", "classindex": "id",
    "color": "colour", "colour": "colour", "rgb": "colour", "hex": "colour", "rgbcolor": "colour",
    "labelcolor": "colour", "classcolor": "colour", "labelrgb": "colour", "colorrgb": "colour",
}  # fmt: skip


def read_rows(text: str) -> tuple[list[Entry], str]:
    """Reads the name, and where they are told, the value and the colour of each class.

    Returns:
        The rows, and the heading, or "" if there is none.

    Example:
        >>> read_rows("name,r,g,b\\nroad,128,64,128")
        ([('road', None, (128, 64, 128))], 'name,r,g,b')
        >>> read_rows("0: road\\n1: traffic sign")
        ([('road', 0, None), ('traffic sign', 1, None)], '')
    """
    lines = [re.sub(r"\s#\s.*", "", line).strip() for line in text.splitlines()]  # without comments
    lines = [line for line in lines if line and not re.match(r"(#(?![0-9a-fA-F]{6}\b)|//)", line)]
    if len(lines) == 1:  # perhaps a list in Python
        lines = [lines[0].strip("[]")]
    if lines and all(_CVAT.fullmatch(line) for line in lines):
        fields = [_CVAT.fullmatch(line) for line in lines]
        return [(row["name"], None, (int(row["r"]), int(row["g"]), int(row["b"]))) for row in fields], ""
    rows = _split(lines)
    roles, header = _header(rows)
    if header:
        heading, rows, lines = lines[0], rows[1:], lines[1:]
    else:
        heading = ""
        roles = _roles_by_content(rows)
    if roles is None:  # every line is a name, or one line lists all
        names = [row[0] for row in rows] if all(len(row) == 1 for row in rows) else lines
        return [_name_and_colour(name) for name in names], heading
    entries = [_entry(row, roles) for row in _in_bytes(rows, roles)]
    return [entry for entry in entries if entry is not None], heading


def _split(lines: Sequence[str]) -> list[list[str]]:
    """Splits lines into fields at the separator that all lines share."""
    for separator in "\t", ";", ",":
        rows = [
            [field.strip() for field in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)
        ]
        rows = [row[:-1] if row and not row[-1] else row for row in rows]
        if len(rows) == 1 and len(rows[0]) > 2 and not any(map(_INTEGER.fullmatch, rows[0])):
            return [[name] for name in rows[0]]  # all names in one line
        if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            return rows
    rows = [_split_at_spaces(line) for line in lines]
    start = 1 if rows and len({len(row) for row in rows[1:]}) == 1 and len(rows) > 1 else 0  # a header may differ
    if len({len(row) for row in rows[start:]}) == 1 and rows and len(rows[-1]) > 1:
        return rows
    rows = [list(fields.groups()) for line in lines if (fields := re.fullmatch(r"(.*\S)[\s:=]+(-?\d{1,9})", line))]
    if len(rows) == len(lines) > 1 and len({name for name, _ in rows}) == len(rows):  # unlike "class 1", "class 2"
        return rows
    return [[line] for line in lines]


def _split_at_spaces(line: str) -> list[str]:
    """Splits off numbers and hexadecimal colours at both ends; the rest is one name, also with spaces."""
    words = re.split(r"[\s:=,]+", line.strip(" ,:"))
    start, stop = 0, len(words)
    while start < stop and _is_number(words[start]):
        start += 1
    while stop > start and _is_number(words[stop - 1]):
        stop -= 1
    if start == 0 and stop == len(words) and len(words) > 1 and all(_clean(word) in _ROLES for word in words):
        return words
    if start == stop:
        return words
    if start == 0 and len(words) - stop < 3 and not _HEX.fullmatch(words[-1]):
        return [line]  # "building 7" is a name
    name = re.search(r"[\s:=,]+".join(map(re.escape, words[start:stop])), line)[0]
    return [*words[:start], name, *words[stop:]]


def _is_number(word: str) -> bool:
    return bool(_INTEGER.fullmatch(word) or _HEX.fullmatch(word))


def _clean(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _header(rows: Sequence[Sequence[str]]) -> tuple[dict[str, int] | None, bool]:
    """Returns the columns by role, and whether the first row is a heading."""
    if len(rows) < 2:
        return None, False
    words = [_clean(word) for word in rows[0]]
    known = [_ROLES.get(word) for word in words]
    if len(rows[0]) == 1:
        return None, known[0] == "name"
    if len(rows[1]) < 2 or any(map(_is_number, rows[0])) or ("name" not in known and "id" not in known):
        return None, False
    roles: dict[str, int] = {}
    preferred = [
        index for index, word in enumerate(words) if word in ("name", "classname", "labelname", "label", "class")
    ]
    for index in [*preferred, *range(len(words))]:
        role = known[index]
        if role == "name" and all(_is_number(row[index]) for row in rows[1:] if index < len(row)):
            role = "id"  # "class,name" with numbers below "class"
        if role:
            roles.setdefault(role, index)
    return (roles, True) if "name" in roles else (None, False)


def _roles_by_content(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    if not rows or len({len(row) for row in rows}) > 1 or len(rows[0]) == 1:
        return None
    columns = list(zip(*rows, strict=True))
    numeric = [index for index, column in enumerate(columns) if all(map(_INTEGER.fullmatch, column))]
    hexes = [index for index, column in enumerate(columns) if all(map(_HEX.fullmatch, column))]
    names = [index for index in range(len(columns)) if index not in (*numeric, *hexes)]
    if not names:
        return None
    roles = {"name": names[0]}
    if hexes:
        roles["colour"] = hexes[0]
    values = {index: [round(float(number)) for number in columns[index]] for index in numeric}
    if len(numeric) == 4:
        runs = [index for index in (numeric[0], numeric[3]) if values[index] == _run(values[index])]
        if not runs:
            return None
        roles["id"] = runs[0]
        numeric = [index for index in numeric if index != runs[0]]
    if len(numeric) == 3 and all(0 <= value <= 255 for index in numeric for value in values[index]):
        roles |= dict(zip("rgb", numeric, strict=True))
    elif len(numeric) == 1:
        roles["id"] = numeric[0]
    elif len(numeric) > 1:
        return None
    return roles


def _in_bytes(rows: Sequence[Sequence[str]], roles: dict[str, int]) -> Sequence[Sequence[str]]:
    """Multiplies colours of 0 to 1 by 255. Without a fraction among them, they are colours of 0 to 255."""
    columns = [roles[channel] for channel in "rgb" if channel in roles]
    fields = [row[column] for row in rows for column in columns if column < len(row)]
    if not all(map(_SHARE.fullmatch, fields)) or all(map(_INTEGER.fullmatch, fields)):
        return rows
    return [
        [str(round(255 * float(text))) if column in columns else text for column, text in enumerate(row)]
        for row in rows
    ]


def _run(values: Sequence[int]) -> list[int]:
    return list(range(values[0], values[0] + len(values)))


def _entry(row: Sequence[str], roles: dict[str, int]) -> Entry | None:
    fields = {role: row[index] for role, index in roles.items() if index < len(row)}
    if not fields.get("name"):
        return None
    value = fields.get("id", "")
    colour = _text_colour(fields.get("colour", ""))
    if colour is None and all(_INTEGER.fullmatch(fields.get(channel, "")) for channel in "rgb"):
        colour = _in_range([round(float(fields[channel])) for channel in "rgb"])
    return fields["name"], round(float(value)) if _INTEGER.fullmatch(value) else None, colour


def _text_colour(text: str) -> RGB | None:
    if code := _HEX.fullmatch(text.strip()):
        return tuple(bytes.fromhex(code[1]))
    numbers = re.findall(r"\d+", text)
    return _in_range(list(map(int, numbers))) if len(numbers) == 3 else None


def _in_range(numbers: Sequence[int]) -> RGB | None:
    return tuple(numbers) if max(numbers) <= 255 and min(numbers) >= 0 else None


def _name_and_colour(line: str) -> Entry:
    line = re.sub(r"^[-*]\s+", "", line).strip().strip(",")
    line = re.sub(r"^([\"'])(.*)\1$", r"\2", line)  # quotes around the whole name
    if fields := _NAME_AND_HEX.fullmatch(line):
        return fields["name"], None, _text_colour(fields["hex"])
    return line, None, None
