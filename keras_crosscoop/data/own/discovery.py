"""Finds out how somebody's own data set is laid out and coded, as far as its `dataset.yaml` leaves this open."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from keras_crosscoop.data.coding import Coding, text_of
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.class_tables import choose_classes, find_tables
from keras_crosscoop.data.own.coding_discovery import find_coding
from keras_crosscoop.data.own.description import CODING_ENTRIES, FILE_NAMES, SPLITS, Description, dump, read_description
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.data.own.image_content import find_image_reading
from keras_crosscoop.data.own.layout import described_pairs, find_layout
from keras_crosscoop.data.own.mask_content import sample_masks
from keras_crosscoop.data.own.pairs import MaskPerClass
from keras_crosscoop.data.own.reading import values_line
from keras_crosscoop.data.own.splitting import split_by_groups
from keras_crosscoop.data.own.vocabulary import BACKGROUND, is_background
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.palettes import CLEAR, RGB, distinct_colours
from keras_crosscoop.images.reading import DESCRIPTION_FILE
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import atomic_write

OWN = "folder"  # the catalogue's name for somebody's own data set

_CITYSCAPES_NAME = re.compile(r"[a-z-]+_\d{6}_\d{6}_leftImg8bit\.png")
_CAMVID_NAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+\.")
_VOC_NAME = re.compile(r"20\d\d_\d{6}")
_RECORDS = re.compile(r'"name"\s*:\s*"(\w+)"')


def is_path(name: str | os.PathLike) -> bool:
    """Returns whether a data set is given by its path instead of its name."""
    return isinstance(name, os.PathLike) or os.sep in name or Path(name).exists()


def recognise(path: Path) -> str:
    """Returns the name in the catalogue of the data set in a folder: "folder" for somebody's own.

    A `dataset.yaml` in the folder makes it somebody's own, whatever its layout.
    """
    if path.is_file() or any((path / name).is_file() for name in FILE_NAMES):
        return OWN
    for name, fits in (("cityscapes", _is_cityscapes), ("camvid", _is_camvid), ("voc2012", _is_voc)):
        if fits(path):
            return name
    return _recorded_name(path) or OWN


def _is_cityscapes(path: Path) -> bool:
    """Other data sets have the same folders, such as IDD, but other names of images."""
    package = path / "leftImg8bit_trainvaltest"
    for folder in (path / "leftImg8bit", package / "leftImg8bit"):
        if folder.is_dir():
            image = next(folder.glob("*/*/[!.]*"), None)
            return image is None or bool(_CITYSCAPES_NAME.fullmatch(image.name))
    return package.with_suffix(".zip").is_file()


def _is_camvid(path: Path) -> bool:
    """Other data sets have the same folders, but other names of images."""
    if not all((path / folder).is_dir() for folder in ("train", "trainannot", "val", "valannot")):
        return False
    image = next((path / "train").glob("[!.]*"), None)
    return image is None or bool(_CAMVID_NAME.match(image.name))


def _is_voc(path: Path) -> bool:
    """Other tools write the same layout, but neither VOC's names of images nor its list of training images."""
    for root in (path, path / "VOC2012", path / "VOCdevkit" / "VOC2012"):
        names = root / "ImageSets" / "Segmentation" / "train.txt"
        if names.is_file() and not (root / "labelmap.txt").exists():
            first = names.read_text("utf-8", errors="replace")[:1000].split()
            return bool(first) and all(map(_VOC_NAME.fullmatch, first[:5]))
    return False


def _recorded_name(path: Path) -> str | None:
    for info in (
        path / "dataset_info.json",
        *path.glob("*/*.*.*/dataset_info.json"),
        *path.glob("*.*.*/dataset_info.json"),
    ):
        if info.is_file() and (name := _RECORDS.search(info.read_text("utf-8", errors="replace"))):
            return name[1]
    return None


VAL_SHARE = 0.2  # of the training images, if the folder has no validation split
SPLIT_SEED = 0


