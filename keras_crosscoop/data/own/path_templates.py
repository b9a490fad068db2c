"""Templates of the paths of images and masks, and sources of splits, for a match."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_crosscoop.data.own.description import SplitSource, Template, split_source
from keras_crosscoop.data.own.matching import ANY, PLAIN, Match, Side, Unit
from keras_crosscoop.data.own.vocabulary import named_split, role, split_name
from keras_crosscoop.images.io import IMAGE_SUFFIXES

_SPLIT = "{split}"


class PathTemplates(NamedTuple):
    """The templates of images and masks, and the sources of the splits, as in `Description`."""

    images: str | None
    masks: str
    sources: dict[str, SplitSource]


def path_templates(match: Match, all_units: Collection[Unit], root: Path) -> PathTemplates:
    """Returns the templates that a match stands for.

    Args:
        match: The match.
        all_units: The folders, also those of images without masks.
        root: The folder of the data set.
    """
    images, masks = templates(match)
    if _SPLIT in images and any(_split_text(one) != _split_text(other) for one, other in match.units if other.split):
        before, _, after = images.partition(_SPLIT)  # such as images/validation with masks/val
        sources = _split_sources(match.images, all_units)
        folders = {
            split: _each(lambda text: (before + text + after).partition("/{")[0], source)
            for split, source in sources.items()
        }
        return PathTemplates(None, masks, folders)
    if _SPLIT in images:
        return PathTemplates(images, masks, _split_sources(match.images, all_units))
    folder = _folder(images, next(iter(match.pairs)), root)
    test = [unit for unit in all_units if _is_unlabelled_test(unit, match)]
    if test and images.partition(PLAIN)[0] in ("", f"{folder}/") and match.images.stem == PLAIN:
        folders = tuple(sorted({_folder_of(unit, root) for unit in test}))
        return PathTemplates(None, masks, {"train": folder, "test": split_source(folders)})
    return PathTemplates(images, masks, {"train": folder})


def _split_text(unit: Unit) -> str:
    return unit.split.text if unit.split else ""


def _each(change: Callable[[str], str], source: SplitSource) -> SplitSource:
    return change(source) if isinstance(source, str) else tuple(map(change, source))


def split_by_name(found: PathTemplates, names: Collection[str]) -> PathTemplates | None:
    """Returns templates for names such as "train_7" and "val_8", which begin with the split.

    Args:
        found: The templates without splits.
        names: The values of `{name}`.
    """
    beginnings = [re.match(r"([^\W\d_]+)[_\-. ]", name) for name in names]
    texts = {match[1] for match in beginnings if match}
    splits = {text: split for text in texts if (split := named_split(text))}
    if None in beginnings or len(splits) != len(texts) or not {"train"} < set(splits.values()):
        return None
    separators = {match[0][len(match[1]) :] for match in beginnings}
    if len(separators) > 1:
        return None
    name = f"{_SPLIT}{separators.pop()}{PLAIN}"
    sources = {
        split: split_source(sorted(text for text in texts if splits[text] == split)) for split in splits.values()
    }
    return PathTemplates(
        found.images.replace(PLAIN, name),
        found.masks.replace(PLAIN, name),
        sources,
    )


def templates(match: Match) -> tuple[str, str]:
    """Returns the templates of images and masks."""
    used = [
        (one, other)
        for one, other in match.units
        if one.affixes.get(match.images.stem, {}).keys() & other.affixes.get(match.masks.stem, {}).keys()
    ]
    sides = match.images, match.masks
    fixed = max(side.pattern.count(ANY) for side in sides)  # shared names that have their own placeholders
    rests = [_rest(unit, match.images.pattern) for unit, _ in used]
    depths = {len(rest) for rest in rests}
    if any(not side.stem.startswith(PLAIN) for side in sides) and len(depths) == 1 and len({*rests}) > 1:
        fixed = depths.pop()  # `{name}` spans folders only if it comes first
    shared = [_name_or_placeholder({rest[place] for rest in rests}, place) for place in range(fixed)]
    tails = [rest[fixed:] for rest in rests]
    common = 0
    while all(len(tail) > common and tail[common] == tails[0][common] for tail in tails):
        common += 1
    tail = list(tails[0][:common])
    pairs = match.pairs
    return (
        _render(match.images, shared, tail, pairs.keys()),
        _render(match.masks, shared, tail, pairs.values()),
    )


def _rest(unit: Unit, pattern: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names in a folder's path that images and masks share."""
    matched = [part for part, name in zip(unit.parts, pattern, strict=False) if name == ANY]
    return (*matched, *unit.parts[len(pattern) :])


