"""YOLO segmentation, as Ultralytics, Roboflow and CVAT write it. Datumaro reads only the boxes of YOLO."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.importing.exports import Export, Sample, Source, split_of
from keras_crosscoop.data.importing.regions import Patch, Polygons, Region, Size
from keras_crosscoop.errors import InputError, reason
from keras_crosscoop.images.io import IMAGE_SUFFIXES
from keras_crosscoop.system import yaml_files
from keras_crosscoop.system.files import walk_files

NOTE = "polygons, with data.yaml or classes.txt; boxes are left out"

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def detect(source: Source) -> bool:
    """Returns whether there is a list of names, and a folder `labels` with text files."""
    has_labels = any("labels" in path.parent.parts for path in source.files(".txt"))
    return bool(_descriptions(source)) and (has_labels or source.only is not None)


def read(source: Source) -> Export:
    """Reads the labels of all images that `data.yaml` names, or, with a `classes.txt`, of all images.

    Raises:
        InputError: There is not exactly one list of names, or it is invalid.
    """
    paths = _descriptions(source)
    if len(paths) != 1:
        raise InputError(
            f"YOLO needs one YAML file with `names` and `train`, or one classes.txt. Received: "
            f"{', '.join(map(source.relative, paths)) or 'none'} in {source.root}"
        )
    export, images = Export(), []
    if paths[0].suffix == ".txt":
        names = dict(enumerate(filter(None, map(str.strip, paths[0].read_text("utf-8-sig").splitlines()))))
        images = [(image, split_of(source.relative(image))) for image in source.images]
    else:
        content = _content(paths[0])
        names = content["names"]
        images = [(image, split) for key, split in _SPLITS.items() for image in _images(content, paths[0], key, source)]
    export.names = [name for _, name in sorted(names.items())]
    for image, split in images:
        label = _label(image)
        text = label.read_text("utf-8-sig") if label.is_file() else ""
        regions = [region for line in text.splitlines() if (region := _region(source, label, line, names))]
        export.samples.append(Sample(image, split, partial(list, regions), labelled=label.is_file()))
    return export


def _descriptions(source: Source) -> list[Path]:
    files = source.files(".yaml", ".yml")
    described = [path for path in files if "names:" in (head := source.head(path)) and "train:" in head]
    return described or [path for path in source.files(".txt") if path.name in ("classes.txt", "obj.names")]


def _content(path: Path) -> dict[str, Any]:
    """Reads a YAML file, with names by number."""
    try:
        content = yaml_files.read(path)
        names = content["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {**content, "names": {int(number): str(name) for number, name in pairs}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The YAML file of YOLO cannot be read ({reason(error)}). Received: {path}") from error


def _images(content: dict[str, Any], description: Path, key: str, source: Source) -> Iterator[Path]:
    """Yields the images of a split: of folders, or of lists."""
    entries = content.get(key) or ()
    for entry in [entries] if isinstance(entries, str) else entries:
        path = _resolve(str(entry), content, description)
        if path is None:
            source.remarks.add("Paths in the YAML file do not exist", f"{key}: {entry}")
        elif path.is_dir():
            yield from (file for file in walk_files([path]) if file.suffix.lower() in IMAGE_SUFFIXES)
        else:
            for line in filter(None, map(str.strip, path.read_text("utf-8-sig").splitlines())):
                if (image := _resolve(line, content, description)) and image.is_file():
                    yield image
                else:
                    source.remarks.add("Images that a list names are missing, and were left out", line)


def _resolve(text: str, content: dict[str, Any], description: Path) -> Path | None:
    """Returns a path relative to `path` in the file, or to the file. Roboflow's begin with a "../" too many."""
    parts = [part for part in Path(text).parts if part not in ("..", ".")]
    folder = description.parent
    for base in (folder / str(content.get("path") or ""), folder):
        for path in (base / text, base.joinpath(*parts) if not Path(text).is_absolute() else base):
            if path.exists() and path != base:
                return path.resolve() if ".." in path.parts else path
    return None


def _label(image: Path) -> Path:
    """Returns the path of the label: "labels" for the last "images"."""
    parts = list(image.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts, f"{image.stem}.txt")


def _region(source: Source, path: Path, line: str, names: dict[int, str]) -> Region | None:
    if not (fields := line.split()):
        return None
    if len(fields) == 5:
        source.remarks.add("Boxes without a polygon were left out", path.name)
        return None
    try:
        number, corners = int(fields[0]), np.array(fields[1:], float).reshape(-1, 2)
        name = names[number]
    except (ValueError, KeyError):
        source.remarks.add(
            "Lines are no polygon of a class in the YAML file, and were left out", f"{path.name}: {line[:40]}"
        )
        return None
    return Region(name, RelativePolygon((corners,)))


class RelativePolygon(Polygons):
    """A polygon whose coordinates are shares of the image's width and height."""

    def __call__(self, size: Size) -> Patch:
        """Returns the pixels in an image of this size."""
        return Polygons(tuple(part * size[::-1] for part in self.parts))(size)
