"""Finds out how the masks of somebody's own data set are coded: which stored values or colours are which class."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from keras_crosscoop.data.coding import Stored, text_of
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.class_tables import Classes, choose_classes
from keras_crosscoop.data.own.colour_reading import read_colours
from keras_crosscoop.data.own.description import Description
from keras_crosscoop.data.own.mask_content import Area, MaskContent, pixels
from keras_crosscoop.data.own.reading import Reading, share, shares, tell, to_nearest, values_line
from keras_crosscoop.data.own.value_reading import read_values
from keras_crosscoop.data.own.vocabulary import is_background
from keras_crosscoop.errors import InputError, join_names, summarize
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL


def find_coding(content: MaskContent, tables: Sequence[Classes], description: Description) -> Reading:
    """Finds the one reading of the masks that names, values and colours explain.

    Args:
        content: The content of the masks.
        tables: The tables of classes in the folder.
        description: The description; its entries settle the question that they answer.

    Raises:
        InputError: No reading explains the masks, or several do. The message tells the lines of YAML that settle it.
    """
    if not content.every:
        errors = [str(error) for _, error in content.unreadable]
        raise InputError(
            " ".join(summarize(errors)) or f"There are no masks. Name them by `masks`. Received: {description.path}"
        )
    classes = choose_classes(tables, description)
    statements = []
    if not content.is_complete:
        seen, total = len(content.every) + len(content.unreadable), sum(content.total.values())
        statements.append(f"{seen} of {total:,} masks were looked at.")
    if content.unreadable:  # training and `data.checks` name each of them
        files = join_names([file for file, _ in content.unreadable])
        statements.append(f"{len(content.unreadable)} masks cannot be read and are left out here: {files}.")
    if description.values is not None:
        reading = _described(content, description)
    elif all(mask.kind == "files" for mask in content.every):
        reading = _class_files(content, classes)
    else:
        reading, reason = _read(content, classes, description)
        statements += filter(None, [reason])
    if len(reading.names) > INVALID_LABEL:
        raise InputError(
            f"There can be at most {INVALID_LABEL} classes, as 255 is void. Received: {len(reading.names)} classes in "
            f"{classes.source or content.every[0].file}"
        )
    if description.nearest is not None:
        reading = reading._replace(nearest=description.nearest)
    areas = content.areas(colours=reading.by_colour)
    if reading.nearest:
        areas = to_nearest(areas, [*reading.values, *reading.ignore]).areas
    statements += [*classes.statements, *tell(reading, areas, pixels(areas.values())), *reading.statements]
    return reading._replace(
        ignore=tuple(dict.fromkeys(reading.ignore)),
        colours=_colours(content, classes, reading, description),
        statements=statements,
        findings=(
            *classes.findings,
            *reading.findings,
            *_other_ids(classes, areas),
            *content_findings(content, reading),
        ),
    )


def _read(content: MaskContent, classes: Classes, description: Description) -> tuple[Reading, str]:
    """Reads masks by value or by colour."""
    ignore = description.ignore
    colours_ignored = bool(ignore) and isinstance(ignore[0], tuple)
    void = (IGNORE_LABEL,) if ignore is None or colours_ignored else ignore
    by_colour, reason = _is_by_colour(content, classes, void)
    if not (by_colour or colours_ignored):
        return read_values(content, classes, ignore), reason
    if by_colour:
        content = _as_colours(content)
    if all(mask.is_grey for mask in content.every):  # greys stand for integers
        values = None if ignore is None else tuple(key[0] if isinstance(key, tuple) else key for key in ignore)
        return _in_greys(read_values(content, classes, values)), reason
    if ignore and not colours_ignored:
        raise InputError(
            f"`ignore` of {description.file.name} lists values, but the masks are read by colour. Write colours, as in "
            f"`ignore: ['#ffffff']`. Received: ignore: {list(ignore)}, {content.every[0].file}"
        )
    return read_colours(content, classes, ignore), reason


def _in_greys(reading: Reading) -> Reading:
    """Returns a reading of integers as one of grey colours, for masks with three equal channels."""
    greys = {(value,) * 3: name for value, name in reading.values.items() if value in range(256)}
    return reading._replace(values=greys, ignore=tuple((value,) * 3 for value in reading.ignore if value in range(256)))


def _is_by_colour(content: MaskContent, classes: Classes, void: Collection[int]) -> tuple[bool, str]:
    """Whether masks are read by their colours, and the reason if they hold integers, too.

    Args:
        content: The content of the masks.
        classes: The named classes.
        void: The values without a class, whose colours in the palettes say nothing.
    """
    if any(mask.kind == "colour" for mask in content.every):
        return True, ""
    used: dict[int, set[RGB]] = {}
    palettes = [mask for mask in content.every if mask.kind == "palette"]
    for mask in palettes:
        for index in mask.values:
            used.setdefault(index, set()).add(mask.palette[index])
    if not used:
        return False, ""
    occurring = {colour for colours in used.values() for colour in colours}
    table = classes.by_colour
    if any(len(colours) > 1 for colours in used.values()):
        return True, "The palettes of the masks differ from file to file: the masks are read by colour."
    is_grey = all(red == green == blue for red, green, blue in occurring)
    if (
        is_grey
        and all(mask.file_format == "GIF" for mask in palettes)
        and any(colours != {(index,) * 3} for index, colours in used.items())
    ):  # GIF has no grey files without a palette
        return True, "The palettes hold grey values, which are read instead of the indices."
    if not table:
        return False, ""
    rows = classes.values or dict(enumerate(classes.rows))
    if all(colours == {rows[index].colour} if index in rows else index in void for index, colours in used.items()):
        return False, ""
    if sum(colour in table for colour in occurring) >= max(2, len(occurring) - 1):
        return True, f"The palettes have another order than {classes.source}: the masks are read by colour."
    return False, f"The palettes of the masks have other colours than {classes.source}: the masks are read by index."


def _as_colours(content: MaskContent) -> MaskContent:
    masks = {
        split: [replace(mask, kind="colour", areas=mask.colours) if mask.kind == "palette" else mask for mask in masks]
        for split, masks in content.masks.items()
    }
    return replace(content, masks=masks)


def _described(content: MaskContent, description: Description) -> Reading:
    """Returns the reading that the description settles, with findings about values that it leaves out."""
    values = dict(description.values)
    names = description.class_names
    coloured = isinstance(next(iter(values)), tuple)
    areas = content.areas(colours=coloured)
    total = pixels(areas.values())
    ignore = description.ignore
    if ignore is None:
        ignore = tuple(v for v in (IGNORE_LABEL, -1, 65535) if v in areas and v not in values) if not coloured else ()
    reading = Reading(names, values, ignore, bool(description.nearest))
    unlisted = [key for key in areas if key not in values and key not in ignore]
    if not coloured and any(mask.kind == "colour" for mask in content.every):
        if mask := next((mask for mask in content.every if not mask.is_grey), None):
            raise InputError(
                f"`values` of {description.file.name} lists integers, but masks hold colours. List colours, as in "
                f"`{values_line({next(iter(mask.colours)): names[0]})}`. Received: {mask.file}"
            )
        reading = _in_greys(reading)
    if not unlisted or reading.nearest:
        return reading
    inexact = pixels(areas[key] for key in unlisted)
    message = (
        f"{share(inexact, total)} of the pixels have values that {description.file.name} does not list: "
        f"{shares(unlisted, areas, total)}. Add them to `values` or `ignore`, or write `nearest: true`."
    )
    return reading.with_reasons(findings=[Finding("problem", "", message)])


def _class_files(content: MaskContent, classes: Classes) -> Reading:
    """Masks in one file per class hold class ids already."""
    ids = sorted(content.areas().keys() - {IGNORE_LABEL})
    names = classes.names
    if len(names) <= max(ids, default=0):
        raise InputError(
            f"The masks of one file per class have {max(ids) + 1} classes, but {len(names)} are named. Write `names` "
            f"into {classes.yaml}. Received: {content.every[0].file}"
        )
    return Reading(names, dict(enumerate(names)), (IGNORE_LABEL,))


def _colours(content: MaskContent, classes: Classes, reading: Reading, description: Description) -> dict[str, RGB]:
    """Returns the colours of classes: of the description, the masks, the table, or the palette."""
    table = {row.name: row.colour for row in classes.rows if row.colour is not None}
    if reading.by_colour:
        colours: dict[str, RGB] = {}
        for colour, name in reading.values.items():
            colours.setdefault(name, colour)
        greys = all(red == green == blue for red, green, blue in colours.values())
        return {**({} if greys else colours), **table, **(description.colours or {})}
    palettes = [mask.palette for mask in content.every if mask.kind == "palette"]
    colours = {name: palettes[0][value] for value, name in reading.values.items() if palettes and value in range(256)}
    if any(red == green == blue != 0 for red, green, blue in colours.values()) or len({*colours.values()}) < len(
        colours
    ):
        colours = {}  # ids or a grey ramp
    return {**colours, **table, **(description.colours or {})}


def _other_ids(classes: Classes, areas: Mapping[Stored, Area]) -> Iterator[Finding]:
    """Yields a finding if a table has a second column of ids, those for training, that could explain the masks."""
    ids = [value for value in areas if isinstance(value, int) and value != IGNORE_LABEL]
    if (
        classes.values
        and re.search("train_?id", classes.header, re.IGNORECASE)
        and max(ids, default=-1) < len(classes.rows)
    ):
        message = (
            f"{classes.source} has a column of ids for training, too, but the masks are read by the other ids. If "
            f"this is wrong, write `values` into {classes.yaml}."
        )
        yield Finding("warning", "", message)


def content_findings(content: MaskContent, reading: Reading) -> Iterator[Finding]:
    """Yields findings about the classes in each split."""
    areas = {split: content.areas(split, colours=reading.by_colour) for split in content.masks if content.masks[split]}
    yield from _new_values(reading, areas)
    yield from _inverted(content, reading)
    yield from _empty(content, reading)


def _by_class(reading: Reading, areas: Mapping[Stored, Area]) -> dict[str, Area]:
    classes: dict[str, Area] = {}
    for key, name in reading.values.items():
        if key in areas:
            classes[name] = classes.get(name, Area()).add(areas[key])
    return classes


def _new_values(reading: Reading, areas: Mapping[str, Mapping[Stored, Area]]) -> Iterator[Finding]:
    """Yields a finding if another split holds values that training does not; nearest ones aside."""
    known = areas.get("train", {}).keys() | {*reading.ignore}
    for split in areas:
        new = [key for key in areas[split] if key not in known and (not reading.nearest or key in reading.values)]
        if split != "train" and new and "train" in areas:
            missing = [key for key in reading.values if key in areas["train"] and key not in areas[split]]
            hint = f", and lacks {join_names(list(map(text_of, missing)))}. Are both coded alike?" if missing else "."
            message = f"Split {split} holds {join_names(list(map(text_of, new)))}, which train does not{hint}"
            yield Finding("warning", split, message)


def _inverted(content: MaskContent, reading: Reading) -> Iterator[Finding]:
    """Yields a finding if the border of some two-valued masks is background, and of others the object."""
    if len(reading.names) != 2:
        return
    for split, masks in content.masks.items():
        borders: dict[str, list[str]] = {name: [] for name in reading.names}
        for mask in masks:
            areas = _by_class(reading, mask.colours if reading.by_colour else mask.values)
            around = sum(area.border for area in areas.values())
            for name, area in areas.items():
                if area.border > 0.9 * around:
                    borders[name].append(mask.file)
        few, many = sorted(borders.values(), key=len)
        if len(masks) >= 5 and len(few) >= 0.2 * len(masks) and len(many) >= 0.2 * len(masks):
            one, other = reading.names
            message = (
                f"In split {split}, {one} surrounds {len(borders[one])} masks, and {other} {len(borders[other])}. Are "
                f"some of them inverted? Received: {join_names([few[0], many[0]])}"
            )
            yield Finding("warning", split, message, tuple(few))


def _empty(content: MaskContent, reading: Reading) -> Iterator[Finding]:
    """Yields a finding if many masks of a split hold the background alone, or one of two classes."""
    for split, masks in content.masks.items():
        alone: dict[str, list[str]] = {}
        for mask in masks:
            areas = _by_class(reading, mask.colours if reading.by_colour else mask.values)
            if len(areas) == 1:
                alone.setdefault(*areas, []).append(mask.file)
        for name, files in alone.items():
            is_empty = len(reading.names) == 2 or is_background(name)
            if is_empty and 1 < len(files) >= 0.4 * len(masks):
                message = f"{len(files)} of {len(masks)} masks of split {split} hold only {name}: {join_names(files)}."
                yield Finding("warning", split, message, tuple(files))
