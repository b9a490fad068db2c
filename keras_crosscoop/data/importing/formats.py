"""The formats of annotation tools, and which one an export has."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from keras_crosscoop.data.importing import (
    coco,
    cvat,
    datumaro_formats,
    dense,
    label_studio,
    labelme,
    supervisely,
    yolo,
)
from keras_crosscoop.data.importing.exports import Export, Source
from keras_crosscoop.errors import InputError, describe, join_names


class Format(NamedTuple):
    """A format that this package reads.

    Attributes:
        detect: Returns whether an export has it.
        read: Reads an export.
        note: What is read, for help.
    """

    detect: Callable[[Source], bool]
    read: Callable[[Source], Export]
    note: str


FORMATS = {
    "coco": Format(coco.detect, coco.read, coco.NOTE),
    "cvat": Format(cvat.detect, cvat.read, cvat.NOTE),
    "labelme": Format(labelme.detect, labelme.read, labelme.NOTE),
    "yolo": Format(yolo.detect, yolo.read, yolo.NOTE),
    "supervisely": Format(supervisely.detect, supervisely.read, supervisely.NOTE),
    "label_studio_png": Format(label_studio.detect, label_studio.read, label_studio.NOTE),
    "ade20k": Format(dense.detect_ade20k, dense.read_ade20k, dense.ADE20K_NOTE),
    "kitti": Format(dense.detect_kitti, dense.read_kitti, dense.KITTI_NOTE),
    "mapillary": Format(dense.detect_mapillary, dense.read_mapillary, dense.MAPILLARY_NOTE),
}


def read(source: Source, name: str | None) -> tuple[str, Export]:
    """Reads an export.

    Args:
        source: The files.
        name: The format; None to find it.

    Returns:
        The name of the format, and the content.

    Raises:
        InputError: No format fits or several do, or the export cannot be read.
    """
    name = name or find(source)
    if name not in FORMATS:
        return name, datumaro_formats.read(source, name)
    try:
        return name, FORMATS[name].read(source)
    except InputError:
        raise
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:  # an entry is missing or no mapping
        raise InputError(
            f"The export does not have the form of {name} ({describe(error)}). Export it again, or name another "
            f"--format. Received: {source.only or source.root}"
        ) from error


def find(source: Source) -> str:
    """Returns the format of an export.

    Raises:
        InputError: No format fits, or several do.
    """
    candidates = [name for name, entry in FORMATS.items() if entry.detect(source)]
    has_datumaro = importlib.util.find_spec("datumaro") is not None
    if not candidates and has_datumaro:
        candidates = datumaro_formats.detect(source)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"The export fits several formats. Name one: {' or '.join(f'--format {name}' for name in candidates)}. "
            f"Received: {source.root}"
        )
    kinds: dict[str, int] = {}
    for path in source.index.by_path.values():
        kinds[path.suffix.lower() or path.name] = kinds.get(path.suffix.lower() or path.name, 0) + 1
    there = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1])[:6])
    more = "" if has_datumaro else ' pip install "keras-crosscoop[formats]" adds VOC, Synthia and more.'
    raise InputError(
        f"The export has none of the formats {', '.join(FORMATS)}.{more} Name one with --format, or train from the "
        f"folder of masks itself: crosscoop-tf fit --data-dir {source.root}. Received: {source.root} with "
        f"{there or 'no files'} ({join_names(list(source.index.by_path)) or 'empty'})"
    )
