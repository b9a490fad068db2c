"""CVAT for images 1.1. Datumaro reads it, too, but refuses the whole file if one image is missing."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from keras_crosscoop.data.importing.exports import Export, Sample, Source, is_void, split_of, split_word
from keras_crosscoop.data.importing.labelme import ellipse
from keras_crosscoop.data.importing.regions import Patch, Polygons, Region, expand
from keras_crosscoop.data.own.description import parse_stored
from keras_crosscoop.errors import InputError, reason

NOTE = "polygons, masks and ellipses; boxes, lines and points are left out"


def detect(source: Source) -> bool:
    """Returns whether there is an XML file of CVAT."""
    return bool(_files(source))


def read(source: Source) -> Export:
    """Reads all XML files of CVAT.

    Raises:
        InputError: A file cannot be read.
    """
    export = Export()
    for path in _files(source):
        try:
            root = ElementTree.parse(path).getroot()
            for label in root.iter("label"):
                if (name := label.findtext("name")) and name not in export.names:
                    export.names.append(name)
                    if colour := label.findtext("color"):
                        export.colours[name] = parse_stored(colour)
            if root.find("track") is not None:
                source.remarks.add("Tracks were left out; export them as CVAT for images", path.name)
            export.samples += _samples(source, path, root)
        except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"An annotation file cannot be read ({reason(error)}). Received: {path}") from error
    return export


def _files(source: Source) -> list[Path]:
    return [path for path in source.files(".xml") if "<annotations" in source.head(path)]


def _samples(source: Source, path: Path, root: ElementTree.Element) -> Iterator[Sample]:
    for image in root.iter("image"):
        name, subset = image.get("name", ""), image.get("subset") or ""
        file = source.image(name, path, hints=(subset, path.stem))
        if file is None:
            continue
        size = (int(image.get("height", 0)), int(image.get("width", 0)))
        split = split_word(subset) or split_word(path.stem) or split_of(f"{Path(source.relative(path)).parent}/{name}")
        regions = [region for shape in image if (region := _region(source, name, shape))]
        yield Sample(file, split, partial(list, regions), size if all(size) else None, labelled=bool(regions))


def _region(source: Source, image: str, shape: ElementTree.Element) -> Region | None:
    values, name = shape.attrib, shape.get("label")
    if is_void({attribute.get("name", ""): attribute.text for attribute in shape.iter("attribute")}):
        source.remarks.add("Regions with an attribute such as difficult or crowd are void", image, "note")
        name = None
    layer = int(values.get("z_order", 0))
    if shape.tag == "polygon":
        corners = np.array([point.split(",") for point in values["points"].split(";")], float)
        return Region(name, Polygons((corners,)), layer)
    if shape.tag == "ellipse":
        return Region(name, ellipse(*(float(values[key]) for key in ("cx", "cy", "rx", "ry"))), layer)
    if shape.tag == "mask":
        counts = [int(count) for count in values["rle"].split(",")]
        mask = expand(counts, (int(values["height"]), int(values["width"])))
        patch = Patch(mask, int(values["top"]), int(values["left"]))
        return Region(name, lambda size: patch, layer)
    if shape.tag != "tag":
        source.remarks.add(f"Shapes of kind {shape.tag!r} have no outline, and were left out", image, "note")
    return None
