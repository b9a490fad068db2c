"""Pairing of images and labels by relative path and stem."""

from collections.abc import Callable, Mapping
from pathlib import Path

from keras_crosscoop.data.spec import Pair
from keras_crosscoop.errors import AbsentError, InputError, summarize
from keras_crosscoop.images.io import IMAGE_SUFFIXES, LABEL_SUFFIXES
from keras_crosscoop.system.files import ReadableFile, walk_files


class UnpairedError(InputError):
    """Files have no partner. The message summarizes images without labels and labels without images.

    Attributes:
        unpaired: The message of each file without a partner.
        pairs: The complete pairs.
    """

    def __init__(self, unpaired: Mapping[str, str], pairs: list[Pair]) -> None:
        super().__init__(" ".join(summarize(unpaired.values())))
        self.unpaired = unpaired
        self.pairs = pairs

    def __reduce__(self) -> tuple:
        return UnpairedError, (self.unpaired, self.pairs)


def pair_folders(images: Path, labels: Path | None) -> list[Pair]:
    """Pairs the files of two folders and their subfolders, in the order of their relative paths.

    Without a folder of labels, the label of each image is None.

    Raises:
        AbsentError: Both folders are missing.
        InputError: A folder is missing, a file has no partner, or two images match one label.
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
    """Pairs images and labels of the same key, in the order of the keys.

    For errors, `image_at` and `label_at` tell where the file of a key is expected.

    Raises:
        UnpairedError: A file has no partner.
    """
    pairs = [(images[key], labels[key]) for key in sorted(images.keys() & labels.keys())]
    unpaired: dict[str, str] = {}
    for key in sorted(images.keys() ^ labels.keys()):
        if key in images:
            file, problem = images[key], f"An image has no label: expected {label_at(key)}."
            remedy = "Add the label or remove the image."
        else:
            file, problem = labels[key], f"A label has no image: expected {image_at(key)}."
            remedy = "Add the image or remove the label."
        unpaired[str(file)] = f"{problem} {remedy} Received: {file}"
    if unpaired:
        raise UnpairedError(unpaired, pairs)
    return pairs


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Maps relative paths without suffix to files, without hidden files and folders."""
    if not folder.is_dir():
        raise InputError(f"A folder of the data set is missing. Is it fully extracted? Received: {folder}")
    files: dict[str, Path] = {}
    for path in walk_files([folder]):
        if path.suffix.lower() not in suffixes:
            continue
        key = path.relative_to(folder).with_suffix("").as_posix()
        if key in files:
            raise InputError(f"Two files differ only in the suffix: {files[key]}. Remove one of them. Received: {path}")
        files[key] = path
    return files
