"""Looks into every file of a data set, so that whatever is wrong shows before a night of training, all at once."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import numpy as np

from keras_crosscoop.data.catalogue import CATALOGUE
from keras_crosscoop.data.pairing import UnpairedError
from keras_crosscoop.data.records.checksums import SUMS, verify
from keras_crosscoop.data.spec import Dataset, Pair
from keras_crosscoop.errors import AbsentError, InputError, summarize
from keras_crosscoop.images.decoding import Encoded, image_windows, label_windows
from keras_crosscoop.images.io import RGB
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import ReadableFile
from keras_crosscoop.system.resources import threads

_NEEDED = ("train", "val")  # to train and to measure; the others of a data set one may do without

Progress = Callable[[int, int], None]  # pairs looked at so far, and pairs in all


@dataclass(frozen=True)
class Finding:
    """Something that a user should know.

    Attributes:
        severity: "problem", to be mended before training; "warning", which training survives and may not be meant; or
            "note".
        split: where it was found; "" where it is about all of the data set.
        message: what it is, in one line.
        files: the files that it is about, if it is about files.
    """

    severity: Literal["problem", "warning", "note"]
    split: str
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """What the readable pairs of a split hold.

    Attributes:
        name: of the split.
        images: how many pairs could be read.
        labelled: whether its labels are public; all that follows but `sizes` is 0 otherwise.
        sizes: (height, width) -> how many images have it, the commonest first.
        pixels: of each class.
        void: pixels without a class.
        images_with: of each class, in how many images it occurs.
        pixels_around: of each class, how many pixels these images have, void included.
    """

    name: str
    images: int
    labelled: bool
    sizes: Mapping[tuple[int, int], int]
    pixels: tuple[int, ...]
    void: int
    images_with: tuple[int, ...]
    pixels_around: tuple[int, ...]

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The share of each class in all pixels that have one."""
        return tuple(pixels / max(sum(self.pixels), 1) for pixels in self.pixels)

    @property
    def void_share(self) -> float:
        """The share of void in all pixels."""
        return self.void / max(sum(self.pixels) + self.void, 1)

    @property
    def class_weights(self) -> tuple[float | None, ...]:
        """Median-frequency weights: of each class the median of all frequencies, by its own; None where it is absent.

        Here a class's frequency is its share in the pixels of those images in which it occurs.

        Reference: Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common Multi-Scale
        Convolutional Architecture", ICCV 2015, section 6.3.2.
        """
        shares = [own / around if own else None for own, around in zip(self.pixels, self.pixels_around, strict=True)]
        middle = median([share for share in shares if share] or [0])
        return tuple(middle / share if share else None for share in shares)


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
        dataset: its name.
        classes: its classes.
        palette: their colours.
        splits: those that are there.
        findings: what is to be said of them, split by split.
    """

    dataset: str
    classes: tuple[str, ...]
    palette: tuple[RGB, ...]
    splits: tuple[Split, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What is to be mended before training."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    def lines(self, severity: str) -> list[str]:
        """The findings of a severity, a line for each cause."""
        return summarize(finding.message for finding in self.findings if finding.severity == severity)

    def class_weights(self, split: str) -> dict[str, float]:
        """The median-frequency weights of the classes that occur in a split: see `Split.class_weights`.

        Raises:
            InputError: the split is not there, or has no labels.
        """
        found = [each for each in self.splits if each.name == split and any(each.pixels)]
        if not found:
            raise InputError(f"Class weights need a split with labels. Name another. Received: {split!r}")
        return {name: weight for name, weight in zip(self.classes, found[0].class_weights, strict=True) if weight}

    def figures(self) -> dict[str, Any]:
        """The same as JSON has it, with the classes' names."""

        def named(values: Sequence[float | None]) -> dict[str, float | None]:
            return dict(zip(self.classes, values, strict=True))

        return {
            "dataset": self.dataset,
            "ok": not self.problems,
            "splits": {
                split.name: {
                    "images": split.images,
                    "labelled": split.labelled,
                    "sizes": [
                        {"height": height, "width": width, "images": images}
                        for (height, width), images in split.sizes.items()
                    ],
                    "pixels": named(split.pixels),
                    "frequencies": named(split.frequencies),
                    "images_with": named(split.images_with),
                    "class_weights": named(split.class_weights),
                    "void": split.void,
                    "void_share": split.void_share,
                }
                for split in self.splits
            },
            "findings": [vars(finding) for finding in self.findings],
        }


