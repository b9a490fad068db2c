"""Readings of masks that are coded by colour."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from keras_crosscoop.data.coding import Stored, text_of
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.class_tables import Classes, ClassRow
from keras_crosscoop.data.own.mask_content import Area, MaskContent, pixels
from keras_crosscoop.data.own.reading import (
    Option,
    Reading,
    question,
    read_two_values,
    share,
    shares,
    to_nearest,
    values_line,
)
from keras_crosscoop.data.own.vocabulary import BACKGROUND, is_background
from keras_crosscoop.errors import InputError, join_names
from keras_crosscoop.images.palettes import RGB, VOID_COLOUR, voc_palette
from keras_crosscoop.labels import INVALID_LABEL

MAX_INEXACT = 0.05  # the share of pixels with other colours, above which masks are refused
_UNREMARKABLE = 0.005  # the share that anti-aliased edges may have without a warning
_MAX_EXTRA = 0.005  # the share of areas in colours that no table lists
_MIN_SOLID = 0.00001  # the share of the pixels inside of areas that the colour of a class has
_MIN_SOLID_LOSSY = 0.0005  # the same in JPEG files, whose compression makes small areas
_MIN_SOLID_PIXELS = 8
_MAX_THIN = 64  # distinct colours up to which thin ones may be classes
_ROUNDING = 3  # the distance of a mixed colour from the line between two others
_MAX_VOID = 0.05  # the share of black, up to which it is void if no table lists it
_NEAR = 40  # the distance of colours that JPEG can cause
_BLACK: RGB = (0, 0, 0)


def read_colours(content: MaskContent, classes: Classes, ignore: tuple[RGB, ...] | None) -> Reading:
    """Returns the reading that alone explains masks of colours.

    Args:
        content: The content of the masks.
        classes: The named classes.
        ignore: The colours that the description ignores; None if it says nothing.

    Raises:
        InputError: No reading explains the masks, or several do.
    """
    reader = _ColourReader(content, classes, ignore)
    reading = reader.by_table() if classes.by_colour else reader.by_occurrence()
    if transparent := sum(mask.transparent for mask in content.every):
        return reading.with_reasons(f"Transparent pixels ({share(transparent, reader.total)}) are read as black.")
    return reading


@dataclass(frozen=True)
class _ColourReader:
    content: MaskContent
    classes: Classes
    ignore: tuple[RGB, ...] | None

    @cached_property
    def areas(self) -> Mapping[RGB, Area]:
        return self.content.areas(colours=True)

    @cached_property
    def total(self) -> int:
        """The number of all pixels."""
        return sum(mask.pixels for mask in self.content.every)

    @property
    def _uncounted(self) -> int:
        """The number of pixels in masks of very many colours, whose colours were not counted."""
        return self.total - pixels(self.areas.values())

    @property
    def _received(self) -> str:
        return self.content.received(self.classes.source)

    def _question(self, subject: str, options: Sequence[Option]) -> InputError:
        return question(subject, options, self.classes, self._received)

    @property
    def _is_lossy(self) -> bool:
        return any(mask.lossy for mask in self.content.every)

    def by_table(self) -> Reading:
        """Reads colours as the table says."""
        table: dict[RGB, ClassRow] = {**self.classes.by_colour}
        table |= {colour: ClassRow("void", colour=colour, ignored=True) for colour in self.ignore or ()}
        reasons, findings = [], []
        if (swapped := self._without_swap(table)) is not None:
            table = swapped
            message = (
                f"The masks hold the colours of {self.classes.source} with red and blue exchanged, as OpenCV writes "
                "them. They are read accordingly."
            )
            findings.append(Finding("warning", "", message))
        values = {colour: row.name for colour, row in table.items() if not row.ignored}
        extra = self._solid([colour for colour in self.areas if colour not in table])
        void = []
        if VOID_COLOUR in extra:
            void.append(VOID_COLOUR)
            reasons.append(f"PASCAL VOC's colour of void, {text_of(VOID_COLOUR)}, is ignored.")
        if _BLACK in extra:
            self._check_black(values)
            void.append(_BLACK)
            black = share(self.areas[_BLACK].pixels, self.total)
            reasons.append(f"Black ({black}) is not in {self.classes.source}: it is ignored.")
        extra = [colour for colour in extra if colour not in void]
        if pixels(self.areas[colour] for colour in extra) > _MAX_EXTRA * self.total:
            raise self._unlisted(extra, table)
        if extra and not self._is_lossy:
            files = tuple(mask.file for mask in self.content.every if any(colour in mask.colours for colour in extra))
            findings.append(Finding("problem", "", str(self._unlisted(extra, table, files)), files))
        ignore = (*(colour for colour, row in table.items() if row.ignored), *void)
        names = tuple(dict.fromkeys(values.values()))
        return self._with_edges(Reading(names, values, ignore, statements=tuple(reasons), findings=tuple(findings)))

    def _without_swap(self, table: Mapping[RGB, ClassRow]) -> dict[RGB, ClassRow] | None:
        """Returns the table with red and blue exchanged if only so its colours fit the masks."""
        swapped = {colour[::-1]: row for colour, row in table.items()}
        direct, exchanged = (
            pixels(self.areas.get(colour, Area()) for colour in colours) / self.total for colours in (table, swapped)
        )
        fits = any(colour in self.areas and colour not in table for colour in swapped)
        return swapped if fits and direct < 0.995 <= exchanged else None

    def _check_black(self, values: Mapping[RGB, str]) -> None:
        black = self.areas[_BLACK].pixels
        if black <= _MAX_VOID * self.total or self.classes.has_background or self.ignore == ():
            return
        raise self._question(
            f"Black ({share(black, self.total)}), which is not in {self.classes.source},",
            [
                Option("it is void", "ignore: ['#000000']"),
                Option("it is the background, a class of its own", values_line({_BLACK: BACKGROUND, **values})),
            ],
        )

    def by_occurrence(self) -> Reading:
        """Takes the colours that form areas as classes."""
        occurring = self._occurring()
        ignored = self.ignore or ()
        colours = [colour for colour in occurring if colour not in ignored and colour != VOID_COLOUR]
        void = tuple(dict.fromkeys((*ignored, *(colour for colour in occurring if colour == VOID_COLOUR))))
        nearest = to_nearest(self.areas, [*colours, *void]) if colours else None
        between = nearest.between + self._uncounted if nearest else self.total
        if len(colours) > INVALID_LABEL or between > MAX_INEXACT * self.total:
            raise InputError(
                f"The masks hold {len(self.areas)} colours, which are too many for classes: "
                f"{shares(self.areas, self.areas, self.total)}; {share(between, self.total)} of the pixels have none "
                "of the colours that form areas. Are they masks, and not photographs or blended overlays? "
                f"Received: {self._received}"
            )
        if len(colours) == 2 and _BLACK in colours and len(self.classes.names) <= 2:
            both = _BLACK, next(colour for colour in colours if colour != _BLACK)
            masks = len(self.content.every)
            reading = read_two_values(both, nearest.areas, masks, self.classes, self._received)
        else:
            reading = self._named(colours)
        if len(colours) < 2:
            message = f"All pixels have the colour {text_of(colours[0])}. A network learns nothing from one class."
            reading = reading.with_reasons(findings=[Finding("problem", "", f"{message} Received: {self._received}")])
        return self._with_edges(reading._replace(ignore=void))

    def _occurring(self) -> list[RGB]:
        """Returns the colours that form areas; and thin ones, unless they are mixtures of two of these at edges."""
        solid = self._solid(list(self.areas))
        if self._is_lossy or len(self.areas) > _MAX_THIN:
            return solid
        mixed = {colour: self._mixed(colour, solid) for colour in self.areas if colour not in solid}
        found = [colour for colour in self.areas if not mixed.get(colour)]
        shades = Counter(both for parents in mixed.values() for both in parents)
        lone = [colour for colour, parents in mixed.items() if parents and all(shades[both] == 1 for both in parents)]
        lone = [colour for colour in lone if self.areas[colour].pixels >= _MIN_SOLID_PIXELS]
        if not lone or len(self.classes.names) == len(found):
            return found
        both = [colour for colour in self.areas if colour in found or colour in lone]
        if self.classes.names:
            return both
        raise self._question(
            f"Colours that occur only at edges, {shares(lone, self.areas, self.total)},",
            [
                Option("they are classes", values_line(self._named(both).values)),
                Option("they mix others", values_line(self._named(found).values), "nearest: true"),
            ],
        )

    def _mixed(self, colour: RGB, solid: Sequence[RGB]) -> list[tuple[RGB, RGB]]:
        """Returns the pairs of colours that a colour mixes, if every mask with this colour holds such a pair."""
        mixtures = [both for both in combinations(solid, 2) if _is_mixture(colour, *both)]
        masks = [mask.colours for mask in self.content.every if colour in mask.colours]
        return mixtures if all(any({*both} <= mask.keys() for both in mixtures) for mask in masks) else []

    def _named(self, colours: Sequence[RGB]) -> Reading:
        """Names colours by a convention, or by their hexadecimal value."""
        rows, source = self.classes.rows, self.classes.source
        if not rows:
            ordered = sorted(colours, key=lambda colour: (colour != _BLACK, colour))
            values = {colour: BACKGROUND if colour == _BLACK else text_of(colour) for colour in ordered}
            reason = "No table names the colours: the classes are called by their hexadecimal values."
            return Reading(tuple(values.values()), values, statements=(reason,))
        palette = zip(voc_palette(len(rows)), rows, strict=True)
        values = {colour: row.name for colour, row in palette if not row.ignored}
        if {*colours} <= values.keys() and len(colours) > 1:
            if _BLACK in colours and not (self.classes.settled or rows[0].ignored or is_background(rows[0].name)):
                others = dict(zip(voc_palette(len(rows) + 1), [BACKGROUND, *self.classes.names], strict=False))
                raise self._question(
                    f"Black ({share(self.areas[_BLACK].pixels, self.total)}), PASCAL VOC's colour of the background,",
                    [
                        Option(f"it is {rows[0].name}, the first of {source}", values_line(values)),
                        Option("it is a background of its own", values_line(others)),
                    ],
                )
            reason = f"There are no colours in {source}, but PASCAL VOC's fit, in the same order."
            return Reading(self.classes.names, values, statements=(reason,))
        palette = zip(voc_palette(len(rows) + 1)[1:], rows, strict=True)
        shifted = {colour: row.name for colour, row in palette if not row.ignored}
        if {*colours} <= shifted.keys() and len(colours) > 1:
            raise InputError(
                f"The masks hold PASCAL VOC's colours of 1 to {len(rows)}, {shares(colours, self.areas, self.total)}, "
                "without black, the colour of 0: they look shifted by one. If they are, write this into "
                f"{self.classes.yaml}: `{values_line(shifted)}`. Received: {self._received}"
            )
        raise InputError(
            f"The masks hold {len(colours)} colours, {shares(colours, self.areas, self.total)}, but {source} names "
            f"{len(self.classes.names)} classes without colours. Write the class of each colour into "
            f"{self.classes.yaml}, as in `{values_line(dict.fromkeys(colours[:3], 'NAME'))}`. "
            f"Received: {self._received}"
        )

    def _solid(self, colours: Sequence[RGB]) -> list[RGB]:
        """Returns those of the colours that form areas, the largest first, without such as JPEG made of another one."""
        inside = sum(area.pixels - area.edges for area in self.areas.values())
        least = max(_MIN_SOLID_PIXELS, (_MIN_SOLID_LOSSY if self._is_lossy else _MIN_SOLID) * inside)
        areas = {colour: self.areas[colour] for colour in colours}
        solid = [
            colour for colour, area in areas.items() if area.is_solid and area.pixels - area.edges >= min(least, inside)
        ]
        if not self._is_lossy:
            return solid
        kept: list[RGB] = [colour for colour in self.areas if colour not in areas]
        start = len(kept)
        for colour in solid:
            if all(_distance(colour, other) > _NEAR for other in kept):
                kept.append(colour)
        return kept[start:]

    def _with_edges(self, reading: Reading) -> Reading:
        """Reads colours that are not listed as the nearest listed one, up to `MAX_INEXACT`."""
        listed = [*reading.values, *reading.ignore]
        nearest = to_nearest(self.areas, listed)
        inexact, between = nearest.inexact + self._uncounted, nearest.between + self._uncounted
        if not inexact:
            return reading
        extra = [colour for colour in self.areas if colour not in listed]
        if between > MAX_INEXACT * self.total:
            raise self._unlisted(extra, reading.values)
        cause = "JPEG compression, or edges" if self._is_lossy else "anti-aliased edges, say"
        such = f"such as {', '.join(map(text_of, extra[:3]))}"
        other = share(inexact, self.total)
        text = f"{other} of the pixels have other colours ({cause}), {such}; they take the nearest one."
        findings = []
        if between > _UNREMARKABLE * self.total:
            message = (
                f"{share(between, self.total)} of the pixels have colours between those of the classes, {such}. An "
                "edge between two classes may look like a third one."
            )
            findings.append(Finding("warning", "", message))
        return reading._replace(nearest=True).with_reasons(text, findings=findings)

    def _unlisted(self, colours: Sequence[RGB], listed: Mapping[RGB, object], files: Sequence[str] = ()) -> InputError:
        masks = self.content.every
        greys, others = ([mask.file for mask in masks if (mask.kind == "grey") is grey] for grey in (True, False))
        if greys and others:
            return InputError(
                f"{len(greys)} masks hold grey values and {len(others)} colours; one coding must fit all. Convert one "
                f"kind. Received: {greys[0]}, {others[0]}"
            )
        return InputError(
            f"The masks hold colours that {self.classes.source or 'no table'} does not list: "
            f"{shares(colours, self.areas, self.total)}. Listed: {join_names(list(map(text_of, listed)))}. Add them, "
            f"to `ignore` of {self.classes.yaml} if they have no class. Received: {join_names(files) or self._received}"
        )


def _distance(one: Stored, other: Stored) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5


def _is_mixture(colour: RGB, one: RGB, other: RGB) -> bool:
    """Whether a colour lies between two others, as anti-aliasing mixes them."""
    point, start, end = np.array([colour, one, other], np.float64)
    along = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    return bool(np.linalg.norm(start + along * (end - start) - point) <= _ROUNDING)