class Discovery(NamedTuple):
    """A described data set.

    Attributes:
        description: The complete description.
        pairs: The images and masks of each split.
        statements: What was found, in plain sentences.
        findings: Problems, warnings and notes.
    """

    description: Description
    pairs: Mapping[str, Sequence[Pair]]
    statements: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def describe(described: Description) -> Discovery:
    """Finds out what a description leaves open. What it settles is not questioned.

    Args:
        described: A description; its `path` is set.

    Raises:
        InputError: Images and masks cannot be told apart, or the masks can be read in several ways.
    """
    index = FileIndex(described.path)
    if described.is_complete:
        pairs, findings = described_pairs(described, index)
        return Discovery(described, pairs, findings=tuple(findings))
    layout = find_layout(index, described)
    pairs, statements = dict(layout.pairs), [*layout.statements]
    sources = dict(layout.sources)
    if "val" not in pairs and "train" in pairs:
        sources["val"] = described.val if isinstance(described.val, float) else VAL_SHARE
        pairs["train"], pairs["val"] = split_by_groups(pairs["train"], sources["val"], SPLIT_SEED)
        counts = f"{len(pairs['val'])} of {len(pairs['train']) + len(pairs['val'])} images"
        statements.append(
            f"The validation split (`val: {described.val}`) has {counts}, as equal and near-equal images stay together."
            if isinstance(described.val, float)
            else f"There is no validation split: {counts} become one, with equal and near-equal images kept together."
        )
        pairs = {split: pairs[split] for split in SPLITS if split in pairs}
    if described.class_names:
        statements.append(f"The classes are named in {described.file.name}.")
    if layout.classes:  # one file for each class
        described = described.updated(names=(BACKGROUND, *layout.classes))
    coding = find_coding(sample_masks(pairs), find_tables(index, strict=not described.class_names), described)
    reading = find_image_reading(pairs, described)
    complete = coding.complete(described).updated(
        images=layout.images,
        masks=layout.masks,
        **sources,
        range=reading.range,
        channels=reading.channels,
        orientation=reading.orientation,
    )
    return Discovery(
        complete,
        pairs,
        (*statements, *coding.statements, *reading.statements),
        (*layout.findings, *coding.findings, *reading.findings),
    )


def open_own(path: Path, known: Description | None = None) -> Dataset:
    """Opens somebody's own data set.

    Args:
        path: The folder, or a `dataset.yaml`.
        known: An earlier description, such as a run's. Its classes and coding also hold here, unless the folder or its
            own description names other classes.

    Raises:
        InputError: See `read_description` and `describe`.
    """
    description = read_description(path)
    if known is not None and not _names_others(description, known):
        description = description.updated(**{name: getattr(known, name) for name in CODING_ENTRIES})
    return open_discovery(describe(description))


def open_stored(folder: Path) -> Dataset:
    """Opens the data set that `store` described in a folder, which may have been moved since."""
    description = read_description(folder / DESCRIPTION_FILE)
    lists = {split: folder / f"{split}.csv" for split in SPLITS}
    moved = {split: str(path.absolute()) for split, path in lists.items() if path.is_file()}
    return open_discovery(describe(description.model_copy(update=moved)))


def _names_others(description: Description, known: Description) -> bool:
    """Returns whether a description, or a table in its folder, names other classes, or in another order."""
    if description.names is not None:
        return description.names != known.names
    if description.values is not None:
        return not {*description.values.values()} <= {*known.names}
    classes = choose_classes(find_tables(FileIndex(description.path)), description)
    if not {*classes.names} <= {*known.names}:
        return True
    if isinstance(next(iter(known.values)), tuple):  # greys may stand for integers
        table = classes.by_colour or {(value,) * 3: row for value, row in classes.values.items()}
    else:
        table = classes.values
    if table:
        return any(known.values.get(stored, row.name) != row.name for stored, row in table.items())
    return [*classes.names] != [name for name in known.names if name in classes.names]