def check(
    dataset: Dataset,
    splits: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    records: Path | None = None,
) -> Report:
    """Decodes every file of some splits, on all cores, and counts what it sees.

    Problems are: an image or label without the other, a file that cannot be decoded, a pair of two sizes, a label with
    an id that the data set lacks or with colours, a split that is empty or needed and not there, one picture in two
    splits, and records that changed since they were written. A class that never occurs is worth a warning in a split
    to train on, and a note elsewhere.

    Args:
        dataset: what to check.
        splits: which of its splits. By default all that are there; "train" and "val" have to be.
        progress: called after each pair.
        records: the folder of the records that it is read from, to compare their checksums.

    Raises:
        InputError: the data set has no split of that name, or none of them is there.
    """
    for split in splits or ():
        dataset.check_split(split)
    findings = list(_changed(records)) if records else []
    pairs = _find_all(dataset, splits, findings)

    different = {_key(pair): pair for of_split in pairs.values() for pair in of_split}  # splits may share some
    samples: dict[tuple[str, str], _Sample] = {}
    with ThreadPoolExecutor(threads()) as pool:
        for key, sample in zip(different, pool.map(partial(_look, dataset), different.values()), strict=True):
            samples[key] = sample
            if progress:
                progress(len(samples), len(different))

    of_splits = {split: [samples[_key(pair)] for pair in of_split] for split, of_split in pairs.items()}
    for split, of_split in of_splits.items():
        for files, error in (broken for sample in of_split for broken in sample.broken):
            findings.append(Finding("problem", split, str(error), files))
    whole = {split: [sample for sample in of_split if not sample.broken] for split, of_split in of_splits.items()}
    counted = tuple(_count(dataset, split, of_split) for split, of_split in whole.items())
    findings += [*_too_few(dataset.name, pairs), *_doubles(whole)]
    findings += [*_empty_labels(dataset, whole), *_absent_classes(dataset, counted)]
    order = {split: place for place, split in enumerate(("", *dataset.splits))}
    once: dict[tuple[str, ...], Finding] = {}
    for finding in sorted(findings, key=lambda finding: order[finding.split]):
        once.setdefault((finding.message, *finding.files), finding)  # splits that share files would repeat it
    return Report(dataset.name, dataset.classes, dataset.palette, counted, tuple(once.values()))


class _Sample(NamedTuple):
    """What was seen of a pair; nothing more than what is broken, if something is."""

    image: ReadableFile
    broken: Sequence[tuple[tuple[str, ...], InputError]] = ()  # files, and what is wrong with them
    size: tuple[int, int] = (0, 0)
    digest: bytes = b""  # the same for the same pixels, however they are stored
    pixels: np.ndarray | None = None  # of each value from 0 to `IGNORE_LABEL`


def _key(pair: Pair) -> tuple[str, str]:
    return str(pair[0]), str(pair[1])


def _changed(records: Path) -> Iterator[Finding]:
    try:
        changed = verify(records)
    except InputError as error:
        yield Finding("problem" if (records / SUMS).exists() else "note", "", str(error))
    else:
        for path in changed:
            message = "A file of the records is not as it was written. Copy it anew, or prepare the data set again."
            yield Finding("problem", "", f"{message} Received: {path}", (str(path),))


def _find_all(dataset: Dataset, splits: Sequence[str] | None, findings: list[Finding]) -> dict[str, list[Pair]]:
    """The pairs of each split that is there, without the files that have no partner: `findings` tells of these.

    Raises:
        InputError: no split is there, so that the folder is most likely the wrong one.
    """
    pairs: dict[str, list[Pair]] = {}
    absent: dict[str, InputError] = {}
    for split in dict.fromkeys(splits or dataset.splits):
        try:
            pairs[split] = dataset.find(split)
        except UnpairedError as error:
            pairs[split] = error.pairs
            findings.extend(Finding("problem", split, line, (file,)) for file, line in error.alone.items())
            continue
        except InputError as error:
            absent[split] = error
            continue
        if not pairs[split]:
            message = f"A split must hold images, but this one is empty. Is it fully extracted? Received: {split!r}"
            findings.append(Finding("problem", split, message))
    if not pairs and all(isinstance(error, AbsentError) for error in absent.values()):
        raise next(iter(absent.values()))
    for split in _NEEDED:
        if not splits and split not in dataset.splits:
            message = f'There is no split "{split}". Training needs one, or another named by data.{split}_split.'
            findings.append(Finding("warning", "", message))
    for split, error in absent.items():
        if split in (splits or _NEEDED) or not isinstance(error, AbsentError):
            findings.append(Finding("problem", split, str(error)))
        else:
            findings.append(Finding("note", split, f"Split {split} was not checked. {error}"))
    return pairs


