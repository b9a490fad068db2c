"""Tables of classes in a folder, and the one that names the classes of the masks."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.description import Description, parse_stored
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.data.own.text_tables import read_rows
from keras_crosscoop.data.own.vocabulary import is_background, is_void, normal_names, same_name
from keras_crosscoop.errors import InputError, join_names, reason
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DESCRIPTION_FILE

_MAX_SIZE = 1 << 20  # bytes
_MAX_DEPTH = 3  # folders above a table

# Names of files that list classes, without case and punctuation.
_TEXT_STEMS = re.compile(
    r"(obj|the)?(class(es)?|label(s)?|categor(y|ies)|names|codes|objectinfo\d*|colou?r(s)?)"
    r"(name|names|list|dict|map|maps|mapping|info|colou?rs?|csv|txt|table|codes|ids)?|labelmap\w*|colou?rmap|legend|palette"
)
_JSON_STEMS = re.compile(_TEXT_STEMS.pattern + r"|config\w*|dataset|meta|id2label|label2id")
_LONGER_STEMS = re.compile(r"\w*(class(es)?|labels?|annotations?)(dict|map|names|colou?rs?)\w*|\w*colou?rmap\w*")
_NUMBERED_STEMS = re.compile(rf"\d+({_TEXT_STEMS.pattern})")
_LETTER = re.compile(r"[^\W\d_]")
_TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".names")


class ClassRow(NamedTuple):
    """A class in a table.

    Attributes:
        name: The name.
        value: The stored value, if the table tells it.
        colour: The colour, if the table tells it.
        ignored: Whether its pixels have no class (void).
    """

    name: str
    value: int | None = None
    colour: RGB | None = None
    ignored: bool = False


@dataclass(frozen=True)
class Classes:
    """Named classes: those of a table, in the order of the file, or of the description.

    Attributes:
        rows: The classes; empty if no class is named.
        path: The file, for statements and errors.
        header: The line above the classes, if the file has one.
        settled: Whether the description names the classes; their ids then count from 0.
        statements: What was found about the tables.
        findings: Contradictions between tables.
        yaml: The name of the file that describes the data set, for errors.
    """

    rows: tuple[ClassRow, ...] = ()
    path: Path | None = None
    header: str = ""
    settled: bool = False
    statements: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    yaml: str = DESCRIPTION_FILE

    @property
    def source(self) -> str:
        """The name of the file."""
        return self.path.name if self.path else ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, without void."""
        return tuple(dict.fromkeys(row.name for row in self.rows if not row.ignored))

    @property
    def values(self) -> dict[int, ClassRow]:
        """The rows by stored value, if the table tells all of them; otherwise empty."""
        values = {row.value: row for row in self.rows}
        return {} if None in values else values

    @property
    def by_colour(self) -> dict[RGB, ClassRow]:
        """The rows by colour, if the table tells all of them; otherwise empty."""
        colours: dict[RGB | None, ClassRow] = {}
        for row in self.rows:
            if colours.setdefault(row.colour, row).name != row.name:
                return {}  # two classes share a colour
        return {} if None in colours else colours

    @property
    def has_background(self) -> bool:
        """Whether a class is named as the background."""
        return any(is_background(row.name) for row in self.rows if not row.ignored)


def find_tables(index: FileIndex, *, strict: bool = True) -> list[Classes]:
    """Finds all tables of classes in a folder, by the names of their files.

    Equal tables, such as one in the folder of each split, are returned once.

    Args:
        index: The files in the folder.
        strict: Whether to refuse tables that cannot be read; they are left out if a description names the classes.

    Raises:
        InputError: A table cannot be read.
    """
    tables: dict[tuple[ClassRow, ...], Classes] = {}
    files = sorted(index.by_path.items(), key=lambda entry: (entry[0].count("/"), entry[0]))
    numbered = [path for path, file in files if _NUMBERED_STEMS.fullmatch(_clean(file.stem))]
    for path, file in files:
        if path.count("/") > _MAX_DEPTH:
            break
        stem, suffix = _clean(file.stem), file.suffix.lower()
        is_named = _TEXT_STEMS.fullmatch(stem) if suffix in _TEXT_SUFFIXES else _JSON_STEMS.fullmatch(stem)
        is_longer = _LONGER_STEMS.fullmatch(stem) or numbered == [path]
        if suffix not in (*_TEXT_SUFFIXES, ".json") or not (is_named or is_longer):
            continue
        try:
            table = read_table(file)
        except InputError:
            if strict and is_named:
                raise
            continue
        if table is not None and (is_named or _tells_keys(table)) and not _lists_files(table, index):
            tables.setdefault(table.rows, table)
    return list(tables.values())


