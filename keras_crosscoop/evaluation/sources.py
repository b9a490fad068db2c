"""The input files of predictions and the paths of their results, which are checked before anything is computed."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.images import video
from keras_crosscoop.images.search import VIDEO_SUFFIXES, search
from keras_crosscoop.system.files import is_case_insensitive, make_folder, max_name_length

IDS, OVERLAY, PROBABILITIES, VIDEO = ".png", "_overlay.png", ".npz", ".mp4"  # endings of the names of results


@dataclass(frozen=True)
class Source:
    """An image or a video."""

    path: Path
    target: Path  # of its results, without their endings; for a video, the folder of its frames' results
    endings: tuple[str, ...] = (IDS, OVERLAY)  # of the results

    @property
    def is_video(self) -> bool:
        """Whether the source has frames."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def with_suffix_in_target(self) -> "Source":
        """A copy of the source with the file's suffix in the names of its results: `x_jpg` for `x.jpg`."""
        name = "_".join(filter(None, (_stem(self.path), self.path.suffix.removeprefix("."))))
        return replace(self, target=self.target.with_name(name))

    def count_images(self) -> int:
        """Returns the number of images: for a video the frames according to its header, or 1 if it is damaged.

        Raises:
            InputError: The source is a video, and the extra for videos is missing.
        """
        if not self.is_video:
            return 1
        video.import_imageio()
        try:
            return video.read_header(self.path).frames
        except InputError:
            return 1  # The prediction reports the error.

    @property
    def results(self) -> list[Path]:
        """The files of the results; for a video, the folder of its frames' results and the video with overlays."""
        if self.is_video:
            return [self.target, *([add_ending(self.target, VIDEO)] if OVERLAY in self.endings else [])]
        return [add_ending(self.target, ending) for ending in self.endings]


def add_ending(target: Path, ending: str) -> Path:
    """Returns the path of one result of a source."""
    return target.with_name(target.name + ending)


def find_sources(
    paths: Iterable[Path], folder: Path, *, overlay: bool = True, probabilities: bool = False
) -> list[Source]:
    """Finds the images and videos of files, folders and globs (see `search`), and sets their targets.

    The targets lie in `folder`, with the subfolders of the sources. If results of several sources would have the same
    name, the suffix of the file becomes part of it: `x_jpg` and `x_png` for `x.jpg` and `x.png`.

    Raises:
        InputError: A file does not exist, or a folder or glob contains no image.
    """
    endings = (IDS, *([OVERLAY] if overlay else []), *([PROBABILITIES] if probabilities else []))
    files = [file for path in paths for file in search(path, folder)]
    sources = [Source(file, folder / place.with_name(_stem(place)), endings) for file, place in files]
    sources = list(dict.fromkeys(sources))
    while True:
        renamed = {index: sources[index].with_suffix_in_target for index in _conflicts(sources)}
        if all(sources[index] == source for index, source in renamed.items()):
            return sources
        sources = [renamed.get(index, source) for index, source in enumerate(sources)]


def _stem(place: Path) -> str:
    return place.stem if place.stem.strip(".") else place.name  # The stem of "..png" is ".", which is not a file name.


def _conflicts(sources: Sequence[Source]) -> set[int]:
    """Returns the indices of sources with a result that is also another source's result or a results folder."""
    ignore_case = bool(sources) and is_case_insensitive(sources[0].target.parent)

    def key(path: Path) -> str:
        return str(path).casefold() if ignore_case else str(path)

    claims: dict[str, set[int]] = defaultdict(set)
    for index, source in enumerate(sources):
        for file in source.results:
            claims[key(file)].add(index)
    folders = {key(folder) for source in sources for folder in source.target.parents}
    return set().union(*(indices for file, indices in claims.items() if len(indices) > 1 or file in folders))


def check_targets(sources: Sequence[Source], *, force: bool = False) -> None:
    """Checks that results have valid names, and overwrite nothing: earlier results with `force`, but never sources.

    Raises:
        InputError: Two sources have the same result, the name of a result is too long, or a result already exists or is
            a source.
    """
    for index in _conflicts(sources):
        result, *_ = sources[index].results
        raise InputError(
            f"Two sources have the same result, {result}. Predict for them separately. Received: {sources[index].path}"
        )
    inputs = {_identity(source.path) for source in sources}
    for source in sources:
        for file in source.results:
            if len(os.fsencode(file.name)) > max_name_length(file.parent):
                raise InputError(
                    f"The name of a result, {file.name}, is too long for the file system. Rename its source. "
                    f"Received: {source.path}"
                )
            if file.exists() and _identity(file) in inputs:
                raise InputError(f"A prediction would overwrite a source. Name another folder. Received: {file}")
            if file.exists() and not force and not (file.is_dir() and not any(file.iterdir())):
                raise InputError(f"The result already exists. Overwrite it with --force. Received: {file}")


def make_folders(sources: Sequence[Source]) -> None:
    """Makes the folders for results, except those for the frames of videos.

    Raises:
        InputError: A folder cannot be made, or is not writable.
    """
    for folder in dict.fromkeys(source.target.parent for source in sources):
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"The folder is not writable (Permission denied). Name another one. Received: {folder}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # a broken link
        return None
    return status.st_dev, status.st_ino
