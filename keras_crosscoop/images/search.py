"""The images and videos of a path: a file, a folder or a glob such as `photos/**/*.jpg`."""

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
    """All images and videos of a path, each with where it lies below the folder that is searched.

    Of a folder all images are taken, at any depth, but for hidden ones; of a glob the images and videos that it
    matches, and they lie below its part without wildcards. A folder that links lead to as well is searched once.

    Args:
        path: what to search; a file is taken whatever its ending.
        results: the folder of results: where it lies inside of what is searched, its files are no images.

    Raises:
        InputError: there is no such file, or a folder or glob gives nothing.
    """
    if path.is_dir():
        files, root, suffixes = walk_files([path]), path, IMAGE_SUFFIXES
    elif _is_glob(path) and not path.exists():
        root = Path(*takewhile(lambda part: not _is_glob(part), path.parts))
        files, suffixes = _matches(path, root), (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    elif path.exists():
        return [(path, Path(path.name))]
    else:
        raise InputError(f"There is no such file or folder. Is the path right? Received: {path}")
    inside = root.resolve() in results.resolve().parents
    found = [
        file
        for file in sorted(files)
        if file.suffix.lower() in suffixes
        and (file.is_file() or not file.exists())  # what is not there is told of in its turn
        and not (inside and results.resolve() in Path(os.path.realpath(file)).parents)  # of a link to itself, too
    ]
    if not found:
        raise InputError(f"No images are there ({', '.join(IMAGE_SUFFIXES)}). Is the path right? Received: {path}")
    if ".." in path.parts:  # behind a wildcard it may lead out of the root
        places = [Path(os.path.abspath(file)) for file in found]  # noqa: PTH100 - which takes `..` away
        common = os.path.commonpath([os.path.abspath(root), *(place.parent for place in places)])  # noqa: PTH100
        return [(file, place.relative_to(common)) for file, place in zip(found, places, strict=True)]
    return [(file, file.relative_to(root)) for file in found]


def _is_glob(path: Path | str) -> bool:
    return glob.escape(str(path)) != str(path)


def _matches(pattern: Path, root: Path) -> Iterator[Path]:
    parts = pattern.parts
    if "**" not in parts or ".." in parts[len(root.parts) :]:
        yield from map(Path, glob.glob(str(pattern)))  # noqa: PTH207 - a whole path, not parts
        return
    # `glob` would follow links to folders above, again and again.
    first = parts.index("**")
    below = parts[first:]
    starts = sorted(map(Path, glob.glob(str(Path(*parts[:first])))), key=Path.is_symlink) if first else [Path()]  # noqa: PTH207
    for file in walk_files(starts, hidden=any(part.startswith(".") for part in below)):
        if any(_fits(file.relative_to(start).parts, below) for start in starts if file.is_relative_to(start)):
            yield file


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path matches a glob, part by part; wildcards match no leading dots."""
    if not patterns or not parts:
        return not parts and not any(pattern != "**" for pattern in patterns)
    hidden = parts[0].startswith(".") and not patterns[0].startswith(".")
    if patterns[0] == "**":
        return _fits(parts, patterns[1:]) or (not hidden and _fits(parts[1:], patterns))
    return not hidden and fnmatchcase(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])
