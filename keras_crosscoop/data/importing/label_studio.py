"""Label Studio's PNG export of brush labels: one file per object, named after the task, without any image."""

import re
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from keras_crosscoop.data.importing.exports import Export, Sample, Source, split_of
from keras_crosscoop.data.importing.regions import Patch, Region, whole
from keras_crosscoop.errors import InputError, join_names
from keras_crosscoop.images.io import read_label

NOTE = "brush labels as PNG, with the images and a JSON export of the same project, which names the image of each task"

_NAME = re.compile(r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-[^-]*-[^-]+-(?P<label>.+)-\d+")
_OPAQUE = 128  # of 255: brushes have soft edges


def detect(source: Source) -> bool:
    """Returns whether there are files with such names."""
    return bool(_masks(source))


def read(source: Source) -> Export:
    """Reads all masks.

    Raises:
        InputError: No JSON export names the image of a task.
    """
    masks, images, export = _masks(source), _images(source), Export()
    if missing := sorted(masks.keys() - images.keys()):
        raise InputError(
            "Label Studio's PNG export does not name its images. Put the JSON export of the same project and the "
            f"images beside it. Received: {len(missing):,} tasks without an image (task {join_names(missing)}) in "
            f"{source.root}"
        )
    for task, parts in masks.items():
        regions = [Region(label, partial(_patch, path)) for label, path in parts]
        export.names += [name for name in dict.fromkeys(label for label, _ in parts) if name not in export.names]
        name, near = images[task]
        if image := source.image(name, near):
            split = split_of(source.relative(image))
            export.samples.append(Sample(image, split, partial(list, regions)))
    for task in images.keys() - masks.keys():
        if image := source.image(*images[task]):
            export.samples.append(Sample(image, split_of(source.relative(image)), list, labelled=False))
    export.names.sort()
    return export


def _masks(source: Source) -> dict[str, list[tuple[str, Path]]]:
    """Returns the classes and masks of each task, by its last annotation."""
    tasks = defaultdict(lambda: defaultdict(list))
    for path in source.files(".png"):
        if fields := _NAME.fullmatch(path.stem):
            tasks[fields["task"]][int(fields["annotation"])].append((fields["label"], path))
    for task, annotations in tasks.items():
        if len(annotations) > 1:
            source.remarks.add("Tasks have several annotations; the last one was taken", f"task {task}")
    return {task: annotations[max(annotations)] for task, annotations in tasks.items()}


def _images(source: Source) -> dict[str, tuple[str, Path]]:
    """Returns the image's path and the JSON file of each task."""
    images = {}
    for path in source.files(".json"):
        tasks = source.json(path) if '"data"' in source.head(path) or '"image"' in source.head(path) else ()
        for task in tasks if isinstance(tasks, list) else ():
            data = task.get("data", task) if isinstance(task, dict) else {}
            name = next((str(value) for value in data.values() if _is_image(value)), None)
            if name and "id" in task:
                images[str(task["id"])] = unquote(name.partition("?d=")[2] or name), path
    return images


def _is_image(value: object) -> bool:
    suffixes = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
    return (isinstance(value, str) and PurePosixPath(value.partition("?")[0]).suffix.lower() in suffixes) or (
        isinstance(value, str) and value.lower().endswith(suffixes)
    )


def _patch(path: Path, size: tuple[int, int]) -> Patch:
    return whole(read_label(path) >= _OPAQUE, size)
