"""Lists the images and masks of the splits of a `Description`."""

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.own.description import SPLITS, Description, Template, split_source
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
        files: The class id and the file of each mask. Its pixels above 0 belong to the class; in JPEG files, those
            above half of the largest value.
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
        masks = [(class_id, _area(file)) for class_id, file in self.files]
        ids = np.full(masks[0][1].shape, self.background, np.uint8)
        for (_, mask), file in zip(masks, self.paths, strict=True):
            if mask.shape != ids.shape:
                raise InputError(f"The masks of one image differ in size. Received: {self.paths[0]}, {file}")
        for class_id, mask in sorted(masks, key=lambda entry: -np.count_nonzero(entry[1])):
            ids[mask] = class_id
        return ids

    def __str__(self) -> str:
        return str(self.files[0][1])


def _area(file: Path) -> np.ndarray:
    """Returns the pixels of a class in its file, bool `(H, W)`."""
    stored = read_label(file, colours=True).max(axis=-1)
    return stored > (stored.max() // 2 if file.suffix.lower() in (".jpg", ".jpeg", ".jfif") else 0)


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
            parent = "" if Path(self.text).is_absolute() else f"{glob.escape(str(self.description.path))}/"
            files = sorted(map(Path, glob.glob(parent + self.text, recursive=True)))  # noqa: PTH207 - a whole path
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


def described_pairs(
    description: Description, index: FileIndex, named: Collection[str] = SPLITS
) -> tuple[dict[str, list[Pair]], list[Finding]]:
    """Returns the complete pairs of each split, and findings about images without a mask.

    Args:
        description: The description; see `find_pairs`.
        index: The files in the folder.
        named: The splits that the user names. Without masks, other validation splits are left out.
    """
    pairs: dict[str, list[Pair]] = {}
    findings = []
    for split in SPLITS:
        if not isinstance(getattr(description, split), str | tuple):
            continue
        try:
            pairs[split] = find_pairs(description, split, index)
        except AbsentError as error:
            findings.append(Finding("problem", split, str(error)))
            pairs[split] = []
            continue
        findings += _twins(pairs[split], split, index, description.file.name)
        bare = [image for image, mask in pairs[split] if mask is None]
        if split == "val" and split not in named and bare and len(bare) == len(pairs[split]):
            message = f"No image in val has a mask. The split is left out. Received: {counted(len(bare), 'image')}"
            findings.append(Finding("warning", split, message, tuple(map(str, bare))))
            del pairs[split]
            continue
        if not bare or (split == "test" and len(bare) == len(pairs[split])):
            continue
        all_of_split = len(pairs[split])
        if split != "test":
            pairs[split] = [pair for pair in pairs[split] if pair[1] is not None]
        names = join_names([index.relative(image) for image in bare])
        findings.append(
            Finding(
                "warning" if split == "test" else "problem",
                split,
                f"{len(bare):,} of {counted(all_of_split, 'image')} in {split} have no mask. Add the masks, or list "
                f"the images with masks in `{split}` of {description.file.name}. Received: {names}",
                tuple(map(str, bare)),
            )
        )
    if not pairs.get("train", True):
        findings = [_masks_elsewhere(pairs, finding, index, description) for finding in findings]
    return {split: split_pairs for split, split_pairs in pairs.items() if split_pairs or split in named}, findings


def _masks_elsewhere(
    pairs: Mapping[str, Sequence[Pair]], finding: Finding, index: FileIndex, description: Description
) -> Finding:
    """Adds the folders of other splits with masks to the finding that no training image has a mask."""
    images = [image for split_pairs in pairs.values() for image, mask in split_pairs if mask is not None]
    if finding.split != "train" or not images:
        return finding
    folders = sorted({index.relative(image).rpartition("/")[0] or "." for image in images})
    line = yaml.safe_dump({"train": split_source(folders)}, default_flow_style=True, width=1 << 20).strip("{}\n")
    message = (
        f"No image in train has a mask, but {counted(len(images), 'image')} in {join_names(folders)} "
        f"{'has' if len(images) == 1 else 'have'}. Networks learn from masks, so images without an object need a mask "
        f"of background, too. To train on the others, write `{line}` into {description.file.name}. "
        f"Received: {join_names(list(finding.files)) or f'train: {description.train}'}"
    )
    return replace(finding, message=message)


def _twins(pairs: Sequence[Pair], split: str, index: FileIndex, file: str) -> list[Finding]:
    """Returns a finding about images that share a mask, because they differ only in the suffix."""
    keys = {image: (str(image.with_suffix("")), str(mask)) for image, mask in pairs if mask is not None}
    counts = Counter(keys.values())
    twins = [image for image, key in keys.items() if counts[key] > 1]
    if not twins:
        return []
    names = join_names([index.relative(image) for image in twins])
    message = (
        f"{len(twins)} images in {split} differ only in the suffix, so they share masks. Remove one of each, or write "
        f"the suffix into `images` of {file}. Received: {names}"
    )
    return [Finding("problem", split, message, tuple(map(str, twins)))]
