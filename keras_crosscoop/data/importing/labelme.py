"""labelme's JSON files, one per image. (Datumaro's `label_me` reads the XML of an older tool of the same name.)"""

import base64
import math
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.importing.exports import EmbeddedImage, Export, Sample, Source, is_void, split_of
from keras_crosscoop.data.importing.regions import Patch, Polygons, Region
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import IMAGE_SUFFIXES, read_label

NOTE = "polygons, rectangles, circles and masks; images also from `imageData`"


def detect(source: Source) -> bool:
    """Returns whether there is a labelme file."""
    return bool(_files(source))


def read(source: Source) -> Export:
    """Reads all labelme files.

    Raises:
        InputError: A file cannot be read.
    """
    export = Export()
    for path in _files(source):
        content = source.json(path)
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list):
            raise InputError(f'A labelme file must hold a list "shapes". Received: {path}')
        if (image := _image(source, path, content)) is None:
            continue
        regions = [region for shape in shapes if (region := _region(source, path, shape))]
        export.names += [
            name
            for name in dict.fromkeys(region.name for region in regions if region.name is not None)
            if name not in export.names
        ]
        height, width = content.get("imageHeight"), content.get("imageWidth")
        size = (int(height), int(width)) if height and width else None
        split = split_of(source.relative(path))
        export.samples.append(Sample(image, split, partial(list, regions), size))
    annotated = {sample.path for sample in export.samples}
    export.samples += [
        Sample(image, split_of(source.relative(image)), list, labelled=False)
        for image in source.images
        if image not in annotated
    ]
    return export


def _files(source: Source) -> list[Path]:
    return [
        path
        for path in source.files(".json")
        if ('"shapes"' in (head := source.head(path)) and '"flags"' in head)
        or ('"shapes"' in head and '"imagePath"' in head)
        or '"shape_type"' in head
    ]


def _image(source: Source, path: Path, content: dict[str, Any]) -> Path | EmbeddedImage | None:
    name, data = str(content.get("imagePath") or path.with_suffix(".png").name), content.get("imageData")
    beside = path.parent / name
    if beside.is_file() and beside.suffix.lower() in IMAGE_SUFFIXES:
        return beside.resolve() if ".." in beside.parts else beside
    if data:
        try:
            image = base64.b64decode(data, validate=True)
        except ValueError as error:
            raise InputError(f"The image in a labelme file is damaged ({error}). Received: {path}") from error
        suffix = Path(name).suffix.lower()
        source.remarks.add("Images were taken from `imageData`", path.name, "note")
        return EmbeddedImage(path.with_suffix(suffix if suffix in IMAGE_SUFFIXES else ".png"), image)
    same_stem = source.index.by_stem.get(source.relative(path.with_suffix("")), ())
    images = [file for file in same_stem if file.suffix.lower() in IMAGE_SUFFIXES]
    return images[0] if len(images) == 1 else source.image(name, path)


def _region(source: Source, path: Path, shape: dict[str, Any]) -> Region | None:
    name, kind = str(shape.get("label")), shape.get("shape_type") or "polygon"
    if is_void(shape.get("flags")):
        source.remarks.add("Regions with a flag such as difficult or crowd are void", path.name, "note")
        name = None
    points = np.array(shape.get("points") or (), float).reshape(-1, 2)
    if kind == "polygon" and len(points) > 2:
        return Region(name, Polygons((points,)))
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return Region(name, Polygons((np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]),)))
    if kind == "circle" and len(points) == 2:
        return Region(name, ellipse(*points[0], *[math.dist(*points)] * 2))
    if kind == "mask" and shape.get("mask") and len(points):
        mask = read_label(path, BytesIO(base64.b64decode(shape["mask"]))) > 0
        left, top = np.floor(points.min(0)).astype(int).tolist()
        return Region(name, lambda size: Patch(mask, top, left))
    source.remarks.add(f"Shapes of kind {kind!r} without an area were left out", path.name)
    return None


def ellipse(x: float, y: float, x_radius: float, y_radius: float) -> Polygons:
    """Returns an ellipse with axes along the image's."""
    angles = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    return Polygons((np.stack([x + x_radius * np.cos(angles), y + y_radius * np.sin(angles)], axis=1),))