def open_discovery(discovery: Discovery) -> Dataset:
    """Opens the data set of a discovery."""
    description, pairs = discovery.description, discovery.pairs
    return Dataset(
        name="folder",
        classes=description.names,
        palette=palette(description),
        splits=tuple(pairs),
        find=lambda split: list(pairs[split]),
        coding=coding(description),
        reading=description.reading,
        unlabelled=tuple(split for split in pairs if pairs[split] and all(mask is None for _, mask in pairs[split])),
        description=description,
        statements=discovery.statements,
        findings=discovery.findings,
    )


def coding(description: Description) -> Coding:
    """Returns the class of each stored value or colour. Without `values`, the values are ids, and 255 is void.

    Raises:
        InputError: `values` holds colours and `ignore` integers, or the reverse, as two descriptions together may.
    """
    ignore = description.ignore
    if description.values is None:
        names: Mapping = dict(enumerate(description.names))
        ignore = (IGNORE_LABEL,) if ignore is None else ignore
    else:
        names = description.values
    ids = {stored: description.names.index(name) for stored, name in names.items()}
    try:
        return Coding({**ids, **dict.fromkeys(ignore or (), IGNORE_LABEL)}, nearest=bool(description.nearest))
    except ValueError as error:
        raise InputError(
            "`values` and `ignore` must both hold integers, or both colours. Mend `ignore` of "
            f"{description.file.name}. Received: {values_line(names)}, "
            f"ignore: {list(map(text_of, ignore))} in {description.path}"
        ) from error


def palette(description: Description) -> tuple[RGB, ...]:
    """Returns the colour of each class; those without one get colours that can be told apart, a background `CLEAR`."""
    colours = dict.fromkeys(list(filter(is_background, description.names))[:1], CLEAR) | (description.colours or {})
    missing = [name for name in description.names if name not in colours]
    colours |= zip(missing, distinct_colours(len(missing), tuple(colours.values())), strict=True)
    return tuple(colours[name] for name in description.names)


def store(description: Description, pairs: Mapping[str, Sequence[Pair]], folder: Path) -> Path:
    """Writes a description with explicit lists of files, `train.csv` and so on, which reads the same ever after.

    Args:
        description: The complete description.
        pairs: The images and masks of each split.
        folder: The folder for `dataset.yaml` and the lists.

    Returns:
        The path of `dataset.yaml`.
    """
    lists = {}
    for split, split_pairs in pairs.items():
        path = folder / f"{split}.csv"
        with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("image", "mask"))
            table.writerows([_relative(part, description.path) for part in pair] for pair in split_pairs)
        lists[split] = str(path.absolute())
    settled = _coding_entries(coding(description), description.names)
    return _write(description.model_copy(update={**dict.fromkeys(SPLITS), **lists, **settled}), folder)


def store_reading(dataset: Dataset, folder: Path) -> Path:
    """Writes how the labels and images of a data set are read, but not which files it has; see `store`."""
    entries = _coding_entries(dataset.coding, dataset.classes)
    return _write(Description(names=dataset.classes, **entries, **asdict(dataset.reading)), folder)


def _coding_entries(coding: Coding, names: Sequence[str]) -> dict[str, object]:
    """Returns the entries of a description that say which value or colour is which class."""
    return {
        "values": {stored: names[class_id] for stored, class_id in coding.ids.items() if class_id != IGNORE_LABEL},
        "ignore": tuple(stored for stored, class_id in coding.ids.items() if class_id == IGNORE_LABEL),
        "nearest": coding.nearest,
    }


def _write(description: Description, folder: Path) -> Path:
    path = folder / DESCRIPTION_FILE
    with atomic_write(path) as partial:
        partial.write_text(dump(description), encoding="utf-8")
    return path


def _relative(file: object, root: Path) -> str:
    if file is None or isinstance(file, MaskPerClass):  # the template `masks` names the files of the classes
        return ""
    path = Path(str(file))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
