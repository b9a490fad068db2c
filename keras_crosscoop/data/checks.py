"""Checks of every file of a data set, which report all problems before training begins."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_crosscoop.data.catalogue import CATALOGUE
from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.label_checks import check_labels
from keras_crosscoop.data.pairs import UnpairedError
from keras_crosscoop.data.rare_classes import ClassPositions
from keras_crosscoop.data.records.checksums import SUMS, changed_files
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.data.statistics import SplitStatistics, count_split, sample_labels
from keras_crosscoop.errors import AbsentError, InputError, summarize
from keras_crosscoop.images.decoding import WindowReader, image_reader, label_reader
from keras_crosscoop.images.palettes import RGB
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

_REQUIRED = ("train", "val")  # for training; other splits are optional

_DIGESTED = 1 << 16  # bytes at the start and at the end of a file
SURVEYED = 1000  # labels of a split that are looked at before training

Progress = Callable[[int, int], None]  # checked pairs, and all pairs


@dataclass(frozen=True)
class DatasetReport:
    """The result of `check_dataset`.

    Attributes:
        dataset: The name of the data set.
        classes: The names of the classes.
        palette: The colours of the classes.
        splits: The statistics of each existing split.
        findings: The findings, split by split.
        positions: Where the classes are in one of the splits, if `survey` was asked for it.
    """

    dataset: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    splits: tuple[SplitStatistics, ...]
    findings: tuple[Finding, ...]
    positions: ClassPositions | None = None

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that must be fixed before training."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    def lines(self, severity: str) -> list[str]:
        """Returns the findings of a severity, one line per cause."""
        return summarize(finding.message for finding in self.findings if finding.severity == severity)

    def class_weights(self, split: str) -> dict[str, float]:
        """Returns the median-frequency weights of a split by class name; see `SplitStatistics.class_weights`.

        Raises:
            InputError: The split does not exist or has no labels.
        """
        for statistics in self.splits:
            if statistics.name == split and any(statistics.pixels):
                weights = zip(self.classes, statistics.class_weights, strict=True)
                return {name: weight for name, weight in weights if weight}
        raise InputError(f"Class weights need a split with labels. Name another split. Received: {split!r}")

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values, with the names of the classes."""

        def by_class(values: Sequence[float | None]) -> dict[str, float | None]:
            return dict(zip(self.classes, values, strict=True))

        return {
            "dataset": self.dataset,
            "ok": not self.problems,
            "splits": {
                split.name: {
                    "images": split.images,
                    "pairs": split.pairs,
                    "labelled": split.labelled,
                    "sizes": [
                        {"height": height, "width": width, "images": images}
                        for (height, width), images in split.sizes.items()
                    ],
                    "pixels": by_class(split.pixels),
                    "frequencies": by_class(split.frequencies),
                    "images_with": by_class(split.images_with),
                    "class_weights": by_class(split.class_weights),
                    "void": split.void,
                    "void_share": split.void_share,
                }
                for split in self.splits
            },
            "findings": [vars(finding) for finding in self.findings],
        }


def check_dataset(
    dataset: Dataset,
    splits: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    records: Path | None = None,
) -> DatasetReport:
    """Decodes every file of some splits, on all cores, and counts the pixels of each class.

    Problems are: images or labels without a partner, files that cannot be decoded, pairs of different sizes, labels
    with colours or with ids outside the classes, empty or missing splits, an image in two splits, and changed records.
    `check_labels` adds labels that would make training or measuring meaningless.

    Args:
        dataset: The data set.
        splits: The splits to check; by default all that exist, where "train" and "val" must exist.
        progress: Called after each pair.
        records: The folder of the records that the data set is read from, to compare their checksums.

    Raises:
        InputError: There is no split of that name, or none of the splits exists.
    """
    for split in splits or ():
        dataset.check_split(split)
    findings = list(_changed_records(records)) if records else []
    findings += [finding for finding in dataset.findings if not splits or finding.split in ("", *splits)]
    pairs = _find_pairs(dataset, splits, findings)

    distinct = {_key(pair): pair for split_pairs in pairs.values() for pair in split_pairs}  # splits may share pairs
    samples: dict[tuple[str, str], _Sample] = {}
    with ThreadPoolExecutor(threads()) as pool:
        for key, sample in zip(distinct, pool.map(partial(_decode, dataset), distinct.values()), strict=True):
            samples[key] = sample
            if progress:
                progress(len(samples), len(distinct))

    good: dict[str, list[_Sample]] = {}
    told = {file for finding in dataset.findings if finding.severity == "problem" for file in finding.files}
    for split, split_pairs in pairs.items():
        split_samples = [samples[_key(pair)] for pair in split_pairs]
        good[split] = [sample for sample in split_samples if not sample.errors]
        for files, error in (entry for sample in split_samples for entry in sample.errors):
            if not told.intersection(files):
                findings.append(Finding("problem", split, str(error), files))
    statistics = tuple(
        count_split(
            dataset,
            split,
            [(sample.size, sample.pixels) for sample in good[split]],
            pairs=len(pairs[split]),
        )
        for split in good
    )
    findings += [*_incomplete_splits(dataset.name, pairs), *_duplicates(good)]
    findings += [*_empty_labels(dataset, good), *check_labels(dataset, statistics)]

    order = {split: number for number, split in enumerate(("", *dataset.splits))}
    unique: dict[tuple[str, ...], Finding] = {}  # splits that share files repeat their findings
    for finding in sorted(findings, key=lambda finding: order.get(finding.split, len(order))):
        unique.setdefault((finding.message, *finding.files), finding)
    return DatasetReport(dataset.name, dataset.classes, dataset.palette, statistics, tuple(unique.values()))


