"""Pairs of images and masks, by what their paths have in common.

The path of a mask differs from that of its image in one run of folders, such as `images` and `masks`, in one affix of
the name, such as `_mask`, and in the suffix. Every such difference that relates many files is a `Match`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

from keras_crosscoop.data.own.vocabulary import Role, SplitName, is_train_ids, role, split_names

Key = str | tuple[str, str]  # what remains of a name without its affix; two parts if it was in the middle

PLAIN = "{name}"

_SEPARATOR = re.compile(r"[_\-. ~+@()]+")
_LETTERS_FIRST = re.compile(r"([^\W\d_]+)(?=\d)")
_LETTERS_LAST = re.compile(r"(?<=\d)([^\W\d_]+)$")
_LETTER = re.compile(r"[^\W\d_]")
_DEEPEST = 3  # an affix consists of up to three words
_NUMBERED = 0.15  # the share of names from which a number is an affix
_MOST = 80  # affixes that are looked at


def affixes(stem: str) -> Iterator[tuple[str, Key]]:
    """Yields the ways to leave out an affix of a name: a template of the name, and the rest.

    Example:
        >>> dict(affixes("7_mask"))
        {'{name}': '7_mask', '{name}_mask': '7', '7_{name}': 'mask'}
    """
    yield PLAIN, stem
    if "{" in stem or "}" in stem:
        return
    separators = [match.span() for match in _SEPARATOR.finditer(stem)]
    inner = [(start, end) for start, end in separators if start > 0 and end < len(stem)]
    for start, _ in inner[: -_DEEPEST - 1 : -1]:
        yield f"{PLAIN}{stem[start:]}", stem[:start]
    for _, end in inner[:_DEEPEST]:
        yield f"{stem[:end]}{PLAIN}", stem[end:]
    if last := _LETTERS_LAST.search(stem):
        yield f"{PLAIN}{last[1]}", stem[: last.start()]
    if first := _LETTERS_FIRST.match(stem):
        yield f"{first[1]}{PLAIN}", stem[first.end() :]
    for (start, begin), (stop, end) in pairwise(inner):
        if _LETTER.search(stem, begin, stop):
            yield f"{PLAIN}{stem[start:end]}{{part}}", (stem[:start], stem[end:])


def common_affixes(templates: Collection[Iterable[str]]) -> set[str]:
    """Returns the templates of `affixes` that many names have in common.

    Affixes must hold a letter, because numbers tell images apart, unless very many names have them.

    Args:
        templates: The templates of each name.
    """
    counts = Counter(template for of_name in templates for template in of_name)
    least = max(1, len(templates) // 200)
    common = [
        template
        for template, count in counts.items()
        if count >= least
        and (_LETTER.search(constant(template)) or (count > 1 and count >= _NUMBERED * len(templates)))
    ]
    named = {template for template in common if role(constant(template))[:3] != (False, False, False)}
    frequent = sorted(common, key=lambda template: (-counts[template], template))[:_MOST]
    return {PLAIN, *frequent, *sorted(named, key=lambda template: -counts[template])[:_MOST]}


def constant(template: str) -> str:
    """Returns a template's text without its placeholders."""
    return re.sub(r"\{\w+\}", " ", template).strip()


def drawn_over(stem: str, others: Collection[str]) -> bool:
    """Whether a name is that of another image with a word such as "overlay", so that the file is a drawing of it."""
    return any(
        rest in others and template != PLAIN and role(constant(template)).aside for template, rest in affixes(stem)
    )


def classes_after(stems: Iterable[str], images: Collection[str]) -> tuple[str, dict[str, str]] | None:
    """Finds names of classes after names of images, as in "7-road" for the image "7".

    Args:
        stems: The names of masks, without suffix.
        images: The names of images, without suffix.

    Returns:
        The text between both, and the class of each mask; None if nine of ten masks are not named like this.
    """
    stems = list(stems)
    named: dict[str, dict[str, str]] = {}  # separator -> mask -> class
    for stem in stems:
        for match in reversed(list(_SEPARATOR.finditer(stem))):
            if stem[: match.start()] in images and match.end() < len(stem):
                named.setdefault(match[0], {})[stem] = stem[match.end() :]
                break
    if not named:
        return None
    separator, classes = max(named.items(), key=lambda item: len(item[1]))
    return (separator, classes) if len(classes) >= 0.9 * len(stems) else None


ANY = "*"  # in the pattern of a folder: a name that an image's folder and its mask's folder share
_SPLIT = "{split}"
_LONGEST = 3  # folders that differ
_SAMPLED = 300  # pairs of folders to count files in


@dataclass(eq=False)
class Unit:
    """The files in one folder, not below it, with suffixes of one group.

    Attributes:
        folder: The relative path of the folder; "" for the data set's own.
        parts: The names in this path, with `{split}` in place of a split.
        split: The split in the path, if any.
        group: The suffixes, in lower case. Files with suffixes of two groups share their stems.
        files: The file of each stem.
        affixes: The common affixes; for each, the stem of each rest.
    """

    folder: str
    parts: tuple[str, ...]
    split: SplitName | None
    group: tuple[str, ...]
    files: dict[str, Path] = field(default_factory=dict)
    affixes: dict[str, dict[Key, str]] = field(default_factory=dict)

    @property
    def role(self) -> Role:
        """The contents that the names of the folders suggest."""
        return role(" ".join(self.parts).replace(_SPLIT, " "))


