"""Search for images and videos by path: a file, a folder or a glob such as `photos/**/*.jpg`."""

import glob
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.images.io import IMAGE_SUFFIXES
from keras_crosscoop.system.files import walk_files

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")


def search(path: Path, results: Path) -> list[tuple[Path, Path]]:
    """Returns the images and videos of a path, each with its path relative to the searched folder.

    A folder gives all its images, at any depth, except hidden ones. A glob gives all matching images and videos; the
    searched folder is its part without wildcards. A folder with several links to it is searched once. A file may have
    any suffix. If the folder of results lies inside the searched folder, its files are left out.

    Raises:
        InputError: The file does not exist, the folder or glob gives no images, or `..` follows a wildcard.
    """
    if path.is_dir():
        candidates, root, suffixes = walk_files([path]), path, IMAGE_SUFFIXES
    elif _is_glob(path) and not path.exists():
        root = Path(*takewhile(lambda part: not _is_glob(part), path.parts))
        if ".." in path.parts[len(root.parts) :]:  # results could lie outside their folder
            raise InputError(f"No `..` may follow a wildcard. Give the path without it. Received: {path}")
        candidates, suffixes = _matches(path), (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    elif path.exists():
        return [(path, Path(path.name))]
    else:
        raise InputError(f"There is no such file or folder. Is the path right? Received: {path}")
    inside = root.resolve() in results.resolve().parents
    files = [
        file
        for file in sorted(candidates)
        if file.suffix.lower() in suffixes
        and (file.is_file() or not file.exists())  # broken links stay, so that reading them gives an error
        and not (inside and results.resolve() in Path(os.path.realpath(file)).parents)  # works for circular links too
    ]
    if not files:
        raise InputError(f"There are no images ({', '.join(IMAGE_SUFFIXES)}). Is the path right? Received: {path}")
    return [(file, file.relative_to(root)) for file in files]


def _is_glob(path: Path | str) -> bool:
    return glob.escape(str(path)) != str(path)


def _matches(pattern: Path) -> Iterator[Path]:
    parts = pattern.parts
    if "**" not in parts:
        yield from map(Path, glob.glob(str(pattern)))  # noqa: PTH207 - a whole path, not parts
        return
    # `glob` would follow circular links again and again.
    first = parts.index("**")
    below = parts[first:]
    starts = sorted(map(Path, glob.glob(str(Path(*parts[:first])))), key=Path.is_symlink) if first else [Path()]  # noqa: PTH207
    for file in walk_files(starts, hidden=any(part.startswith(".") for part in below)):
        if any(_fits(file.relative_to(start).parts, below) for start in starts if file.is_relative_to(start)):
            yield file


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path matches a glob, part by part; wildcards do not match leading dots."""
    if not patterns or not parts:
        return not parts and not any(pattern != "**" for pattern in patterns)
    hidden = parts[0].startswith(".") and not patterns[0].startswith(".")
    if patterns[0] == "**":
        return _fits(parts, patterns[1:]) or (not hidden and _fits(parts[1:], patterns))
    return not hidden and fnmatchcase(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])
