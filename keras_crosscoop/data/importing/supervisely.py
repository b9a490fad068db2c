"""Supervisely projects: `meta.json`, and `ann/` beside `img/` in each data set.

Datumaro reads only its point clouds.
"""

import base64
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.importing.exports import Export, Sample, Source, is_void, split_of, split_word
from keras_crosscoop.data.importing.regions import Patch, PixelPolygons, Region
from keras_crosscoop.data.own.description import parse_stored
from keras_crosscoop.errors import shorten
from keras_crosscoop.images.io import read_label

NOTE = "polygons with holes, and bitmaps; splits by data set or tag"


def detect(source: Source) -> bool:
    """Returns whether there is an annotation file of Supervisely."""
    return bool(_files(source))


def read(source: Source) -> Export:
    """Reads a project.

    Raises:
        InputError: A file cannot be read.
    """
    export = Export()
    for path in source.files(".json"):
        if path.name == "meta.json":
            for entry in source.json(path).get("classes", ()):
                export.names.append(str(entry["title"]))
                if isinstance(colour := parse_stored(entry.get("color", 0)), tuple):
                    export.colours[export.names[-1]] = colour
    for path in _files(source):
        content = source.json(path)
        image = path.parent.parent / "img" / path.stem
        if not image.is_file() and (image := source.image(path.stem, path)) is None:
            continue
        size = content.get("size") or {}
        tags = [split_word(str(tag.get("name"))) for tag in content.get("tags", ())]
        split = next(filter(None, tags), None) or split_of(source.relative(path))
        regions = [region for shape in content.get("objects", ()) if (region := _region(source, path, shape))]
        height_width = (int(size["height"]), int(size["width"])) if size else None
        export.samples.append(Sample(image, split, partial(list, regions), height_width))
    return export


def _files(source: Source) -> list[Path]:
    return [path for path in source.files(".json") if path.parent.name == "ann" and '"objects"' in source.head(path)]


def _region(source: Source, path: Path, shape: dict[str, Any]) -> Region | None:
    name, kind = str(shape.get("classTitle")), shape.get("geometryType")
    if is_void({str(tag.get("name")): tag.get("value") or True for tag in shape.get("tags", ())}):
        source.remarks.add("Regions with a tag such as difficult or crowd are void", path.name, "note")
        name = None
    try:
        if kind == "polygon":
            points = shape["points"]
            exterior, *holes = [
                np.array(part, float).reshape(-1, 2) for part in (points["exterior"], *points["interior"])
            ]
            return Region(name, PixelPolygons((exterior,), tuple(holes)))
        if kind == "bitmap":
            data = zlib.decompress(base64.b64decode(shape["bitmap"]["data"]))
            left, top = map(int, shape["bitmap"]["origin"])
            mask = read_label(path, BytesIO(data), colours=True).any(-1)
            return Region(name, lambda size: Patch(mask, top, left))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        source.remarks.add("Objects are damaged, and were left out", f"{path.name}: {shorten(error, 60)}")
        return None
    source.remarks.add(f"Objects of geometry {kind!r} were left out", path.name)
    return None
