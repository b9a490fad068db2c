"""All other formats of masks and polygons, read by Datumaro, an optional package."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_crosscoop.data.importing.exports import Export, Sample, Source, is_void, split_word
from keras_crosscoop.data.importing.regions import Patch, Polygons, Region, Size, whole
from keras_crosscoop.errors import InputError, reason, unknown_name

# Formats that Datumaro finds by itself and that hold masks or polygons
FORMATS = (
    "voc_segmentation",
    "coco_panoptic",
    "coco_stuff",
    "camvid",
    "cityscapes",
    "mots",
    "label_me",
    "datumaro",
    "datumaro_binary",
    "common_semantic_segmentation",
    "common_semantic_segmentation_with_subset_dirs",
)
# Formats that it does not find, and folders that tell them
_BY_FOLDERS = {
    "synthia_rand": ("RGB", "GT", "GTTXT"),
    "synthia_sf": ("RGBLeft", "GTLeft"),
    "synthia_al": ("RGB", "SemSeg"),
}
_DENSE = ("synthia", "camvid", "cityscapes", "coco_panoptic", "coco_stuff")  # beginnings of names


def detect(source: Source) -> list[str]:
    """Returns the formats that Datumaro finds, among those with masks or polygons."""
    with _log_kept():
        found = _environment().detect_dataset(str(source.root))
    by_folders = [
        name for name, folders in _BY_FOLDERS.items() if all((source.root / folder).is_dir() for folder in folders)
    ]
    return by_folders or [name for name in FORMATS if name in found]


def names() -> list[str]:
    """Returns the names of all formats of Datumaro."""
    return sorted(_environment().importers)


def read(source: Source, name: str) -> Export:
    """Reads an export.

    Raises:
        InputError: There is no such format, or Datumaro cannot read the export.
    """
    if name not in names():
        raise unknown_name("format", name, names())
    import datumaro

    export = Export(dense=name.startswith(_DENSE))
    with _log_kept() as messages:
        try:
            data = datumaro.Dataset.import_from(str(source.only or source.root), name)
            items = list(data)
        except Exception as error:  # its errors have no common class
            cause = error.__cause__ or error
            raise InputError(
                f"Datumaro cannot read the export as {name} ({reason(cause)}). Name another --format, or complete the "
                f"export. Received: {source.root}"
            ) from error
    for message in messages:
        source.remarks.add("Datumaro says", message, "note")
    categories = data.categories()
    labels = categories.get(datumaro.AnnotationType.label)
    classes = [label.name for label in labels.items] if labels else []
    export.names = list(dict.fromkeys(classes))
    if colours := categories.get(datumaro.AnnotationType.mask):
        export.colours = {
            classes[number]: tuple(map(int, colour))
            for number, colour in colours.colormap.items()
            if number < len(classes)
        }
    subsets = {item.subset for item in items}
    for item in items:
        if item.subset == "trainval" and {"train", "val"} <= subsets:  # VOC lists its images twice
            continue
        path = Path(getattr(item.media, "path", None) or "")
        if not path.is_file():
            source.remarks.add("Images that annotations name are missing, and were left out", item.id)
            continue
        regions = _regions(source, item, classes)
        split = split_word(item.subset) or "train"
        export.samples.append(Sample(path, split, partial(list, regions), labelled=bool(regions)))
    return export


def _regions(source: Source, item: Any, classes: Sequence[str]) -> list[Region]:
    regions, context = [], copy_context()
    for annotation in item.annotations:
        kind = annotation.type.name
        label = getattr(annotation, "label", None)
        name = None if label is None or is_void(annotation.attributes) else classes[int(label)]
        if kind == "polygon":
            corners = np.array(annotation.points, float).reshape(-1, 2)
            regions.append(Region(name, Polygons((corners,)), annotation.z_order))
        elif kind == "mask":
            regions.append(Region(name, partial(_mask, annotation, context), annotation.z_order))
        elif kind not in ("bbox", "label", "caption"):
            source.remarks.add(f"Annotations of kind {kind!r} were left out", item.id, "note")
    return regions


def _mask(annotation: Any, context: Context, size: Size) -> Patch:
    image = context.copy().run(lambda: annotation.image)  # Datumaro keeps its settings in context variables
    return whole(np.asarray(image).astype(bool), size)


def _environment() -> Any:
    try:
        from datumaro.components.environment import Environment
    except ImportError as error:
        raise InputError(
            f'This format needs Datumaro. Install it: pip install "keras-crosscoop[formats]". Received: {reason(error)}'
        ) from error
    return Environment()


@contextmanager
def _log_kept() -> Iterator[list[str]]:
    """Collects the warnings that Datumaro sends to the root logger, instead of printing them."""
    messages: list[str] = []

    class _Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = [_Handler(logging.WARNING)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield messages
    finally:
        root.handlers = handlers
        root.setLevel(level)
