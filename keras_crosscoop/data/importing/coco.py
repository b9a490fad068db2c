"""COCO instances, as COCO itself, Roboflow, CVAT, Label Studio and others write them.

Datumaro reads COCO only in COCO's own folders, and drops every object whose category id is 0, which is the first class
of Label Studio's exports. So this module reads them itself.
"""

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.importing.exports import Export, Sample, Source, split_of, split_word
from keras_crosscoop.data.importing.regions import Polygons, Region, RunLengths
from keras_crosscoop.errors import InputError, shorten

NOTE = "polygons, and run-length codes; crowds are void; boxes without a mask are left out"


def detect(source: Source) -> bool:
    """Returns whether there is a COCO file."""
    return bool(_files(source))


def read(source: Source) -> Export:
    """Reads all COCO files.

    Raises:
        InputError: A file cannot be read, or is not COCO.
    """
    export = Export()
    contents = {path: _content(source, path) for path in _files(source)}
    instances = {path for path in contents if path.name.startswith("instances")}
    for path, content in contents.items():
        if instances and path not in instances:
            source.remarks.add("Annotation files beside instances_*.json were left out", path.name, "note")
            continue
        _read_file(source, path, content, export)
    return export


def _files(source: Source) -> list[Path]:
    def is_coco(head: str) -> bool:
        keys = [f'"{key}"' in head for key in ("images", "annotations", "categories")]
        return (
            head.lstrip("\ufeff \n\r\t").startswith("{")
            and any(keys)
            and (sum(keys) > 1 or '"segmentation"' in head or '"file_name"' in head)
        )

    return [path for path in source.files(".json") if is_coco(source.head(path)) and path.name != "meta.json"]


def _content(source: Source, path: Path) -> dict[str, Any]:
    content = source.json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key, []), list):
            raise InputError(f'A COCO file must hold a list "{key}". Received: {path}')
    return content


def _read_file(source: Source, path: Path, content: dict[str, Any], export: Export) -> None:
    names = {category["id"]: str(category["name"]) for category in content.get("categories", ())}
    export.names += [name for _, name in sorted(names.items()) if name not in export.names]
    subset = path.parent.name if path.name == "_annotations.coco.json" else path.stem
    split = split_word(subset) or split_of(source.relative(path))
    regions = defaultdict(list)
    for annotation in content.get("annotations", ()):
        try:
            regions[annotation["image_id"]] += _regions(source, annotation, names)
        except (KeyError, TypeError, ValueError) as error:
            source.remarks.add("Annotations are damaged, and were left out", f"{path.name}: {shorten(error, 60)}")
    known = set()
    for image in content.get("images", ()):
        known.add(image["id"])
        if file := source.image(str(image["file_name"]), path, hints=(subset, subset.rpartition("_")[2], split)):
            size = (image["height"], image["width"]) if image.get("height") and image.get("width") else None
            parts = regions.get(image["id"], [])
            export.samples.append(Sample(file, split, partial(list, parts), size, labelled=bool(parts)))
    for image_id in regions.keys() - known:
        source.remarks.add("Annotations of images that the file does not list were left out", image_id)


def _regions(source: Source, annotation: dict[str, Any], names: dict[Any, str]) -> list[Region]:
    segmentation, category = annotation.get("segmentation"), annotation["category_id"]
    if category not in names:
        source.remarks.add("Objects of categories that the file does not list were left out", category)
        return []
    name = names[category]
    if annotation.get("iscrowd") or annotation.get("ignore"):
        source.remarks.add("Crowd regions are void", name, "note")
        name = None
    where = f"annotation {annotation.get('id')}"
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        return [Region(name, RunLengths(segmentation["counts"], (int(height), int(width))))]
    if not segmentation:
        source.remarks.add("Objects with a box but without a mask were left out", where)
        return []
    if not isinstance(segmentation[0], list):  # one polygon that is not in a list
        segmentation = [segmentation]
    parts = [np.array(part, float).reshape(-1, 2) for part in segmentation if len(part) >= 6 and len(part) % 2 == 0]
    if len(parts) < len(segmentation):
        source.remarks.add("Polygons with fewer than three corners were left out", where)
    return [Region(name, Polygons(tuple(parts)))] if parts else []
