"""Writes the content of an export in this package's layout."""

import os
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.importing import formats
from keras_crosscoop.data.importing.exports import EmbeddedImage, Export, Remarks, Sample, Source
from keras_crosscoop.data.importing.regions import Region, draw, reaches_outside
from keras_crosscoop.data.own.description import Description, dump
from keras_crosscoop.data.own.discovery import palette
from keras_crosscoop.data.own.vocabulary import is_void
from keras_crosscoop.errors import InputError, join_names, reason
from keras_crosscoop.images.io import image_size, open_image, write_label
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.images.reading import DESCRIPTION_FILE
from keras_crosscoop.labels import IGNORE_LABEL, INVALID_LABEL
from keras_crosscoop.system.files import atomic_folder
from keras_crosscoop.system.resources import threads

BACKGROUND = "background"
_BACKGROUND_NAMES = ("background", "_background_", "__background__")
_VAL_SHARE = 0.2
_SPLITS = ("train", "val", "test")

# The last step from the stored to the upright mask, by EXIF orientation
_TURNS = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270}
_TURNS |= {7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes:
        folder: The new data set.
        format: The format of the export.
        splits: The number of images in each split.
        pixels: The number of pixels of each class, and of "void".
        findings: What was left out or changed.
    """

    folder: Path
    format: str
    splits: dict[str, int]
    pixels: dict[str, int]
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as values for JSON."""
        return {
            "folder": str(self.folder),
            "format": self.format,
            "splits": self.splits,
            "pixels": self.pixels,
            "findings": [vars(finding) for finding in self.findings],
        }


def import_annotations(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    images: Path | None = None,
    classes: Sequence[str] = (),
    background: bool | None = None,
    skip_unlabelled: bool = False,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> ImportReport:
    """Converts an export of an annotation tool to a data set of images and masks.

    The new folder holds copies of the images in `images/SPLIT/`, palette PNGs in `masks/SPLIT/`, and `dataset.yaml`. Of
    overlapping objects, the smaller one covers the larger one. After an error, nothing remains.

    Args:
        source: The folder of the export, a zip file of it, or its annotation file.
        output: The new folder.
        format: A format of `formats.FORMATS` or of Datumaro; None to find it.
        images: A folder with the images, if they are elsewhere.
        classes: The classes to keep; all others become background (void without). By default, all that occur.
        background: Whether pixels without a class are class 0, "background", or void. None for the format's default:
            void where masks name the class of every pixel.
        skip_unlabelled: Whether to leave out images without annotations, which are background otherwise.
        progress: Called with the stage, the number of images done, and their total.

    Raises:
        InputError: The export cannot be read, or the folder cannot be written.
    """
    if not source.exists():
        raise InputError(f"There is no such export. Is the path right? Received: {source}")
    with atomic_folder(output) as partial_folder, _unpacked(source, partial_folder) as folder:
        files = Source(folder, images)
        progress("Reading", 0, 0)
        name, export = formats.read(files, format)
        samples = _merged(export, files, skip_unlabelled)
        ids = _Classes(export, samples, classes, background, files.remarks, progress)
        description = Description(
            masks="masks/{split}/{name}.png",
            **{split: f"images/{split}" for split in _SPLITS if split in ids.splits},
            **({} if "val" in ids.splits or "train" not in ids.splits else {"val": _VAL_SHARE}),
            names=ids.names,
            values=dict(enumerate(ids.names)),
            ignore=(IGNORE_LABEL,),
            colours={key: colour for key, colour in export.colours.items() if key in ids.names} or None,
        )
        try:
            splits, pixels = _write(samples, ids, palette(description), partial_folder, files, progress)
            (partial_folder / DESCRIPTION_FILE).write_text(dump(description), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The data set cannot be written ({reason(error)}). Check space and permissions. Received: {output}"
            ) from error
    return ImportReport(output, name, splits, pixels, files.remarks.findings())


@contextmanager
def _unpacked(source: Path, folder: Path) -> Iterator[Path]:
    """Yields the export, or the content of a zip file in a temporary folder on the disk of the new data set."""
    if source.suffix.lower() != ".zip":
        yield source
        return
    temporary = folder / "export"
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(temporary)  # never outside of the folder
    except (
        OSError,
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
    ) as error:  # with a password; unknown methods
        raise InputError(f"The zip file cannot be unpacked ({reason(error)}). Received: {source}") from error
    yield temporary
    shutil.rmtree(temporary)


def _merged(export: Export, source: Source, skip_unlabelled: bool) -> list[Sample]:
    """Returns the samples in order, each image once per split, without unlabelled ones if they are to be left out."""
    samples: dict[tuple[str, Path], Sample] = {}
    for sample in export.samples:
        key = sample.split, sample.path
        if known := samples.get(key):
            source.remarks.add("Images were annotated several times; all their objects were taken", sample.path.name)
            parts = (known.regions, sample.regions)
            known.regions = partial(_concatenate, parts)
            known.labelled |= sample.labelled
        else:
            samples[key] = sample
    for path, count in Counter(path for _, path in samples).items():
        if count > 1:
            source.remarks.add("Images are in several splits", source.relative(path))
    labelled = {sample.split for sample in samples.values() if sample.labelled}
    kept = []
    for _, sample in sorted(samples.items(), key=lambda item: (_SPLITS.index(item[0][0]), item[0][1])):
        if not sample.labelled and not (sample.split == "test" and "test" not in labelled):
            outcome = "were left out" if skip_unlabelled else "are all background; --skip-unlabelled leaves them out"
            source.remarks.add(f"Images without annotations {outcome}", source.relative(sample.path))
            if skip_unlabelled:
                continue
        kept.append(sample)
    if not kept or not labelled:
        raise InputError(
            f"The export holds no annotated image. {_listed(source)}"
            f"Received: {source.only or source.root} with {len(source.images):,} images"
        )
    return kept


def _concatenate(parts: Sequence[Callable[[], Sequence[Region]]]) -> list[Region]:
    return [region for part in parts for region in part()]


def _listed(source: Source) -> str:
    return "".join(f"{finding.message}. " for finding in source.remarks.findings()[:3])


class _Classes:
    """The ids of the classes that occur."""

    def __init__(
        self,
        export: Export,
        samples: Sequence[Sample],
        kept: Sequence[str],
        background: bool | None,
        remarks: Remarks,
        progress: Callable[[str, int, int], None],
    ) -> None:
        counts: Counter = Counter()
        with ThreadPoolExecutor(threads()) as pool:
            regions = pool.map(lambda sample: {region.name for region in sample.regions()}, samples)
            for done, names in enumerate(regions, 1):
                counts.update(names - {None})
                progress("Looking for classes", done, len(samples))
        declared = [*dict.fromkeys([*export.names, *counts])]
        objects = [name for name in declared if name.lower() not in _BACKGROUND_NAMES and not is_void(name)]
        if unknown := [name for name in kept if name not in objects]:
            raise InputError(
                f"The export has no such class. It has {join_names(objects)}. Received: {join_names(list(unknown))}"
            )
        has_background = any(name.lower() in _BACKGROUND_NAMES for name in declared if counts[name])
        uncovered = (has_background or not export.dense) if background is None else background
        with_background = uncovered or (bool(kept) and background is None)
        for name in objects:
            if not counts[name]:
                remarks.add("Classes that never occur were left out", name, "note")
        self.objects = [name for name in objects if counts[name] and (not kept or name in kept)]
        self.names = (BACKGROUND, *self.objects) if with_background else tuple(self.objects)
        self.splits = {sample.split for sample in samples}
        self.other = 0 if with_background else IGNORE_LABEL  # of classes that are not kept
        self.uncovered = 0 if uncovered else IGNORE_LABEL
        self._ids = {name: number for number, name in enumerate(self.names)}
        if len(self.names) > INVALID_LABEL:
            common = [name for name, _ in counts.most_common(len(counts)) if name in self.objects]
            raise InputError(
                f"There can be at most {INVALID_LABEL} classes. Keep some with --class; the most frequent ones are "
                f"{join_names(common)}. Received: {len(self.names):,} classes"
            )
        if not self.objects:
            raise InputError(f"The export has no objects of any class. Received: {len(samples):,} images")

    def id_of(self, name: str | None) -> int:
        """Returns the id of a region's class."""
        if name is None or is_void(name):
            return IGNORE_LABEL
        return self._ids.get(name, self.other)


def _write(
    samples: Sequence[Sample],
    classes: _Classes,
    colours: Sequence[RGB],
    folder: Path,
    source: Source,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, int], dict[str, int]]:
    """Writes all images and masks; returns the number of images of each split, and of pixels of each class."""
    unlabelled = {"test"} - {sample.split for sample in samples if sample.labelled}
    targets = _targets(samples, source.remarks)

    def write(sample: Sample, name: PurePosixPath) -> np.ndarray | None:
        """Returns the number of pixels of each id; None if the image was left out."""
        image = folder / "images" / sample.split / name
        image.parent.mkdir(parents=True, exist_ok=True)
        _place(sample.image, image)
        if sample.split in unlabelled:
            return np.zeros(256, np.int64)
        ids = _mask(sample, image, classes, source)
        if ids is None:
            image.unlink()
            return None
        mask = (folder / "masks" / sample.split / name).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        write_label(mask, ids, colours)
        return np.bincount(ids.ravel(), minlength=256)

    totals, splits = np.zeros(256, np.int64), Counter()
    with ThreadPoolExecutor(threads()) as pool:
        try:
            written = zip(samples, pool.map(write, samples, targets), strict=True)
            for done, (sample, counts) in enumerate(written, 1):
                if counts is not None:
                    totals += counts
                    splits[sample.split] += 1
                progress("Writing", done, len(samples))
        finally:
            pool.shutdown(cancel_futures=True)
    pixels = {name: int(totals[number]) for number, name in enumerate(classes.names)}
    return dict(splits), {**pixels, "void": int(totals[IGNORE_LABEL])}


def _targets(samples: Sequence[Sample], remarks: Remarks) -> list[PurePosixPath]:
    """Returns the path of each image below the folder of its split: that below the common folder of the split's images.

    Images that differ only in the suffix would share a mask, so the suffix becomes a part of the name.
    """
    folders = defaultdict(list)
    for sample in samples:
        folders[sample.split].append(str(sample.path.parent))
    roots = {split: os.path.commonpath(paths) for split, paths in folders.items()}
    names = [PurePosixPath(sample.path.relative_to(roots[sample.split]).as_posix()) for sample in samples]
    stems = Counter((sample.split, name.with_suffix("")) for sample, name in zip(samples, names, strict=True))
    for number, (sample, name) in enumerate(zip(samples, names, strict=True)):
        if stems[sample.split, name.with_suffix("")] > 1:
            remarks.add("Images differ only in the suffix, which became a part of their names", name, "note")
            names[number] = name.with_name(f"{name.stem}_{name.suffix[1:]}{name.suffix}")
    return names


def _place(image: Path | EmbeddedImage, target: Path) -> None:
    if isinstance(image, EmbeddedImage):
        target.write_bytes(image.content)
    else:
        shutil.copy2(image, target)  # no link: whoever edits the data set must not change the export


def _mask(sample: Sample, image: Path, classes: _Classes, source: Source) -> np.ndarray | None:
    """Draws the mask of an image; None if the annotations are of an image of another size."""
    upright, name = image_size(image), source.relative(sample.path)
    size, turn = sample.size or upright, None
    regions = sample.regions()
    if size != upright:
        orientation = _orientation(image)
        if size != upright[::-1] or orientation not in _TURNS:
            cause = "Annotations are of an image of another size, and were left out"
            source.remarks.add(cause, f"{name}: {upright[1]}x{upright[0]}, annotated as {size[1]}x{size[0]}")
            return None
        turn = _TURNS[orientation]
        source.remarks.add("Annotations of images with an EXIF orientation were turned upright", name, "note")
    patches = []
    for region in regions:
        try:
            patch = region.shape(size)
        except InputError as error:
            source.remarks.add("Images with an unusable mask were left out", f"{name}: {error}")
            return None
        if reaches_outside(region.shape, size):
            source.remarks.add("Polygons reach outside of their image, and were cut", name)
        if not patch.mask.any():
            source.remarks.add("Objects without a pixel were left out", name)
            continue
        patches.append((classes.id_of(region.name), patch, region.layer))
    ids = draw(patches, size, classes.uncovered)
    return ids if turn is None else np.array(Image.fromarray(ids).transpose(turn))


def _orientation(image: Path) -> int:
    with open_image(image, BytesIO(image.read_bytes())) as opened:
        return opened.getexif().get(ExifTags.Base.Orientation, 1)
