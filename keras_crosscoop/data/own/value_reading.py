"""Readings of masks that hold integers: ids, ids with gaps and offsets, and two values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.class_tables import Classes, ClassRow
from keras_crosscoop.data.own.mask_content import Area, MaskContent, pixels
from keras_crosscoop.data.own.reading import (
    MIN_GAP,
    SURROUNDS,
    Option,
    Reading,
    are_stretched,
    find_clusters,
    names_line,
    question,
    read_two_values,
    share,
    shares,
    to_nearest,
    two_names,
    values_line,
)
from keras_crosscoop.data.own.vocabulary import BACKGROUND, OBJECT, is_background
from keras_crosscoop.errors import InputError, counted, join_names
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL

MAX_INEXACT = 0.05  # the share of pixels between the values of classes, above which masks are refused
_MAX_VOID = 0.2  # the share of value 0, up to which it is void by ADE20K's rule
_MAX_STRAY = 0.005  # the share of pixels with values beyond the names, up to which single files are to blame


def read_values(content: MaskContent, classes: Classes, ignore: tuple[int, ...] | None) -> Reading:
    """Returns the reading that alone explains masks of integers.

    Args:
        content: The content of the masks.
        classes: The named classes.
        ignore: The values that the description ignores; None if it says nothing.

    Raises:
        InputError: No reading explains the masks, or several do.
    """
    areas = content.areas()
    void = {value for value in areas if value in (ignore or ()) or value == -1}
    if len(areas.keys() - void) > 2 and not are_stretched(sorted(areas.keys() - void)):
        void |= {65535} & areas.keys()  # -1 in 16 bits; with another value, the object of two-valued masks
    reading = _ValueReader(content, classes, ignore, areas, tuple(sorted(areas.keys() - void))).read()
    return reading._replace(ignore=tuple(dict.fromkeys((*reading.ignore, *sorted(void), *(ignore or ())))))


@dataclass(frozen=True)
class _ValueReader:
    """Finds the reading of the values `stored`, which are not void by convention; `areas` holds those of all values."""

    content: MaskContent
    classes: Classes
    ignore: tuple[int, ...] | None
    areas: Mapping[int, Area]
    stored: tuple[int, ...]

    def read(self) -> Reading:
        self._check_mixture()
        lossy = len(self.stored) > 2 and any(mask.lossy for mask in self.content.every)
        listed = self._listed()
        if lossy or self._has_soft_edges() or (len(self.stored) > 6 and not listed and not self._are_ids()):
            return self._interpolated(lossy)
        return self._exact(listed)

    # What the masks hold

    @cached_property
    def _ids(self) -> list[int]:
        """The values without 255."""
        return [value for value in self.stored if value != IGNORE_LABEL]

    @cached_property
    def _total(self) -> int:
        return pixels(self.areas.values())

    @property
    def _received(self) -> str:
        return self.content.received(self.classes.source)

    def _question(self, subject: str, options: Sequence[Option]) -> InputError:
        return question(subject, options, self.classes, self._received)

    def _is_around(self, value: int) -> bool:
        """Whether a value looks like a background: it covers most pixels, and most of the border of most masks."""
        area = self.areas.get(value, Area())
        return area.pixels > self._total / 2 and area.surrounds > SURROUNDS * len(self.content.every)

    def _has_soft_edges(self) -> bool:
        """Whether values that only occur at edges lie between two values that form areas."""
        if len(self.stored) < 3 or len(self.classes.rows) > 2 or self._are_ids():
            return False
        if len(self.stored) == 3 and not self.classes.rows:  # perhaps a class of thin lines: see `unnamed`
            return False
        solid = [self.areas[value].is_solid for value in self.stored]
        return solid[0] and solid[-1] and not any(solid[1:-1])

    def _are_ids(self) -> bool:
        most = len(self.classes.rows) or min(2 * len(self._ids), 64)
        return bool(self._ids) and self._ids[0] >= 0 and self._ids[-1] <= most

    def _listed(self) -> Mapping[int, ClassRow]:
        """Returns the rows by stored value, if the table tells the values, or grey colours that explain the masks."""
        if self.classes.values:
            return self.classes.values
        colours = self.classes.by_colour
        greys = {_luma(colour): row for colour, row in colours.items()}
        if all(red == green == blue for red, green, blue in colours) and {*self.stored} <= greys.keys():
            return greys
        beyond = max(self._ids, default=0) > len(self.classes.rows)
        return greys if beyond and len(greys) == len(colours) and {*self._ids} <= greys.keys() else {}

    def _check_mixture(self) -> None:
        """Refuses masks of 0 and 1 beside masks of 0 and 255: 255 is void in none of them, or in all."""
        sets = self.content.value_sets()
        ones = sum(count for values, count in sets.items() if 1 in values)
        whites = sum(count for values, count in sets.items() if IGNORE_LABEL in values)
        mixed = min(ones, whites) > 0 and not any({1, IGNORE_LABEL} <= values for values in sets)
        if self.ignore is None and mixed and {*self.areas} == {0, 1, IGNORE_LABEL}:
            background, name = two_names(self.classes)
            raise self._question(
                f"Value 255 ({counted(ones, 'mask')} with 1, {whites:,} with 255, none with both)",
                [
                    Option(f"1 and 255 are both {name}", values_line({0: background, 1: name, IGNORE_LABEL: name})),
                    Option("255 is void", "ignore: [255]"),
                ],
            )

    # Readings

    def _interpolated(self, lossy: bool) -> Reading:
        """Reads values that interpolation, anti-aliasing or JPEG made as the nearest one that forms areas."""
        areas = {value: self.areas[value] for value in self.stored}
        values, confused = find_clusters(areas, lossy=lossy)
        nearest, total = to_nearest(areas, values or [0]), pixels(areas.values())
        cause = "JPEG compression changes values" if lossy else "the edges are anti-aliased or interpolated"
        if confused or nearest.between > MAX_INEXACT * total:
            reason = (
                f"their ids are closer than {MIN_GAP}"
                if confused
                else f"{share(nearest.between, total)} of the pixels lie between the values "
                f"{' and '.join(map(str, values[:6]))}"
            )
            raise InputError(
                f"The masks hold {len(areas)} values, and {cause if lossy else 'no reading explains them'}: {reason}. "
                f"Save them again from their source as PNG, without interpolation. Most frequent: "
                f"{shares(areas, areas, total)}. Received: {self._received}"
            )
        reading = replace(self, areas=nearest.areas, stored=tuple(values))._exact({})
        inexact = share(nearest.inexact, total)
        text = f"{inexact} of the pixels have other values ({cause}) and take the nearest one."
        if nearest.between:
            text = f"{text[:-1]}; {share(nearest.between, total)} lie in between."
        findings = []
        if len(values) > 2:
            message = (
                f"{inexact} of the pixels lie at interpolated edges. Between two classes, an edge passes the values of "
                "a third one. Better use masks as they were drawn."
            )
            findings.append(Finding("warning", "", message))
        return reading.with_reasons(text, findings=findings)._replace(nearest=True)

    def _exact(self, listed: Mapping[int, ClassRow]) -> Reading:
        stored, rows = self.stored, self.classes.rows
        if listed and stored and {*self._ids} <= listed.keys() and not self._is_rather_binary(listed):
            return self._by_rows(listed)
        if not stored or (len(stored) == 1 and not (self.ignore and rows)):
            return self._one_value()
        if len(stored) == 2 and self._is_binary():
            return read_two_values(stored, self.areas, len(self.content.every), self.classes, self._received)
        if listed and not (self.classes.values and {*self._ids} - listed.keys() <= {0}):
            raise self._unexplained()
        return self._named() if rows else self._unnamed()

    def _is_rather_binary(self, listed: Mapping[int, ClassRow]) -> bool:
        """Whether 255 is the object of two-valued masks instead of void."""
        classes = {row.name for row in listed.values() if not row.ignored}
        two = len(self.stored) == 2 and self.stored[1] == IGNORE_LABEL
        return two and IGNORE_LABEL not in listed and len(classes) <= 2

    def _is_binary(self) -> bool:
        """Whether two values are background and object, instead of two of many ids, or an id and void."""
        low, high = self.stored
        rows = self.classes.rows
        if self.ignore and not {0, 1} & {low, high} and rows:
            return False
        if len(self.classes.names) > 2 or any(row.ignored for row in rows[:-1]):
            return high > len(rows)  # refused there
        if high == IGNORE_LABEL and 0 < low < IGNORE_LABEL - MIN_GAP and low <= max(len(rows), 1):
            names = two_names(self.classes)
            raise self._question(
                f"Masks of the values {low} and 255",
                [
                    Option(f"{low} is {names[0]} and 255 {names[1]}", values_line({low: names[0], high: names[1]})),
                    Option("255 is void", "ignore: [255]"),
                ],
            )
        return True

    def _one_value(self) -> Reading:
        names = self.classes.names or (BACKGROUND, OBJECT)
        values = {
            index if row.value is None else row.value: row.name
            for index, row in enumerate(self.classes.rows)
            if not row.ignored
        } or dict(enumerate(names))
        value = next((value for value in self.areas if value not in (-1, 65535, IGNORE_LABEL)), None)
        if value is None:
            message = "No pixel is labelled: all are void. Use masks that hold classes."
        else:
            message = (
                f"All pixels of all masks have the value {value}. A network learns nothing from one class. Are these "
                "the right masks?"
            )
            if value not in values:
                values = {value: names[0]} | {key: name for key, name in values.items() if name != names[0]}
        finding = Finding("problem", "", f"{message} Received: {self._received}")
        return Reading(names, values, tuple(key for key in self.areas if key not in values), findings=(finding,))

    def _by_rows(self, rows: Mapping[int, ClassRow], *reasons: str) -> Reading:
        """Reads values as the rows say. 255 and -1 are void if no row says otherwise."""
        values = {value: row.name for value, row in sorted(rows.items()) if not row.ignored}
        ignore = [value for value, row in rows.items() if row.ignored]
        if IGNORE_LABEL not in rows and (IGNORE_LABEL in self.stored or len(values) > 2) and self.ignore != ():
            ignore.append(IGNORE_LABEL)
        return Reading(tuple(dict.fromkeys(values.values())), values, tuple(ignore), statements=tuple(reasons))

    def _unnamed(self) -> Reading:
        ids = self._ids
        if len(ids) > INVALID_LABEL:
            raise InputError(
                f"The masks hold {len(ids)} values, but there can be at most {INVALID_LABEL} classes. Do they number "
                f"objects instead of classes? Received: {self._received}"
            )
        low, middle, high = self.stored if len(self.stored) == 3 else (0, 0, 0)
        is_thin = middle > 1 and [self.areas[value].is_solid for value in self.stored] == [True, False, True]
        if middle > 1 and ((low == 0 and high == IGNORE_LABEL) or (is_thin and not self._are_ids())):
            ends = values_line({low: BACKGROUND, high: OBJECT})
            options = [
                Option(f"{middle} is void", ends, f"ignore: [{middle}]"),
                Option("these are three classes", values_line({low: BACKGROUND, middle: "middle", high: OBJECT})),
            ]
            if high == IGNORE_LABEL:
                options.append(Option("255 is void", values_line({low: BACKGROUND, middle: OBJECT}), "ignore: [255]"))
            if is_thin:
                options.append(Option(f"{middle} mixes the others at edges", ends, "nearest: true"))
            values = shares(self.stored, self.areas, self._total)
            raise self._question(f"Masks of the values {values}", options)
        if len(self.stored) > 3 and IGNORE_LABEL in self.stored and are_stretched(self.stored):
            names = {value: f"class {value}" for value in self.stored}
            raise self._question(
                f"Value 255, which ends the row {', '.join(map(str, self.stored))},",
                [
                    Option("it is a class", values_line(names)),
                    Option("255 is void", values_line({value: names[value] for value in ids}), "ignore: [255]"),
                ],
            )
        if _number_objects(self.content.value_sets()):
            raise self._question(
                f"The masks of up to {max(ids)} objects, numbered from 1 in each mask,",
                [
                    Option("all objects are of one class", "values: {0: background, 1: object}", "nearest: true"),
                    Option("the numbers are classes", names_line([f"class {value}" for value in range(max(ids) + 1)])),
                ],
            )
        names = {value: f"class {value}" for value in ids}
        if 0 in names and (len(ids) == 2 or self._is_around(0)):
            names[0] = BACKGROUND
        if ids == [0, 1]:
            names[1] = OBJECT
        rows = {value: ClassRow(name) for value, name in names.items()}
        return self._by_rows(rows, "No table names the classes: they are called by their values.")

    def _named(self) -> Reading:
        rows, source, ids, explicit = self.classes.rows, self.classes.source, self._ids, self.classes.values
        count = len(rows)
        from_0, from_1 = explicit or dict(enumerate(rows)), explicit or dict(enumerate(rows, 1))
        first_is_0 = bool(explicit and 0 in explicit) or is_background(rows[0].name) or rows[0].ignored

        if len(self.stored) == 3 == len(self.classes.names) == count and ids == [0, 1] and self.ignore is None:
            first, second, third = self.classes.names
            raise self._question(
                "Value 255",
                [
                    Option(f"it is {third}", values_line({0: first, 1: second, 255: third})),
                    Option(f"it is void, and {third} never occurs", "ignore: [255]"),
                ],
            )
        if not ids:
            return self._one_value()
        if self.ignore and 0 in self.ignore and not first_is_0 and ids[0] > 0 and ids[-1] <= count:
            return self._by_rows(from_1, f"Value 0 is ignored, so that the classes of {source} are 1 to {count}.")
        if ids[0] >= 0 and ids[-1] < count and not explicit:
            return self._from_0(from_0, first_is_0)
        if (ids[0] >= 0 and ids[-1] <= count and not first_is_0) or (explicit and ids[0] == 0 and 0 not in explicit):
            return self._from_1(from_1)
        for values in (ids, self.stored):
            if len(values) == count and not explicit:
                reason = f"The {count} values, in their order, are the {count} classes of {source}."
                return self._by_rows(dict(zip(values, rows, strict=True)), reason)
        return self._with_strays(from_0)

    def _from_0(self, from_0: Mapping[int, ClassRow], first_is_0: bool) -> Reading:
        """Ids that fit names counted from 0, and usually from 1 as well."""
        rows, ids = self.classes.rows, self._ids
        direct = self._by_rows(from_0)
        shifted = rows[0].ignored and ids[0] == 0 < ids[-1] == len(rows) - 2 and IGNORE_LABEL in self.stored
        if first_is_0 and shifted:
            raise self._question(
                f"The first class of {self.classes.source}, {rows[0].name},",
                [
                    Option(f"it is 0, and {rows[-1].name} never occurs", "ignore: [0, 255]"),
                    Option(f"it is 255, and 0 is {rows[1].name}", names_line([row.name for row in rows[1:]])),
                ],
            )
        around = ids[0] == 0 and IGNORE_LABEL not in self.stored and self._is_around(0)
        if first_is_0 or (ids[0] == 0 and not around):
            return direct
        zero = share(self.areas.get(0, Area()).pixels, self._total)
        why = f"0 looks like a background, {zero}" if around else "0 never occurs"
        if self.classes.settled:
            line = values_line({value: row.name for value, row in from_0.items() if value < 2})
            message = (
                f"Value 0 is read as {rows[0].name}, the first of `names`; but {why}. Name each value to confirm or to "
                f"correct this, as in `{line[:-1]}, ...}}`."
            )
            return direct.with_reasons(findings=[Finding("warning", "", message)])
        options = [
            Option(f"0 is {rows[0].name}, as the first of {self.classes.source}", names_line(self.classes.names)),
            Option(f"0 is void and 1 is {rows[0].name}", "ignore: [0]"),
        ]
        if around:
            options.append(Option("0 is a background of its own", names_line([BACKGROUND, *self.classes.names])))
        raise self._question(f"Values {ids[0]} to {ids[-1]} ({why})", options)

    def _from_1(self, from_1: Mapping[int, ClassRow]) -> Reading:
        """Ids from 1; 0 has no name, as in ADE20K."""
        reading, first, last = self._by_rows(from_1), self._ids[0], self._ids[-1]
        if first > 0:
            return reading.with_reasons(f"The ids count from 1: {first} is {reading.values.get(first)}.")
        zero = self.areas[0].pixels
        text = f"Value 0 ({share(zero, self._total)}) has no name in {self.classes.source}"
        shifted = self.classes.values and max(self.classes.values) > last
        if not shifted and (self.classes.has_background or zero <= _MAX_VOID * self._total):
            return reading._replace(ignore=(0, *reading.ignore)).with_reasons(f"{text}: it is ignored.")
        other = Option("0 is the background, a class of its own", values_line({0: BACKGROUND, **reading.values}))
        if shifted:
            other = Option(
                f"0 is {reading.names[0]}, and ids count from 0", values_line(dict(enumerate(reading.names)))
            )
        raise self._question(f"{text}, which", [Option("0 is void", "ignore: [0]"), other])

    def _with_strays(self, rows: Mapping[int, ClassRow]) -> Reading:
        """Values without a name: a few pixels are a problem of their files, many of the table."""
        strays = [value for value in self._ids if value not in rows]
        files = [mask.file for mask in self.content.every if any(value in mask.values for value in strays)]
        few = len(files) <= max(1, 0.05 * len(self.content.every))
        if not few or pixels(self.areas[value] for value in strays) > _MAX_STRAY * self._total:
            raise self._unexplained()
        message = (
            f"{len(files)} masks hold values without a name: {shares(strays, self.areas, self._total)}; "
            f"{self.classes.source} has {len(rows)} classes. Mend the masks. Received: {join_names(files)}"
        )
        return self._by_rows(rows).with_reasons(findings=[Finding("problem", "", message, tuple(files))])

    def _unexplained(self) -> InputError:
        stored, rows = self.stored, self.classes.rows
        named = self.classes.values or dict(enumerate(rows))
        listed = ", ".join(f"{value}: {row.name}" for value, row in list(self.classes.values.items())[:4])
        example = f"values: {{{stored[0]}: NAME, {stored[-1]}: NAME}}"
        remedy = f"Write the class of each value into {self.classes.yaml}: `{example}`"
        if {value - 1 for value in self._ids} <= named.keys():
            shifted = values_line({value + 1: row.name for value, row in named.items() if not row.ignored})
            remedy = f"The values look shifted by one. If they are, write this into {self.classes.yaml}: `{shifted}`"
        return InputError(
            f"The masks hold the values {shares(stored, self.areas, self._total, 10)}, but {self.classes.source} names "
            f"{len(rows)} classes ({listed or join_names([row.name for row in rows])}). {remedy}. "
            f"Received: {self._received}"
        )


def _luma(colour: Sequence[int]) -> int:
    """Returns the grey value of a colour, as Pillow and OpenCV convert it."""
    red, green, blue = colour
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def _number_objects(sets: Mapping[frozenset[int], int]) -> bool:
    """Whether the values of each mask are 1, 2, ... without a gap, as objects are numbered."""
    ids = [{*values} - {0, IGNORE_LABEL} for values in sets for _ in range(sets[values])]
    ids = [values for values in ids if values]
    gapless = [len(values) for values in ids if max(values) == len(values) and min(values) == 1]
    return len(ids) >= 4 and len(gapless) >= 0.95 * len(ids) and len({*gapless}) >= 4
