"""Finds out how somebody's own images, masks and splits are laid out in a folder."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.choice import choose
from keras_crosscoop.data.own.description import SPLITS, Description, SplitSource, Template, split_source
from keras_crosscoop.data.own.file_index import MASK_SUFFIXES, FileIndex
from keras_crosscoop.data.own.lists import LIST_SUFFIXES, SplitLists, find_lists
from keras_crosscoop.data.own.matching import drawn_over, find_matches, units
from keras_crosscoop.data.own.pairs import described_pairs, find_pairs
from keras_crosscoop.data.own.path_templates import (
    PathTemplates,
    path_templates,
    sample_folders,
    split_by_name,
    substitute,
)
from keras_crosscoop.data.own.vocabulary import BACKGROUND, role, split_name, without_common_affixes
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import InputError, counted, join_names
from keras_crosscoop.images.io import IMAGE_SUFFIXES

_MOST_FOLDERS = 8  # folders in an error


class Layout(NamedTuple):
    """The images and masks in a folder.

    Attributes:
        images: The template of the images' paths, see `Description.images`.
        masks: The template of the masks' paths.
        sources: The images of each split, see `Description.train`. Without splits, there is only "train".
        pairs: The images and masks of each split. In "test", masks may be None.
        statements: What was found, in plain sentences.
        findings: Files without a partner, and files that are left out.
        classes: The names of the classes, if there is a file for each of them. Other pixels are `BACKGROUND`.
    """

    images: str | None
    masks: str | None
    sources: dict[str, SplitSource]
    pairs: dict[str, list[Pair]]
    statements: list[str]
    findings: list[Finding]
    classes: tuple[str, ...] = ()


def find_layout(index: FileIndex, description: Description) -> Layout:
    """Finds the images, masks and splits in a folder, as far as a description leaves them open.

    Args:
        index: The files in the folder.
        description: The description; its `path` is the folder of the index.

    Raises:
        InputError: There are no images or no masks, or two readings explain the files equally well.
    """
    if not index.root.is_dir():
        raise InputError(
            f"The folder that `path` of {description.file.name} names does not exist. Mend `path`, or leave it out if "
            f"the images lie beside the file. Received: {index.root}"
        )
    files = {path: file for path, file in index.by_path.items() if file.suffix.lower() in MASK_SUFFIXES}
    if not files:
        raise _refusal("The folder holds no images", files, index, description)
    notes: list[Finding] = []
    classes: tuple[str, ...] = ()
    given = [split for split in SPLITS if isinstance(getattr(description, split), str | tuple)]
    lists = _lists(index, description, None, None, notes) if not given and description.masks is None else None
    if lists and lists.with_masks:
        description = description.updated(**lists.sources)
    elif (description.images, description.masks) == (None, None) and not given and (found := sample_folders(files)):
        description = description.updated(images=found[0], masks=found[1])
    elif description.masks is None or not (given or description.images):
        known = _known_images(description, given, index)
        if known is None or None in known.values():
            description, classes, notes = _match(description, files, known, index, given)
    if not any(isinstance(getattr(description, split), str | tuple) for split in SPLITS):
        description = description.updated(**_template_sources(description, index))
    if "{class}" in (description.masks or ""):
        classes = classes or _classes(description, files)
        before, classes, after = without_common_affixes(classes)
        masks = description.masks.replace("{class}", f"{before}{{class}}{after}")
        description = description.model_copy(update={"masks": masks})
        description = description.updated(names=(BACKGROUND, *classes))
    pairs, findings = described_pairs(description, index, given)
    if not any(mask for split_pairs in pairs.values() for _, mask in split_pairs):
        raise _refusal("The folder holds images, but no image has a mask", files, index, description)
    settled = given or isinstance(description.train, tuple) or Path(str(description.train)).suffix in LIST_SUFFIXES
    used = {str(file) for split_pairs in pairs.values() for pair in split_pairs for file in _files(pair)}
    used |= {file for finding in (*findings, *notes) for file in finding.files}
    findings += [*_masks_without_images(description, files, used, bool(settled)), *notes]
    used |= {file for finding in findings for file in finding.files}
    return Layout(
        description.images,
        description.masks,
        {split: source for split in SPLITS if split in pairs and (source := getattr(description, split))},
        pairs,
        _statements(description, pairs, classes),
        [*findings, *_left_out(files, used, bool(settled))],
        classes,
    )


def _classes(description: Description, files: Iterable[str]) -> tuple[str, ...]:
    form = Template(text=description.masks)
    return tuple(sorted({values["class"] for path in files if (values := form.match(path))}))


def _known_images(description: Description, given: Sequence[str], index: FileIndex) -> dict[Path, object] | None:
    """Returns the images that the description names, with their masks if it names them, too; None if it is open."""
    if given:
        return {Path(str(image)): mask for split in given for image, mask in find_pairs(description, split, index)}
    if description.images:
        template = Template(text=description.images)
        known = {file: None for path, file in index.by_path.items() if template.match(path)}
        if not known:
            raise InputError(f"No file fits the template `images`. Mend it. Received: {description.images!r}")
        return known
    return None


def _match(
    description: Description,
    files: Mapping[str, Path],
    known: Mapping[Path, object] | None,
    index: FileIndex,
    given: Sequence[str],
) -> tuple[Description, tuple[str, ...], list[Finding]]:
    """Completes the description by the templates of images and masks and by the splits."""
    masks = None
    if description.masks:
        form = Template(text=description.masks)
        masks = {file for path, file in files.items() if form.match(path)}
    all_units = units(files)
    matches = find_matches(all_units, None if known is None else known.keys(), masks)
    if not matches:
        raise _refusal("The folder holds images, but no masks that pair with them", files, index, description)
    match, template, classes, notes = choose(matches, description)
    found = path_templates(match, all_units, index.root)
    paths = {file: path for path, file in files.items()}
    images = found.images
    if description.images:
        form = Template(text=description.images)
        values = {image: form.match(paths[image]) for image in match.pairs}
        template = substitute(values, {image: paths[mask] for image, mask in match.pairs.items()}) or template
    elif masks is not None:
        form = Template(text=description.masks)
        values = {mask: form.match(paths[mask]) for mask in match.pairs.values()}
        images = substitute(values, {mask: paths[image] for image, mask in match.pairs.items()}) or images
    sources = found.sources
    if not given and "{split}" not in (images or "") and sources.keys() == {"train"}:
        lists = _lists(index, description, images, template, notes)
        sources = lists.sources if lists else sources
        form = Template(text=images) if images and not lists else None
        names = [values["name"] for image in match.pairs if form and (values := form.match(paths[image]))]
        if names and (by_name := split_by_name(PathTemplates(images, template, sources), names)):
            images, template, sources = by_name
    if not given:
        description = description.updated(**sources)
    elif images and known is not None:  # splits that the description leaves open
        filled = description.updated(images=images, masks=template, **sources)
        for split in SPLITS[1:]:
            if split not in sources or getattr(description, split) is not None:
                continue
            if not {Path(str(image)) for image, _ in find_pairs(filled, split, index)} & known.keys():
                description = description.updated(**{split: sources[split]})
    return description.updated(images=images, masks=template), classes, notes


def _lists(
    index: FileIndex, description: Description, images: str | None, masks: str | None, notes: list[Finding]
) -> SplitLists | None:
    """Returns the best set of lists, and notes those that are left out.

    Raises:
        InputError: Two sets are equally good.
    """
    found = find_lists(index, images, masks)
    if images is None:
        found = [lists for lists in found if lists.with_masks]
    if not found:
        return None
    best, others = found[0], found[1:]
    for other in others:
        alike = other.with_masks == best.with_masks and len(other.sources) == len(best.sources)
        if alike and other.images == best.images and not _same_lists(best, other, index):
            raise InputError(
                "Two sets of lists divide the images into splits. Write one of these into "
                f"{description.file}: {_yaml(best)}; or {_yaml(other)}. Received: {index.root}"
            )
        notes.append(Finding("note", "", f"Lists were left out: {', '.join(map(str, other.sources.values()))}."))
    return best


def _same_lists(one: SplitLists, other: SplitLists, index: FileIndex) -> bool:
    return all(
        (index.root / str(one.sources[split])).read_bytes() == (index.root / str(other.sources.get(split))).read_bytes()
        for split in one.sources
        if split in other.sources
    )


def _yaml(lists: SplitLists) -> str:
    return ", ".join(f'{split}: "{source}"' for split, source in lists.sources.items())


def _template_sources(description: Description, index: FileIndex) -> dict[str, SplitSource]:
    """Returns the splits of a template of images that the description names."""
    form = Template(text=description.images)
    splits: dict[str, list[str]] = {}
    if "split" in form.placeholders:
        texts = {values["split"] for path in index.by_path if (values := form.match(path))}
        for text in sorted(texts):
            if named := split_name(text):
                splits.setdefault(named.split, []).append(text)
        if splits:
            return {split: split_source(names) for split, names in splits.items()}
        raise InputError(
            f"The template `images` has a placeholder {{split}}, but none of its values is a known split. Name them in "
            f"`train`, `val` and `test`. Received: {join_names(sorted(texts))}"
        )
    return {"train": "."}


def _masks_without_images(
    description: Description, files: Mapping[str, Path], used: Collection[str], settled: bool
) -> list[Finding]:
    """Returns a finding about masks without an image: a note if splits are settled, because they may be subsets."""
    if not description.masks:
        return []
    form = Template(text=description.masks)
    images = Template(text=description.images) if description.images else None
    lone = [path for path, file in files.items() if str(file) not in used and form.match(path)]
    lone = [path for path in lone if not (images and images.match(path) and role(path).aside)]
    if not lone:
        return []
    message = (
        f"{counted(len(lone), 'mask')} {'has' if len(lone) == 1 else 'have'} no image in any split. Add the images, or "
        f"remove the masks. Received: {join_names(lone)}"
    )
    return [Finding("note" if settled else "problem", "", message, tuple(str(files[path]) for path in lone))]


def _left_out(files: Mapping[str, Path], used: Collection[str], listed: bool) -> list[Finding]:
    """Tells the image files that are neither images nor masks, by folder.

    Those beside images or masks are a warning, unless splits are listed.
    """
    folders: dict[tuple[str, str, str], list[str]] = {}
    beside = {path.rpartition("/")[0] for path, file in files.items() if str(file) in used}
    stems = {path.removesuffix(file.suffix) for path, file in files.items() if str(file) in used}
    for path, file in files.items():
        if str(file) in used:
            continue
        folder = path.rpartition("/")[0]
        severity, reason = "note", "neither an image of a split nor its mask"
        if role(folder).aside or drawn_over(path.removesuffix(file.suffix), stems):
            reason = "their names suggest drawings, objects or predictions"
        elif folder in beside and not listed:
            severity = "warning"
        folders.setdefault((folder or ".", severity, reason), []).append(path)
    return [
        Finding(
            severity,
            "",
            f"{counted(len(paths), 'file')} in {folder} {'was' if len(paths) == 1 else 'were'} left out: {reason}. "
            f"Received: {join_names([path.rpartition('/')[2] for path in paths])}",
            tuple(str(files[path]) for path in paths),
        )
        for (folder, severity, reason), paths in folders.items()
    ]


def _statements(description: Description, pairs: Mapping[str, Sequence[Pair]], classes: Sequence[str]) -> list[str]:
    bare = {split for split in pairs if pairs[split] and not any(mask for _, mask in pairs[split])}
    counts = ", ".join(
        f"{len(split_pairs):,} {split}{' without masks' if split in bare else ''}"
        for split, split_pairs in pairs.items()
    )
    images = description.images or ", ".join(map(str, (getattr(description, split) for split in pairs)))
    statements = [f"Images: {images} ({counts})."]
    statements.append(f"Masks: {description.masks}." if description.masks else "Masks: as the lists name them.")
    if classes:
        statements.append(f"One mask for each class: {', '.join(classes)}; other pixels are {BACKGROUND}.")
    named = {split: getattr(description, split) for split in pairs}
    if len(named) > 1 and any(source != split for split, source in named.items()):
        statements.append("Splits: " + ", ".join(f"{split} from {source}" for split, source in named.items()) + ".")
    return statements


def _files(pair: Pair) -> tuple[object, ...]:
    image, mask = pair
    return (image, *getattr(mask, "paths", (mask,)))


def _refusal(problem: str, files: Mapping[str, Path], index: FileIndex, description: Description) -> InputError:
    """Returns the error that lists the content of the folder beside the expected layouts."""
    folders: dict[str, Counter[str]] = {}
    names: dict[str, list[str]] = {}
    for path, file in (files or index.by_path).items():
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder or ".", Counter())[file.suffix.lower() or "no suffix"] += 1
        names.setdefault(folder or ".", []).append(name)
    there = [
        f"{folder} ({', '.join(f'{count:,} {suffix}' for suffix, count in counts.most_common(3))}: "
        f"{join_names(names[folder])})"
        for folder, counts in list(folders.items())[:_MOST_FOLDERS]
    ]
    more = f" and {len(folders) - _MOST_FOLDERS:,} more folders" if len(folders) > _MOST_FOLDERS else ""
    masks = sum(sum(counts.values()) for folder, counts in folders.items() if role(folder).mask)
    several = masks > 1.5 * (sum(map(len, names.values())) - masks) > 0
    tasks = [name for folder in names.values() for name in folder if name.startswith("task-")]
    hint = " Masks of Label Studio name tasks, not images: export them with their JSON file." if tasks else ""
    if several and not tasks:
        hint = " There are more masks than images: merge the masks of one image's objects into one of classes."
    return InputError(
        f"{problem}. Expected images ({', '.join(IMAGE_SUFFIXES)}) and masks of the same names in folders such as "
        f"images/ and masks/, or names such as x.jpg and x_mask.png; or `images` and `masks` in "
        f"{description.file}; polygons need `crosscoop-tf data import`.{hint} Found: "
        f"{'; '.join(there) + more if there else 'no files'}. Received: {index.root}"
    )