def _name_or_placeholder(names: set[str], place: int) -> str:
    if len(names) == 1:
        return next(iter(names))
    return "{folder}" if place == 0 else f"{{folder{place + 1}}}"


def _render(side: Side, shared: list[str], tail: list[str], files: Iterable[Path]) -> str:
    rest = iter([*shared, *tail])
    parts = [next(rest) if name == ANY else name for name in side.pattern]
    suffixes = {file.suffix for file in files}
    return "/".join([*parts, *rest, side.stem + (suffixes.pop() if len(suffixes) == 1 else "")])


def _split_sources(side: Side, all_units: Iterable[Unit]) -> dict[str, SplitSource]:
    texts: dict[str, dict[str, None]] = {"train": {}, "val": {}, "test": {}}
    for unit in sorted(all_units, key=lambda unit: unit.folder):
        if unit.split and _fits(unit, side):
            texts[unit.split.split][unit.split.text] = None
    if len(texts["train"]) > 1:  # "trainval" repeats "train"
        texts["train"] = {text: None for text in texts["train"] if text.lower() != "trainval"}
    return {split: split_source(names) for split, names in texts.items() if names}


def _fits(unit: Unit, side: Side) -> bool:
    return (
        unit.group == side.group
        and len(unit.parts) >= len(side.pattern)
        and all(name in (ANY, part) for part, name in zip(unit.parts, side.pattern, strict=False))
        and side.stem in unit.affixes
    )


def _is_unlabelled_test(unit: Unit, match: Match) -> bool:
    suffixes = {file.suffix.lower() for file in unit.files.values()}
    in_match = {id(one) for pair in match.units for one in pair}
    return bool(
        unit.split
        and unit.split.split == "test"
        and suffixes <= {*IMAGE_SUFFIXES}
        and id(unit) not in in_match
        and not unit.role.mask
        and not unit.role.aside
    )


def _folder(template: str, image: Path, root: Path) -> str:
    """Returns the folder before the first placeholder, as the file system spells it; "." for the data set's own."""
    depth = template.partition("{")[0].count("/")
    return "/".join(image.relative_to(root).parts[:depth]) or "."


def _folder_of(unit: Unit, root: Path) -> str:
    return next(iter(unit.files.values())).parent.relative_to(root).as_posix()


def substitute(values: Mapping[Path, Mapping[str, str]], partners: Mapping[Path, str]) -> str | None:
    """Returns the template of the partners' paths in terms of the placeholders' values; None if there is none.

    Args:
        values: The values of the placeholders for each file.
        partners: The relative path of each file's partner.
    """
    found: Counter[str] = Counter()
    suffixes = {Path(path).suffix for path in partners.values()}
    for file, path in partners.items():
        text = path if len(suffixes) == 1 else path.removesuffix(Path(path).suffix)
        for name, value in sorted(values[file].items(), key=lambda item: (-len(item[1]), item[0] != "name")):
            before, separator, after = text.rpartition(value)
            if separator:
                text = f"{before}{{{name}}}{after}"
        found[text] += 1
    if not found:
        return None
    text, count = found.most_common(1)[0]
    return text if count >= 0.9 * len(partners) and Template(text=text).placeholders else None


def sample_folders(files: Collection[str]) -> tuple[str, str] | None:
    """Returns the templates of images and masks if each sample has a folder, such as 7/image.png and 7/mask.png.

    Args:
        files: Relative paths.
    """
    counts = Counter(path.rpartition("/")[2] for path in files)
    folders = {path.rpartition("/")[0] for path in files}
    common = [name for name, count in counts.items() if count > max(2, 0.8 * len(folders))]
    images = [name for name in common if role(name).image]
    masks = [name for name in common if role(name).mask and not role(name).aside]
    if len(images) != 1 or len(masks) != 1 or not all(folders):
        return None
    tops = {folder.partition("/")[0] for folder in folders}
    folder = "{split}/{name}" if all(map(split_name, tops)) else "{name}"
    return f"{folder}/{images[0]}", f"{folder}/{masks[0]}"