def _clean(stem: str) -> str:
    return re.sub(r"[\W_]+", "", stem.casefold())


def _tells_keys(table: Classes) -> bool:
    """Whether a file such as "class_dict_seg.csv" or "59_labels.txt" is a table: it tells colours or values."""
    names = [row.name for row in table.rows]
    are_names = len({*names}) == len(names) > 1 and all(map(_LETTER.search, names))
    return are_names and bool(table.by_colour or table.values)


def read_table(path: Path) -> Classes | None:
    """Reads a table of classes; None if a JSON file holds something else.

    Raises:
        InputError: The file cannot be read, or two classes have one name, value or colour.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except OSError as error:
        raise InputError(f"A table of classes cannot be read ({reason(error)}). Received: {path}") from error
    is_json = path.suffix.lower() == ".json"
    if len(content) > _MAX_SIZE:
        if is_json:  # annotations, say
            return None
        raise InputError(f"The table of classes has over {_MAX_SIZE:,} bytes. Is it the right file? Received: {path}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    try:
        entries, header = (list(_json_rows(json.loads(text), path)), "") if is_json else read_rows(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not entries:
        if is_json:
            return None
        raise InputError(f"The table of classes is empty. Write one name per line. Received: {path}")
    rows = tuple(ClassRow(name, value, colour, is_void(name)) for name, value, colour in entries)
    if rows[0].name == "__ignore__" and all(row.value is None for row in rows):  # labelme's convention
        rows = tuple(row._replace(value=value) for value, row in enumerate(rows, -1))
    _check(rows, path)
    return Classes(rows, path, header)


def _check(rows: Sequence[ClassRow], path: Path) -> None:
    """Checks that no name, value or colour stands for two classes. One class may have several values or colours."""
    keys: dict[Any, str] = {}
    names = Counter(row.name for row in rows)
    for row in rows:
        if row.value is None and row.colour is None and names[row.name] > 1:
            raise InputError(f"Two classes have the same name. Rename one. Received: {row.name!r} in {path}")
        if row.value is not None and keys.setdefault(row.value, row.name) != row.name:
            raise InputError(
                f"Two classes have the value {row.value}: {keys[row.value]!r} and {row.name!r}. Received: {path}"
            )


def _lists_files(table: Classes, index: FileIndex) -> bool:
    """Whether a text lists images instead of classes."""
    names = [row.name for row in table.rows[:5]]
    return all("/" in name or name in index.by_stem or name in index.by_path for name in names) and any(
        name in index.by_path or name in index.by_stem or name.count("/") for name in names
    )


_Entry = tuple[str, int | None, RGB | None]
_NAME_KEYS = ("readable", "title", "name", "label", "class", "class_name", "className", "displayName")
_VALUE_KEYS = ("id", "value", "index", "pixel_value", "class_id", "classId")
_COLOUR_KEYS = ("color", "colour", "rgb", "hex")


def _json_rows(content: Any, path: Path) -> Iterator[_Entry]:
    """Reads Mapillary's config.json, nnU-Net's dataset.json, Supervisely's meta.json, and plain lists and mappings."""
    if isinstance(content, Mapping):
        for key in ("labels", "classes", "names", "categories", "id2label", "label_names"):
            if isinstance(content.get(key), list | Mapping) and content[key]:
                content = content[key]
                break
        else:
            if any(isinstance(value, Mapping | bool) for value in content.values()) or len(content) < 2:
                return
            if not all(_is_entry(key, value) for key, value in content.items()):
                return
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _json_entry(str(key), value, path)
    elif isinstance(content, list):
        for entry in content:
            if isinstance(entry, str):
                yield entry, None, None
            elif isinstance(entry, Mapping):
                name = _first(entry, _NAME_KEYS)
                value = _first(entry, _VALUE_KEYS)
                if name is not None:
                    yield str(name), _integer(value), _colour(_first(entry, _COLOUR_KEYS))


def _is_entry(key: object, value: object) -> bool:
    if isinstance(value, str) and (str(key).isdigit() or _colour(key) is not None):
        return True
    return isinstance(value, int) or _colour(value) is not None