class Side(NamedTuple):
    """The images, or the masks, of a match.

    Attributes:
        pattern: The names of the folders, with `ANY` and `{split}`; further folders may follow.
        stem: The template of the stem.
        group: The suffixes.
    """

    pattern: tuple[str, ...]
    stem: str
    group: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """A relation between images and masks.

    Attributes:
        images: The images.
        masks: The masks.
        count: The number of pairs, of a sample if there are very many folders.
        score: The number of pairs, weighted by how well the names suit images and masks.
        decided: Whether the names say which are the masks.
        units: The folders.
    """

    images: Side
    masks: Side
    count: int
    score: float
    decided: bool
    units: tuple[tuple[Unit, Unit], ...] = field(repr=False)

    @cached_property
    def pairs(self) -> dict[Path, Path]:
        """The mask of each image."""
        pairs = {}
        for images, masks in self.units:
            masks_by_rest = masks.affixes.get(self.masks.stem, {})
            for rest, stem in images.affixes.get(self.images.stem, {}).items():
                if rest in masks_by_rest:
                    pairs[images.files[stem]] = masks.files[masks_by_rest[rest]]
        return pairs


def units(files: Mapping[str, Path]) -> list[Unit]:
    """Sorts files by folder and group of suffixes.

    Args:
        files: The files by relative path.
    """
    folders: dict[str, dict[str, dict[str, Path]]] = defaultdict(lambda: defaultdict(dict))  # folder, suffix, stem
    for path, file in files.items():
        folder, _, name = path.rpartition("/")
        folders[folder][file.suffix.lower()][name.removesuffix(file.suffix)] = file
    groups = _suffix_groups(folders)
    splits = split_names(part for folder in folders for part in folder.split("/"))
    result: dict[tuple[str, tuple[str, ...]], Unit] = {}
    for folder, by_suffix in folders.items():
        parts, split = _parts(folder, splits)
        for suffix, by_stem in by_suffix.items():
            unit = result.setdefault((folder, groups[suffix]), Unit(folder, parts, split, groups[suffix]))
            unit.files.update(by_stem)
    by_stem = {id(unit): {stem: list(affixes(stem)) for stem in unit.files} for unit in result.values()}
    common = common_affixes(
        [[template for template, _ in ways] for stems in by_stem.values() for ways in stems.values()]
    )
    for unit in result.values():
        for stem, ways in by_stem[id(unit)].items():
            for template, rest in ways:
                if template in common:
                    unit.affixes.setdefault(template, {})[rest] = stem
    return list(result.values())


def _suffix_groups(folders: Mapping[str, Mapping[str, Mapping[str, Path]]]) -> dict[str, tuple[str, ...]]:
    """Groups suffixes of which a folder holds one per stem, such as .jpg and .png in a folder of various images."""
    counts = Counter({})
    shared = Counter({})
    for by_suffix in folders.values():
        counts.update({suffix: len(stems) for suffix, stems in by_suffix.items()})
        for one, other in product(by_suffix, by_suffix):
            if one < other:
                shared[one, other] += len(by_suffix[one].keys() & by_suffix[other].keys())
    groups: list[list[str]] = []
    for suffix, count in counts.most_common():
        for group in groups:
            if ".npy" not in (suffix, *group) and all(
                shared[min(suffix, one), max(suffix, one)] <= 0.05 * min(count, counts[one]) for one in group
            ):
                group.append(suffix)
                break
        else:
            groups.append([suffix])
    return {suffix: tuple(sorted(group)) for group in groups for suffix in group}


def _parts(folder: str, splits: Mapping[str, SplitName]) -> tuple[tuple[str, ...], SplitName | None]:
    parts, split = [], None
    for name in folder.split("/") if folder else ():
        named = splits.get(name)
        if (named and split in (None, named)) or (named and split and named.text == split.text):
            split = split or named
            parts.append(named.pattern)
        else:
            parts.append(name)
    return tuple(parts), split