def survey(
    dataset: Dataset, splits: Sequence[str], *, unreadable: bool = True, positions_in: str | None = None
) -> DatasetReport:
    """Looks at the labels of some splits as `check_dataset` does, but at `SURVEYED` of each at most.

    Args:
        dataset: The data set.
        splits: The splits.
        unreadable: Whether unreadable labels are problems.
        positions_in: The split in which to look at all labels, and to keep the positions of classes.

    Raises:
        InputError: A split cannot be used.
    """
    labels = {split: sample_labels(dataset, split, None if split == positions_in else SURVEYED) for split in splits}
    splits, statistics = list(labels), tuple(sample.statistics for sample in labels.values())
    broken = [
        Finding("problem", split, str(error), (file,))
        for split, sample in labels.items()
        for file, error in sample.errors.items()
        if unreadable
    ]
    samples = {
        split: [_Sample(image, digest=digest) for image, digest in _file_digests(dataset, split)] for split in splits
    }
    shared = (finding for finding in _duplicates(samples) if finding.severity == "problem")
    findings = (*dataset.findings, *broken, *check_labels(dataset, statistics), *shared)
    positions = labels[positions_in].positions if positions_in else None
    return DatasetReport(dataset.name, dataset.classes, dataset.palette, statistics, findings, positions)


class _Sample(NamedTuple):
    """A decoded pair. If there are errors, the other fields are empty."""

    image: ReadableFile
    errors: Sequence[tuple[tuple[str, ...], InputError]] = ()  # files and their error
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""  # of the pixels, whatever the file format
    pixels: np.ndarray | None = None  # the number of pixels of each value from 0 to `IGNORE_LABEL`


def _key(pair: Pair) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _changed_records(records: Path) -> Iterator[Finding]:
    try:
        for path in changed_files(records):
            message = "A file of the records has changed since it was written. Copy or prepare the records again."
            yield Finding("problem", "", f"{message} Received: {path}", (str(path),))
    except InputError as error:
        yield Finding("problem" if (records / SUMS).exists() else "note", "", str(error))


def _find_pairs(dataset: Dataset, splits: Sequence[str] | None, findings: list[Finding]) -> dict[str, list[Pair]]:
    """Returns the complete pairs of each existing split, and appends findings about all other files and splits.

    Raises:
        InputError: No split exists, so the folder is probably the wrong one.
    """
    pairs: dict[str, list[Pair]] = {}
    absent: dict[str, InputError] = {}
    for split in dict.fromkeys(splits or dataset.splits):
        try:
            pairs[split] = dataset.find(split)
        except UnpairedError as error:
            pairs[split] = error.pairs
            findings.extend(Finding("problem", split, line, (file,)) for file, line in error.unpaired.items())
            continue
        except InputError as error:
            absent[split] = error
            continue
        is_told = any((found.severity, found.split) == ("problem", split) for found in dataset.findings)
        if not pairs[split] and not is_told:
            message = f"A split must hold images, but this one is empty. Is it fully extracted? Received: {split!r}"
            findings.append(Finding("problem", split, message))
    if not pairs and all(isinstance(error, AbsentError) for error in absent.values()):
        raise next(iter(absent.values()))
    for split in _REQUIRED:
        if not splits and split not in dataset.splits:
            message = f'There is no split "{split}". Training needs it, or another split in data.{split}_split.'
            findings.append(Finding("warning", "", message))
    for split, error in absent.items():
        if split in (splits or _REQUIRED) or not isinstance(error, AbsentError):
            findings.append(Finding("problem", split, str(error)))
        else:
            findings.append(Finding("note", split, f"Split {split} was not checked. {error}"))
    return pairs


