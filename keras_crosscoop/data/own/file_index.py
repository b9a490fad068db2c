"""The files of a data set, by their relative paths, and samples of them."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_crosscoop.images.io import IMAGE_SUFFIXES
from keras_crosscoop.system.files import walk_files

MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")


def spread(files: Sequence, count: int) -> list:
    """Returns at most this number of the files, evenly spread.

    Example:
        >>> spread("abcdefg", 3)
        ['a', 'd', 'g']
    """
    if len(files) <= count:
        return list(files)
    return [files[place] for place in np.linspace(0, len(files) - 1, count).round().astype(int).tolist()]


class FileIndex:
    """The files below a folder, by their relative paths.

    Paths are compared in Unicode's normal form C: macOS stores an "ü" as two characters, and other systems as one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def by_path(self) -> dict[str, Path]:
        """The files by relative path, with forward slashes, in order."""
        return dict(sorted((path, file) for file, path in self.paths.items()))

    @cached_property
    def paths(self) -> dict[Path, str]:
        """The relative path of each file."""
        start = f"{self.root}{os.sep}"
        return {
            file: _normal(Path(text[len(start) :] if (text := str(file)).startswith(start) else text).as_posix())
            for file in walk_files([self.root])
        }

    @cached_property
    def by_stem(self) -> dict[str, list[Path]]:
        """The files by relative path without suffix."""
        files = defaultdict(list)
        for path, file in self.by_path.items():
            files[path.removesuffix(file.suffix)].append(file)
        return files

    def relative(self, file: Path) -> str:
        """Returns the relative path of a file, or the whole path of one elsewhere."""
        if file in self.paths:
            return self.paths[file]
        return _normal((file.relative_to(self.root) if file.is_relative_to(self.root) else file).as_posix())

    def find(self, path: str, suffixes: tuple[str, ...]) -> list[Path]:
        """Returns the file with this relative path, or those that add a suffix to it."""
        path = _normal(path)
        if path in self.by_path:
            return [self.by_path[path]]
        return [file for file in self.by_stem.get(path, ()) if file.suffix.lower() in suffixes]


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", path)
