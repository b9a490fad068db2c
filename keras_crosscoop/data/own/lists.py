"""Lists of images, or of images and masks: `.txt` files and CSV tables, which may divide a folder into splits."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from keras_crosscoop.data.own.description import SPLITS, SplitSource, Template
from keras_crosscoop.data.own.file_index import MASK_SUFFIXES, FileIndex
from keras_crosscoop.data.own.vocabulary import named_split, role, split_name, words
from keras_crosscoop.errors import InputError, reason

LIST_SUFFIXES = (".txt", ".lst", ".csv", ".tsv")

_FILE_WORDS = {"file", "filename", "path", "name", "id"}
_SPLIT_WORDS = {"split", "set", "subset", "phase", "partition", "usage"}


class Row(NamedTuple):
    """An entry of a list.

    Attributes:
        image: The image, as the list names it.
        mask: The mask, as the list names it; None if it names none.
        split: The split in a table's column of splits.
    """

    image: str
    mask: str | None = None
    split: str | None = None


def read_rows(path: Path, is_file: Callable[[str], bool]) -> list[Row]:
    """Reads a list.

    Args:
        path: The list: lines of one or two names, separated by a comma, a tab or a space; or a table. A table's heading
            may name the columns of images, masks and splits. Without a heading, they are the first and the second.
        is_file: Whether a text names a file, because spaces may also be a part of names.

    Raises:
        InputError: The list cannot be read.
    """
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"A list of images cannot be read ({reason(error)}). Received: {path}") from error
    if path.suffix.lower() in (".csv", ".tsv"):
        return _table(lines, is_file)
    return [_row(line.strip(), is_file) for line in lines]


def _row(line: str, is_file: Callable[[str], bool]) -> Row:
    for separator in ("\t", ","):
        image, between, mask = (part.strip(" ") for part in line.partition(separator))
        if between and (not is_file(line) or (mask and is_file(image))):
            return Row(image, mask or None)
    parts = line.split(" ")
    for place in range(1, len(parts)):  # two paths, of which the end of the line alone may be a path, too
        image, mask = " ".join(parts[:place]).strip(), " ".join(parts[place:]).strip()
        if PurePosixPath(image).suffix.lower() in MASK_SUFFIXES and is_file(image) and is_file(mask):
            return Row(image, mask)
    if is_file(line):
        return Row(line)
    for place in range(1, len(parts)):
        image, mask = " ".join(parts[:place]).strip(), " ".join(parts[place:]).strip()
        if is_file(image) and mask:
            return Row(image, mask)
    return Row(*line.split(None, 1))


def _table(lines: list[str], is_file: Callable[[str], bool]) -> list[Row]:
    if not lines:
        return []
    delimiter = max(",;\t", key=lines[0].count)
    rows = [[field.strip() for field in row] for row in csv.reader(lines, delimiter=delimiter)]
    columns = (0, 1 if len(rows[0]) > 1 else None, None)
    is_heading = not any(PurePosixPath(field).suffix.lower() in MASK_SUFFIXES for field in rows[0])
    if is_heading and not any(map(is_file, filter(None, rows[0]))):
        columns = _columns(rows[0]) or columns
        rows = rows[1:]
    image, mask, split = columns

    def field(row: list[str], column: int | None) -> str | None:
        return row[column] or None if column is not None and column < len(row) else None

    return [Row(field(row, image), field(row, mask), field(row, split)) for row in rows if field(row, image)]


def _columns(heading: list[str]) -> tuple[int, int | None, int | None] | None:
    """Returns the columns of images, masks and splits that a heading names."""
    roles = [role(name) for name in heading]
    masks = [column for column, name in enumerate(roles) if name.mask]
    splits = [column for column, name in enumerate(heading) if set(words(name)) <= _SPLIT_WORDS and words(name)]
    others = [column for column in range(len(heading)) if column not in (*masks, *splits)]
    images = [column for column in others if roles[column].image and "id" not in words(heading[column])]
    images += [column for column in others if roles[column].image or set(words(heading[column])) & _FILE_WORDS]
    if not images:
        return None
    return images[0], masks[0] if masks else None, splits[0] if splits else None


def of_split(rows: Iterable[Row], split: str) -> list[Row]:
    """Returns the rows of a split; all rows of a list without splits."""
    return [row for row in rows if row.split is None or named_split(row.split) == split]


_LARGEST = 50 << 20  # bytes of a list
_RESOLVED = 0.5  # the share of existing files among the entries of a list


def resolve_listed(text: str, listed_in: Path, template: str | None, split: str, index: FileIndex) -> Path | None:
    """Returns the file that a list names, or None.

    The name is a path relative to the data set, relative to the list, or absolute, also on another machine; or the
    `{name}` in a template.
    """
    parts = text.replace("\\", "/").removeprefix("./").strip("/").split("/")
    paths = ["/".join(parts)]
    if listed_in.is_relative_to(index.root):
        paths.append(f"{listed_in.parent.relative_to(index.root).as_posix()}/{paths[0]}")
    paths += ["/".join(parts[start:]) for start in range(1, len(parts))]
    if template and len(parts) == 1:
        form, suffix = Template(text=template), Path(text).suffix
        stem = text[: -len(suffix)] if suffix.lower() in MASK_SUFFIXES else text
        values = dict.fromkeys(form.placeholders, split)
        paths = [form.fill(values | {"name": name}) for name in dict.fromkeys((stem, text))] + paths
    for path in paths:
        if files := index.find(path, MASK_SUFFIXES):
            return files[0]
    for folder in (index.root, listed_in.parent):
        if Path(text).suffix and (folder / text).is_file():
            return folder / text
    return None


class SplitLists(NamedTuple):
    """Lists of the splits.

    Attributes:
        sources: The list of each split, by its relative path.
        with_masks: Whether the lists name masks, too.
        images: The number of images.
    """

    sources: dict[str, SplitSource]
    with_masks: bool
    images: int


def find_lists(index: FileIndex, images: str | None = None, masks: str | None = None) -> list[SplitLists]:
    """Finds sets of lists with one for "train", those of the most images first.

    Args:
        index: The files in the folder.
        images: The template of images, for lists of names instead of paths.
        masks: The template of masks, likewise.
    """
    sets: dict[tuple[str, str, bool], dict[str, tuple[str, int]]] = defaultdict(dict)
    for path, file in index.by_path.items():
        if file.suffix.lower() not in LIST_SUFFIXES or not 0 < file.stat().st_size < _LARGEST:
            continue
        try:
            rows = _rows(file, index, images, masks)
        except InputError:
            continue
        if not rows:
            continue
        with_masks = any(row.mask for row in rows)
        table_splits = {split for row in rows if row.split and (split := named_split(row.split))}
        if table_splits:
            for split in table_splits:
                sets[path, "", with_masks][split] = (path, len(rows))
            continue
        pattern, split = _split_of(PurePosixPath(path), with_masks)
        if split:
            sets[str(PurePosixPath(path).parent), pattern, with_masks].setdefault(split, (path, len(rows)))
    found = [
        SplitLists({split: lists[split][0] for split in SPLITS if split in lists}, key[2], lists["train"][1])
        for key, lists in sets.items()
        if "train" in lists
    ]
    return sorted(found, key=lambda lists: (not lists.with_masks, -len(lists.sources), -lists.images))


def _rows(file: Path, index: FileIndex, images: str | None, masks: str | None) -> list[Row]:
    """Returns the rows of a list of images; no rows for other files."""

    def resolve(text: str, template: str | None) -> bool:
        return resolve_listed(text, file, template, "", index) is not None

    rows = read_rows(file, lambda text: resolve(text, images))
    if sum(resolve(row.image, images) for row in rows[:50]) < _RESOLVED * len(rows[:50]):
        return []
    masked = [row for row in rows if row.mask]
    if sum(resolve(row.mask, masks) for row in masked[:50]) < max(1, _RESOLVED * len(masked[:50])):
        return [row._replace(mask=None) for row in rows] if not masked else []
    return rows


def _split_of(path: PurePosixPath, with_masks: bool) -> tuple[str, str | None]:
    """Returns a list's name with `{split}` in place of the split, and the split."""
    if named := split_name(path.stem):
        extra = re.sub(r"list|split|set|images?|files?|names?|index|[\W_\d]", "", named.pattern.replace("{split}", ""))
        if not extra or with_masks:
            trainval = named.text.lower() == "trainval"
            return named.pattern + path.suffix, None if trainval else named.split
    if path.stem.lower() == "default" or with_masks:
        return path.name, "train"
    return path.name, None