def _decode(dataset: Dataset, pair: Pair) -> _Sample:
    image, label = pair
    try:
        pixels, ids = dataset.read(image, label)
    except InputError as error:
        errors = [
            *_errors(partial(image_reader, reading=dataset.reading), image),
            *(() if label is None else _errors(partial(label_reader, colours=dataset.coding.by_colour), label)),
        ]
        return _Sample(image, errors or [((str(image), str(label)), error)])  # each file is fine, but not the pair
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels))
    return _Sample(image, (), ids.shape, digest.digest(), np.bincount(ids.ravel(), minlength=IGNORE_LABEL + 1))


def _errors(
    open_file: Callable[[ReadableFile], WindowReader], file: ReadableFile
) -> Iterator[tuple[tuple[str, ...], InputError]]:
    try:
        (height, width), read = open_file(file)
        read(slice(0, height), slice(0, width))
    except InputError as error:
        yield (str(file),), error


def _file_digests(dataset: Dataset, split: str) -> Iterator[tuple[Path, bytes]]:
    """Yields the image files of a split, each with a digest of its content that takes little time.

    The digest is that of the size and of the first and last bytes: equal files have equal digests, and different
    compressed images practically never.
    """
    for image, _ in dataset.find(split):
        if isinstance(image, Path):
            with suppress(OSError), image.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = file.read(_DIGESTED)
                file.seek(max(size - _DIGESTED, 0))
                yield image, hashlib.blake2b(start + file.read(_DIGESTED) + b"%d" % size, digest_size=16).digest()


def _incomplete_splits(name: str, pairs: Mapping[str, Sequence[Pair]]) -> Iterator[Finding]:
    for split, split_pairs in pairs.items():
        expected = CATALOGUE[name].splits.get(split) if name in CATALOGUE else None
        if expected and len(split_pairs) < expected:
            message = (
                f"Split {split} has {len(split_pairs):,} of {expected:,} images. Is the data set fully extracted? "
                f"Received: {split!r}"
            )
            yield Finding("warning", split, message)


def _duplicates(samples: Mapping[str, Sequence[_Sample]]) -> Iterator[Finding]:
    """Yields findings about images with equal pixels. In two splits, evaluation would use training images."""
    first: dict[str, dict[bytes, ReadableFile]] = {split: {} for split in samples}
    for split, split_samples in samples.items():
        repeated = []
        for sample in split_samples:
            if sample.digest in first[split]:
                repeated.append((str(first[split][sample.digest]), str(sample.image)))
            first[split].setdefault(sample.digest, sample.image)
        if repeated:
            files = tuple(dict.fromkeys(file for both in repeated for file in both))
            message = f"Split {split} holds an image twice: {repeated[0][0]} and {repeated[0][1]}{_more(repeated)}."
            yield Finding("note", split, message, files)
    for one, other in combinations(samples, 2):
        if one in other or other in one or (one.startswith("train") and other.startswith("train")):
            continue  # "val" and "trainval", for example, share images by design
        for digest in first[one]:
            if digest not in first[other]:
                continue
            files = str(first[one][digest]), str(first[other][digest])
            message = (
                f"Splits {one} and {other} must not share an image, but {files[0]} is in {other}, too. Remove it "
                f"from one of them. Received: {files[1]}"
            )
            yield Finding("problem", other, message, files)


def _empty_labels(dataset: Dataset, samples: Mapping[str, Sequence[_Sample]]) -> Iterator[Finding]:
    for split, split_samples in samples.items():
        files = tuple(str(sample.image) for sample in split_samples if not sample.pixels[:IGNORE_LABEL].any())
        if files and split not in dataset.unlabelled:
            message = f"Some labels of split {split} are entirely void: the label of {files[0]}{_more(files)}."
            yield Finding("note", split, message, files)


def _more(items: Sequence) -> str:
    return f", and {len(items) - 1} more" if len(items) > 1 else ""
