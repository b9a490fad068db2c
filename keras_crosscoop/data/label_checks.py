"""Finds labels that would make training or measuring meaningless."""

from collections.abc import Iterator, Sequence

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.spec import Dataset
from keras_crosscoop.data.statistics import SplitStatistics
from keras_crosscoop.errors import join_names

MAX_VOID = 0.5  # of all pixels of a split
EMPTY = 0.3  # share of labels with one class alone, above which this is told
SHIFT = 5.0, 0.05  # factor and difference of a class's shares in two splits, both above which this is told
MAX_SHIFT = 0.3  # difference above which it is told whatever the factor

_DESCRIBE = "`crosscoop-tf data describe` shows how the masks are read, and a dataset.yaml can say otherwise."


def check_labels(dataset: Dataset, statistics: Sequence[SplitStatistics]) -> Iterator[Finding]:
    """Yields findings about the classes in the labels.

    Problems are a training or validation split without a class, with one class alone, or mostly void, and, in
    somebody's own data set, a class that no training label has. A sample of the labels says nothing about the absence
    of a class.

    Args:
        dataset: The data set.
        statistics: The statistics of its splits.
    """
    own = dataset.description is not None
    if len(dataset.classes) == 1:
        yield Finding(
            "problem",
            "",
            f"A data set needs two classes or more, but this one has only {dataset.classes[0]}. Name the background as "
            f"a class. {_DESCRIBE} Received: {dataset.classes[0]!r}",
        )
    for split in statistics:
        if not (split.labelled and split.images):
            continue
        present = [name for name, pixels in zip(dataset.classes, split.pixels, strict=True) if pixels]
        yield from _check_presence(dataset, split, present)
        if present and split.void_share > MAX_VOID:
            yield Finding(
                "problem" if own else "warning",
                split.name,
                f"{split.void_share:.1%} of the pixels of split {split.name} are void, so they count for nothing. Are "
                f"their values in `values` and not in `ignore`? {_DESCRIBE} Received: {split.name!r}",
            )
        alone = split.images_with_one
        if len(present) > 1 and alone / split.images > EMPTY:
            yield Finding(
                "warning",
                split.name,
                f"{alone:,} of {split.images:,} labels of split {split.name} hold one class alone. Are they complete?",
            )
    yield from _check_shifts(dataset, statistics)


def _check_presence(dataset: Dataset, split: SplitStatistics, present: Sequence[str]) -> Iterator[Finding]:
    trains = split.name.startswith("train")
    if not present:
        yield Finding(
            "problem",
            split.name,
            f"No pixel of split {split.name} has a class: its {split.images:,} labels are void. {_DESCRIBE} "
            f"Received: {split.name!r}",
        )
    elif len(present) == 1 and len(dataset.classes) > 1 and (trains or split.complete):
        yield Finding(
            "problem" if trains else "warning",
            split.name,
            f"Split {split.name} holds one class alone, {present[0]}, from which nothing can be learnt or measured. "
            f"{_DESCRIBE} Received: {split.name!r}",
        )
    elif split.complete and (absent := [name for name in dataset.classes if name not in present]):
        names = (
            f"{len(absent)} of {len(dataset.classes)} classes never occur in split {split.name}: {', '.join(absent)}"
        )
        if trains:
            severity = "problem" if dataset.description is not None else "warning"
            yield Finding(severity, split.name, f"{names}. A network cannot learn them. Are the label ids correct?")
        else:
            yield Finding("note", split.name, f"{names}. Their IoU cannot be measured there.")


def _check_shifts(dataset: Dataset, statistics: Sequence[SplitStatistics]) -> Iterator[Finding]:
    """Yields a warning about classes whose shares differ much between splits, as after a swap of two classes."""
    factor, difference = SHIFT
    labelled = [split for split in statistics if split.labelled and any(split.pixels)]
    for split in labelled[1:]:
        first = labelled[0]
        shifted = [
            f"{name} ({one:.1%} and {other:.1%})"
            for name, one, other in zip(dataset.classes, first.frequencies, split.frequencies, strict=True)
            if abs(one - other) > (difference if max(one, other) > factor * min(one, other) else MAX_SHIFT)
        ]
        if shifted:
            yield Finding(
                "warning",
                split.name,
                f"Splits {first.name} and {split.name} hold very different shares of {join_names(shifted)}. Are their "
                "masks coded in the same way?",
            )