def _json_entry(key: str, value: Any, path: Path) -> Iterator[_Entry]:
    if isinstance(value, list) and (_colour(value) is None or path.name == "dataset.json"):
        raise InputError(
            f"Classes that overlap, such as nnU-Net's regions, cannot be trained. Name one class per value in "
            f"dataset.yaml. Received: {key!r}: {join_names(list(map(str, value)))} in {path}"
        )
    if isinstance(value, Mapping):
        name = _first(value, _NAME_KEYS) or key
        number = _integer(key if key.isdigit() else _first(value, _VALUE_KEYS))
        yield str(name), number, _colour(_first(value, _COLOUR_KEYS))
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        yield key, value, None
    elif (colour := _colour(value)) is not None:
        yield key, None, colour
    elif (number := _integer(key)) is not None:
        yield str(value), number, None
    elif (colour := _colour(key)) is not None:  # as in A2D2's class_list.json
        yield str(value), None, colour
    elif (number := _integer(value)) is not None:
        yield key, number, None


def _first(entry: Mapping, keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if entry.get(key) is not None), None)


def _integer(value: Any) -> int | None:
    """Returns an integer, or that in a text."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _colour(value: Any) -> RGB | None:
    try:
        colour = parse_stored(value)
    except ValueError:
        return None
    return colour if isinstance(colour, tuple) else None


def choose_classes(tables: Sequence[Classes], description: Description) -> Classes:
    """Chooses the classes: those of the description, or else those of the table that tells most.

    Tables that name other classes than the chosen one are a problem.
    """
    colours = description.colours or {}
    if names := description.class_names:
        rows = tuple(
            ClassRow(name, None, colours.get(name) or _colour_in(tables, name), is_void(name)) for name in names
        )
        return Classes(_with_two_classes(rows), description.file, settled=True, yaml=description.file.name)
    if not tables:
        return Classes(yaml=description.file.name)
    chosen = max(tables, key=lambda table: (bool(table.by_colour), bool(table.values), len(table.rows)))
    findings = tuple(
        Finding("problem", "", message, (str(chosen.path), str(table.path)))
        for table in tables
        if table is not chosen and (message := _contradiction(chosen, table, description.file.name))
    )
    rows = tuple(
        row if row.value is not None else row._replace(value=_value_in(tables, row.name)) for row in chosen.rows
    )
    statements = [f"The classes are named in {chosen.source}."]
    if chosen.header:
        statements.append(f"The first line of {chosen.source}, {chosen.header!r}, is a heading.")
    return replace(
        chosen,
        rows=_with_two_classes(rows),
        statements=tuple(statements),
        findings=findings,
        yaml=description.file.name,
    )


def _with_two_classes(rows: tuple[ClassRow, ...]) -> tuple[ClassRow, ...]:
    """Takes a class such as "unlabeled" for the background if a single other class is named."""
    void = [row for row in rows if row.ignored]
    if len(void) == 1 and len({row.name for row in rows}) == 2 and not void[0].name.startswith("__"):
        return tuple(row._replace(ignored=False) for row in rows)
    return rows


def _colour_in(tables: Sequence[Classes], name: str) -> RGB | None:
    rows = [row for table in tables for row in table.rows]
    return next((row.colour for row in rows if row.colour and same_name(row.name, name)), None)


def _value_in(tables: Sequence[Classes], name: str) -> int | None:
    rows = [row for table in tables if table.values for row in table.rows]
    return next((row.value for row in rows if same_name(row.name, name)), None)


def _contradiction(one: Classes, other: Classes, yaml: str) -> str:
    """Returns how two tables contradict each other; "" if they do not."""
    first, second = normal_names(one.names), normal_names(other.names)
    remedy = f"Remove one of the tables, or write `names` into {yaml}."
    files = f"Received: {one.path}, {other.path}"
    if first != second:
        only = [f"only {table.source} has {_missing(table, names)!r}" for table, names in
                ((one, second), (other, first)) if _missing(table, names)]  # fmt: skip
        return (
            f"Two tables of classes disagree: {one.source} names {len(one.names)} and {other.source} "
            f"{len(other.names)} classes; {' and '.join(only)}. {remedy} {files}"
        )
    values = {row.name: row.value for row in one.rows} if one.values else {}
    theirs = {row.name: row.value for row in other.rows} if other.values else {}
    if any(values[name] != theirs[name] for name in values.keys() & theirs.keys()):
        return f"Two tables of classes give one class different values. {remedy} {files}"
    in_order = not (one.by_colour or other.by_colour or one.values or other.values)
    if in_order and [name for name in one.names if name in other.names] != [
        name for name in other.names if name in one.names
    ]:
        return f"Two tables list the classes in different orders. {remedy} {files}"
    return ""


def _missing(table: Classes, names: set[str]) -> str | None:
    return next((name for name in table.names if normal_names([name]) - names), None)
