"""Lists the images and masks of a split of a `Description`."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_crosscoop.data.own.description import Description, Template
from keras_crosscoop.data.own.file_index import MASK_SUFFIXES, FileIndex
from keras_crosscoop.data.own.lists import LIST_SUFFIXES, of_split, read_rows, resolve_listed
from keras_crosscoop.data.own.matching import drawn_over
from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import AbsentError, InputError, counted, join_names
from keras_crosscoop.images.decoding import RawFile
from keras_crosscoop.images.io import IMAGE_SUFFIXES, read_label
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.system.files import walk_files


@dataclass(frozen=True)
class MaskPerClass(RawFile):
    """The masks of one image in several files, one for each class; smaller ones cover larger ones.

    Attributes:
        files: The class id and the file of each mask. Its pixels above 0 belong to the class.
        background: The class id of all other pixels, or `IGNORE_LABEL`.
    """

    files: tuple[tuple[int, Path], ...]
    background: int = IGNORE_LABEL

    @property
    def name(self) -> str:
        """The name of the first file."""
        return self.files[0][1].name

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(file for _, file in self.files)

    def pixels(self) -> np.ndarray:
        """Returns the class ids, uint8 `(H, W)`.

        Raises:
            InputError: A file cannot be read, or the sizes differ.
        """
        masks = [(class_id, read_label(file, colours=True).any(axis=-1)) for class_id, file in self.files]
        ids = np.full(masks[0][1].shape, self.background, np.uint8)
        for (_, mask), file in zip(masks, self.paths, strict=True):
            if mask.shape != ids.shape:
                raise InputError(f"The masks of one image differ in size. Received: {self.paths[0]}, {file}")
        for class_id, mask in sorted(masks, key=lambda entry: -np.count_nonzero(entry[1])):
            ids[mask] = class_id
        return ids

    def __str__(self) -> str:
        return str(self.files[0][1])


def find_pairs(description: Description, split: str, index: FileIndex | None = None) -> list[Pair]:
    """Returns the images and masks of a split, in the order of the images' paths or of the lists.

    Args:
        description: The description. `path`, the split, and, unless lists name them, `masks` are set.
        split: "train", "val" or "test".
        index: The files of the folder, if they were listed before.

    Raises:
        AbsentError: The description names no such split.
        InputError: A list cannot be read, a file is missing, or an image has no mask or several.
    """
    sources = getattr(description, split)
    if sources is None or isinstance(sources, float):
        raise AbsentError(f"The data set has no split of that name. Received: {split!r}")
    index = index or FileIndex(description.path)
    pairs: dict[str, Pair] = {}
    for source in [sources] if isinstance(sources, str) else sources:
        for image, mask in _Source(description, split, index, source).pairs():
            pairs.setdefault(str(image), (image, mask))
    if not pairs:
        raise AbsentError(
            f"Split {split} has no images. Are its files in place? Received: {split}: {sources} in {description.path}"
        )
    return list(pairs.values())


@dataclass(frozen=True)
class _Source:
    """One folder, glob or list of a split."""

    description: Description
    split: str
    index: FileIndex
    text: str

    def pairs(self) -> Iterator[Pair]:
        path = self.description.path / self.text
        if self.text.startswith("../") and not path.exists():  # as in the exports of Roboflow
            path = self.description.path / self.text.removeprefix("../")
        if path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            yield from self._listed(path)
            return
        pairs = [(image, self._mask(image)) for image in self._images(path)]
        masks = {file for _, mask in pairs for file in (getattr(mask, "paths", (mask,)))}
        stems = {str(image.with_suffix("")) for image, mask in pairs if mask is not None}
        for image, mask in pairs:  # without masks and drawings that fit the template of images
            if image not in masks and not (mask is None and drawn_over(str(image.with_suffix("")), stems)):
                yield image, mask

    def _images(self, path: Path) -> list[Path]:
        images = self.description.images and Template(text=self.description.images)
        if images and "split" in images.placeholders and not glob.has_magic(self.text) and "/" not in self.text:
            return [
                file
                for name, file in self.index.by_path.items()
                if file.suffix.lower() in IMAGE_SUFFIXES and (images.match(name) or {}).get("split") == self.text
            ]
        if path.is_dir():
            folder = path.relative_to(self.index.root).as_posix() if path.is_relative_to(self.index.root) else None
            files = (
                [file for file in self.index.by_path.values() if folder == "." or file.is_relative_to(path)]
                if folder
                else sorted(walk_files([path]))
            )
            files = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        else:
            files = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - a whole path, not parts
        return [file for file in files if images is None or images.match(self.index.relative(file))]

    def _listed(self, path: Path) -> Iterator[Pair]:
        """Reads a list of images, or of images and masks."""

        def resolve(text: str, template: str | None = self.description.images) -> Path | None:
            return resolve_listed(text, path, template, self.split, self.index)

        missing: dict[str, list[str]] = {"image": [], "mask": []}
        for row in of_split(read_rows(path, lambda text: resolve(text) is not None), self.split):
            image, mask = resolve(row.image), row.mask and resolve(row.mask, self.description.masks)
            if image is None:
                missing["image"].append(row.image)
            elif row.mask and mask is None:
                missing["mask"].append(row.mask)
            else:
                yield image, mask or self._mask(image)
        for kind, names in missing.items():
            if names:
                raise InputError(
                    f"A list names {counted(len(names), kind)} that {'is' if len(names) == 1 else 'are'} missing. Mend "
                    f"the list. Received: {join_names(names)} in {path}"
                )

    def _mask(self, image: Path) -> Path | MaskPerClass | None:
        if self.description.masks is None:
            return None
        masks = Template(text=self.description.masks)
        values = self._values(image)
        if missing := [name for name in masks.placeholders if name not in (*values, "class")]:
            raise InputError(
                f"A placeholder of `masks` has no value. Name it in `images`, too. Received: {{{missing[0]}}} in "
                f"{self.description.masks!r}"
            )
        if "class" in masks.placeholders:
            files = [
                (class_id, file)
                for class_id, name in enumerate(self.description.names or ())
                for file in self.index.find(masks.fill(values | {"class": name}), MASK_SUFFIXES)
            ]
            return MaskPerClass(tuple(files), background=0) if files else None
        files = self.index.find(masks.fill(values), MASK_SUFFIXES)
        if len(files) > 1:
            raise InputError(
                f"An image has several masks. Give `masks` a suffix. Received: {join_names(list(map(str, files)))}"
            )
        return files[0] if files else None

    def _values(self, image: Path) -> dict[str, str]:
        """Returns the values of the placeholders for an image."""
        relative = self.index.relative(image)
        if self.description.images:
            return Template(text=self.description.images).match(relative) or {}
        folder = self.description.path / self.text
        start = f"{folder}{os.sep}"
        below = Path(str(image)[len(start) :]).as_posix() if str(image).startswith(start) else relative
        stem = below.removesuffix(image.suffix)
        return {"name": stem, "split": self.split, "folder": image.parent.name, "stem": image.stem}