def find_matches(
    all_units: Collection[Unit], images: Collection[Path] | None = None, masks: Collection[Path] | None = None
) -> list[Match]:
    """Finds the relations between images and masks, those with the highest scores first.

    Args:
        all_units: The folders.
        images: The files that are known to be images. Other files are masks.
        masks: The files that are known to be masks. Other files are images.
    """
    linked: dict[tuple, list[tuple[Unit, Unit]]] = defaultdict(list)
    for entries in _related(all_units):
        for (one, first), (other, second) in product(entries, entries):
            if _are_related(one, first, other, second):
                linked[first[0], one.group, second[0], other.group].append((one, other))
    matches = []
    for (first, group, second, other_group), pairs in linked.items():
        counts: Counter[tuple[str, str]] = Counter()
        for one, other in sorted(pairs, key=lambda pair: -len(pair[0].files))[:_SAMPLED]:
            for (template, rests), (other_template, other_rests) in product(one.affixes.items(), other.affixes.items()):
                same = template == other_template
                if same and (template != PLAIN or one is other):
                    continue
                common = rests.keys() & other_rests.keys()
                if common and (images is not None or masks is not None):
                    common = [
                        key
                        for key in common
                        if _may_pair(one.files[rests[key]], other.files[other_rests[key]], images, masks)
                    ]
                if common:
                    counts[template, other_template] += len(common)
        for (template, other_template), count in counts.items():
            sides = Side(first, template, group), Side(second, other_template, other_group)
            weight, decided = _weight(*sides, known_images=images is not None, known_masks=masks is not None)
            if weight:
                matches.append(Match(*sides, count, weight * count, decided, tuple(pairs)))
    return sorted(matches, key=lambda match: (-match.score, _length(match), match.images, match.masks))


def _may_pair(image: Path, mask: Path, images: Collection[Path] | None, masks: Collection[Path] | None) -> bool:
    if images is not None and (image not in images or mask in images):
        return False
    return masks is None or (mask in masks and image not in masks)


_Pattern = tuple[tuple[str, ...], tuple[str, ...]]  # the folders' pattern, and the run of folders that differs


def _related(all_units: Collection[Unit]) -> Iterator[list[tuple[Unit, _Pattern]]]:
    """Yields units whose folders have the same names but for one run of names."""
    sizes: Counter[tuple[str, ...]] = Counter()
    runs: list[tuple[Unit, _Pattern, tuple[str, ...]]] = []
    for unit in all_units:
        places = [place for place, part in enumerate(unit.parts) if part != _SPLIT]
        spans = {(0, 0)} | {
            (start, start + length) for length in range(1, _LONGEST + 1) for start in range(len(places) - length + 1)
        }
        for start, stop in spans:
            inside = set(places[start:stop])
            run = tuple(unit.parts[place] for place in places[start:stop])
            rest = tuple(unit.parts[place] for place in places if place not in inside)
            pattern = [part if part == _SPLIT or place in inside else ANY for place, part in enumerate(unit.parts)]
            while pattern and pattern[-1] == ANY:
                pattern.pop()
            runs.append((unit, (tuple(pattern), run), rest))
            sizes[run] += len(unit.files)
    least = 0.02 * sizes[()]
    related: dict[tuple, list[tuple[Unit, _Pattern]]] = defaultdict(list)
    for unit, pattern, rest in runs:
        if sizes[pattern[1]] >= least or role(" ".join(pattern[1])).mask:
            related[unit.split and unit.split.split, rest].append((unit, pattern))
    for (split, rest), entries in related.items():
        if split is not None:  # the masks of all splits may lie in one folder
            entries = entries + related.get((None, rest), [])
        yield entries


def _are_related(one: Unit, first: _Pattern, other: Unit, second: _Pattern) -> bool:
    run, other_run = first[1], second[1]
    if one.folder == other.folder:
        return not run and not other_run
    if run == other_run or (run and other_run and (run[0] == other_run[0] or run[-1] == other_run[-1])):
        return False  # the same, or too long
    if other.split is None:
        return True
    return one.split is not None and (one.split.text == other.split.text or other.split.text == other.split.split)


_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|tiff?|bmp)(?![a-z])", re.IGNORECASE)  # within "a.jpg___fuse.png"


def _weight(images: Side, masks: Side, *, known_images: bool, known_masks: bool) -> tuple[float, bool]:
    """Returns how well the names suit an image and a mask, and whether they decide which is which."""
    texts = []
    for side, other in ((images, masks), (masks, images)):
        folders = [name for name in side.pattern if name not in other.pattern]
        texts.append(" ".join([*folders, _IMAGE_SUFFIX.sub(" ", constant(side.stem))]).replace(_SPLIT, " "))
    image_text, mask_text = texts
    image, mask = role(image_text), role(mask_text)
    known = known_images or known_masks
    wrong = (image.mask and not image.image and not known_images) or (mask.image and not mask.mask and not known_masks)
    if (wrong and not known) or images.group == (".npy",):
        return 0, True
    weight = 1.0 if known_images or image.image else 0.75
    if not known_masks and not mask.mask:
        weight *= 0.5
    if mask.aside and not known_masks:
        weight *= 0.55 if mask.mask else 0.2
    if (image.aside or image.mask) and not known_images:
        weight *= 0.5
    if wrong:
        weight *= 0.2
    if mask.ids:
        weight *= 1.7 if is_train_ids(mask_text) else 1.3
    if masks.group == (".npy",):
        weight *= 0.7
    if images.group != masks.group and {".jpg", ".jpeg"} & {*masks.group} - {*images.group}:
        weight *= 0.7
    return weight, known or ((mask.mask or image.image) and not (mask.image and image.mask))


def _length(match: Match) -> int:
    return sum(len(side.stem) + sum(map(len, side.pattern)) for side in (match.images, match.masks))
