"""Which runs can be compared: those whose figures are of the same images, labels and classes, looked at alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Basis(NamedTuple):
    """What figures are of.

    Attributes:
        dataset: the data set's name.
        split: of it.
        crop: the middle of each image, pixels; None for whole images.
        classes: their names.
        images: their names.
        labels: pixels of each class, which tell data sets of one name apart.
        tolerance: of boundaries, pixels.
    """

    dataset: str
    split: str
    crop: int | None
    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: tuple[int, ...]
    tolerance: float

    def difference(self, first: "Basis") -> str:
        """What is not the same as of another, in a few words; empty if all is."""
        if self.dataset != first.dataset:
            return f"data set {self.dataset} instead of {first.dataset}"
        if self.classes != first.classes:
            counts = len(self.classes), len(first.classes)
            return "other classes" if counts[0] == counts[1] else f"{counts[0]} classes instead of {counts[1]}"
        found = []
        if self.split != first.split:
            found.append(f"split {self.split} instead of {first.split}")
        if self.crop != first.crop:
            found.append(f"{_looked_at(self.crop)} instead of {_looked_at(first.crop)}")
        if not found and self.images != first.images:
            found.append("other images")
        elif not found and self.labels != first.labels:
            found.append("images or labels that have changed in between")
        if self.tolerance != first.tolerance:
            found.append(f"boundaries within {self.tolerance:g} pixels instead of {first.tolerance:g}")
        return " and ".join(found)


def basis(figures: Mapping[str, Any]) -> Basis:
    """Of what `evaluate` measured."""
    output = next(iter(figures["outputs"].values()))
    return Basis(
        figures["dataset"],
        figures["split"],
        figures["crop"],
        tuple(output["per_class"]),
        tuple(of_image["image"] for of_image in figures["per_image"]),
        tuple(map(sum, output["confusion"])),
        figures["boundary_tolerance"],
    )


def grouped(bases: Sequence[Basis]) -> list[list[int]]:
    """Places of runs that can be compared with each other, in order."""
    found: dict[Basis, list[int]] = {}
    for index, each in enumerate(bases):
        found.setdefault(each, []).append(index)
    return list(found.values())


def _looked_at(crop: int | None) -> str:
    return "whole images" if crop is None else f"the middle {crop} pixels"