def _look(dataset: Dataset, pair: Pair) -> _Sample:
    """Decodes a pair as training does."""
    image, label = pair
    try:
        pixels, ids = dataset.read(image, label)
    except InputError as error:
        broken = [*_decode(image_windows, image), *(() if label is None else _decode(label_windows, label))]
        return _Sample(image, broken or [((str(image), str(label)), error)])  # otherwise it is about both
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels))
    return _Sample(image, (), ids.shape, digest.digest(), np.bincount(ids.ravel(), minlength=IGNORE_LABEL + 1))


def _decode(
    open_file: Callable[[ReadableFile], Encoded], file: ReadableFile
) -> Iterator[tuple[tuple[str, ...], InputError]]:
    try:
        (height, width), window = open_file(file)
        window(slice(0, height), slice(0, width))
    except InputError as error:
        yield (str(file),), error


def _count(dataset: Dataset, split: str, samples: Sequence[_Sample]) -> Split:
    labelled = split not in dataset.unlabelled
    table = (
        np.array([sample.pixels for sample in samples], np.int64).reshape(-1, IGNORE_LABEL + 1) * labelled
    )  # image, value
    of_classes = table[:, : len(dataset.classes)]
    return Split(
        split,
        len(samples),
        labelled,
        dict(Counter(sample.size for sample in samples).most_common()),
        tuple(of_classes.sum(0).tolist()),
        int(table[:, IGNORE_LABEL].sum()),
        tuple((of_classes > 0).sum(0).tolist()),
        tuple((table.sum(1) @ (of_classes > 0)).tolist()),
    )


def _too_few(name: str, pairs: Mapping[str, Sequence[Pair]]) -> Iterator[Finding]:
    for split, of_split in pairs.items():
        expected = CATALOGUE[name].splits.get(split) if name in CATALOGUE else None
        if expected and len(of_split) < expected:
            message = (
                f"Split {split} has {len(of_split):,} of {expected:,} images. Is the data set fully extracted? "
                f"Received: {split!r}"
            )
            yield Finding("warning", split, message)


def _doubles(samples: Mapping[str, Sequence[_Sample]]) -> Iterator[Finding]:
    """Images of equal pixels: in two splits a problem, as the network would be measured on what it was trained on."""
    first = {split: {} for split in samples}  # split -> digest -> file
    for split, of_split in samples.items():
        again = []
        for sample in of_split:
            if sample.digest in first[split]:
                again += [(str(first[split][sample.digest]), str(sample.image))]
            first[split].setdefault(sample.digest, sample.image)
        if again:
            files = tuple(file for both in again for file in both)
            more = f", and {len(again) - 1} more" if len(again) > 1 else ""
            message = f"Some images of split {split} are there twice: {again[0][0]} and {again[0][1]}{more}."
            yield Finding("note", split, message, tuple(dict.fromkeys(files)))
    for one, other in combinations(samples, 2):
        if one in other or other in one or (one.startswith("train") and other.startswith("train")):
            continue  # "val" and "trainval", say: they are meant to share images
        for digest in first[one]:
            if digest in first[other]:
                files = str(first[one][digest]), str(first[other][digest])
                message = (
                    f"Splits {one} and {other} must not share an image, but {files[0]} is in {other}, too. Remove it "
                    f"from one of them. Received: {files[1]}"
                )
                yield Finding("problem", other, message, files)


def _empty_labels(dataset: Dataset, samples: Mapping[str, Sequence[_Sample]]) -> Iterator[Finding]:
    for split, of_split in samples.items():
        if split in dataset.unlabelled:
            continue
        files = tuple(str(sample.image) for sample in of_split if not sample.pixels[:IGNORE_LABEL].any())
        if files:
            more = f", and {len(files) - 1} more" if len(files) > 1 else ""
            message = f"Some labels of split {split} hold nothing but void: that of {files[0]}{more}."
            yield Finding("note", split, message, files)


def _absent_classes(dataset: Dataset, splits: Iterable[Split]) -> Iterator[Finding]:
    for split in splits:
        absent = [name for name, pixels in zip(dataset.classes, split.pixels, strict=True) if not pixels]
        if not (absent and split.labelled and split.images):
            continue
        names = (
            f"{len(absent)} of {len(dataset.classes)} classes never occur in split {split.name}: {', '.join(absent)}."
        )
        if split.name.startswith("train"):
            yield Finding("warning", split.name, f"{names} A network cannot learn them. Are the labels' ids right?")
        else:
            yield Finding("note", split.name, f"{names} Their IoU cannot be measured there.")
