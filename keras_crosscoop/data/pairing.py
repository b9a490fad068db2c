"""Which label belongs to which image: the one of the same relative path and stem."""

from collections.abc import Callable, Mapping
from pathlib import Path

from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import AbsentError, InputError, summarize
from keras_crosscoop.images.io import IMAGE_SUFFIXES, LABEL_SUFFIXES
from keras_crosscoop.system.files import ReadableFile, walk_files


class UnpairedError(InputError):
    """Files have no partner. The message tells images without labels and labels without images once each.

    Attributes:
        alone: each of them, and what to tell of it.
        pairs: those that are whole.
    """

    def __init__(self, alone: Mapping[str, str], pairs: list[Pair]) -> None:
        super().__init__(" ".join(summarize(alone.values())))
        self.alone = alone
        self.pairs = pairs

    def __reduce__(self) -> tuple:
        return UnpairedError, (self.alone, self.pairs)


def pair_folders(images: Path, labels: Path | None) -> list[Pair]:
    """The pairs of two folders, subfolders included, in the order of their relative paths; without `labels`, of none.

    Raises:
        AbsentError: both folders are missing.
        InputError: a folder is missing, a file has no partner, or two images compete for one label.
    """
    if labels is None:
        return [(file, None) for _, file in sorted(_files(images, IMAGE_SUFFIXES).items())]
    if not (images.is_dir() or labels.is_dir()):
        raise AbsentError(f"A folder of the data set is missing. Is it fully extracted? Received: {images}")
    return pair_files(
        _files(images, IMAGE_SUFFIXES),
        _files(labels, LABEL_SUFFIXES),
        image_at=lambda key: f"{images / key} with one of {', '.join(IMAGE_SUFFIXES)}",
        label_at=lambda key: f"{labels / key}.png",
    )


def pair_files(
    images: Mapping[str, ReadableFile],
    labels: Mapping[str, ReadableFile],
    *,
    image_at: Callable[[str], str],
    label_at: Callable[[str], str],
) -> list[Pair]:
    """The pairs of images and labels of one key, in the keys' order.

    Args:
        images: key -> image.
        labels: key -> label.
        image_at: where the image of a key is expected, for the error that misses it.
        label_at: the same of a label.

    Raises:
        UnpairedError: a file has no partner.
    """
    pairs = [(images[key], labels[key]) for key in sorted(images.keys() & labels.keys())]
    alone: dict[str, str] = {}
    for key in sorted(images.keys() ^ labels.keys()):
        if key in images:
            file, remedy = images[key], "Add the label or remove the image."
            what = f"An image has no label: expected {label_at(key)}."
        else:
            file, remedy = labels[key], "Add the image or remove the label."
            what = f"A label has no image: expected {image_at(key)}."
        alone[str(file)] = f"{what} {remedy} Received: {file}"
    if alone:
        raise UnpairedError(alone, pairs)
    return pairs


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Relative path without suffix -> file, hidden files and folders left out."""
    if not folder.is_dir():
        raise InputError(f"A folder of the data set is missing. Is it fully extracted? Received: {folder}")
    files: dict[str, Path] = {}
    for path in walk_files([folder]):
        if path.suffix.lower() not in suffixes:
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise InputError(
                f"Two files have one name but for the suffix: {files[key]}. Remove one of them. Received: {path}"
            )
        files[key] = path
    return files
