"""What to predict on, and where the results go: all found and checked before anything is computed."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_crosscoop.errors import InputError
from keras_crosscoop.images import video
from keras_crosscoop.images.search import VIDEO_SUFFIXES, search
from keras_crosscoop.system.files import is_case_insensitive, make_folder, max_name_length

IDS, OVERLAY, PROBABILITIES, VIDEO = ".png", "_overlay.png", ".npz", ".mp4"  # how the names of results end


@dataclass(frozen=True)
class Source:
    """An image or a video, and where its results go.

    Attributes:
        path: its file.
        target: where its results go, less their endings; of a video, the folder of its frames' results.
    """

    path: Path
    target: Path

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def with_ending(self) -> "Source":
        """The same with the ending of its file in the names of its results: `x_jpg` of `x.jpg`."""
        name = "_".join(filter(None, (_stem(self.path), self.path.suffix.removeprefix("."))))
        return replace(self, target=self.target.with_name(name))

    def pictures(self) -> int:
        """How many there are in it to predict on: 1, or its frames, by its header; 1 too where that is damaged.

        Raises:
            InputError: it is a video, and the extra for them is missing.
        """
        if not self.is_video:
            return 1
        video.imageio()
        try:
            return video.about(self.path).frames
        except InputError:
            return 1  # it will be told when its turn comes

    def results(self, *, overlay: bool, probabilities: bool) -> list[Path]:
        """The files that it gets, of a video the folder of its frames' files among them."""
        if self.is_video:
            return [self.target, *([ending(self.target, VIDEO)] if overlay else [])]
        wanted = {IDS: True, OVERLAY: overlay, PROBABILITIES: probabilities}
        return [ending(self.target, suffix) for suffix, is_wanted in wanted.items() if is_wanted]


def ending(target: Path, suffix: str) -> Path:
    """A file of results, beside others of the same target."""
    return target.with_name(target.name + suffix)


def find_sources(
    paths: Iterable[Path], folder: Path, *, overlay: bool = True, probabilities: bool = False
) -> list[Source]:
    """All images and videos of files, folders and globs (see `search`), each with its place in the folder of results.

    Where two results would have one name, as of `x.jpg` and `x.png`, they get the endings of what they are of into
    theirs: `x_jpg` and `x_png`.

    Args:
        paths: what to search.
        folder: of results; they lie in the same subfolders as what they are of.
        overlay: whether there will be overlays.
        probabilities: whether there will be probabilities.

    Raises:
        InputError: there is no such file, or a folder or glob gives nothing.
    """
    found = [each for path in paths for each in search(path, folder)]
    sources = list(dict.fromkeys(Source(file, folder / place.with_name(_stem(place))) for file, place in found))
    wanted, key = {"overlay": overlay, "probabilities": probabilities}, _key(folder)
    while True:
        clashing = {*_clashing(sources, key, **wanted)}
        named = {index: sources[index].with_ending for index in clashing}
        if all(sources[index] == source for index, source in named.items()):
            return sources
        for index, source in named.items():
            sources[index] = source


def _stem(place: Path) -> str:
    return place.stem if place.stem.strip(".") else place.name  # "..png" has the stem ".", which is no name


def _key(folder: Path) -> Callable[[Path], str]:
    """What two paths have in common that are one file in a folder."""
    return (lambda path: str(path).casefold()) if is_case_insensitive(folder) else str


def _clashing(sources: Sequence[Source], key: Callable[[Path], str], **wanted: bool) -> Iterator[int]:
    """The places of sources that others get in the way of: a result of one name, or one where a folder has to be."""
    claims: dict[str, set[int]] = defaultdict(set)
    folders: set[str] = set()
    for index, source in enumerate(sources):
        for file in source.results(**wanted):
            claims[key(file)].add(index)
        folders |= {key(parent) for parent in source.target.parents}
    for place, claimants in claims.items():
        if len(claimants) > 1 or place in folders:
            yield from claimants


def check_targets(sources: Sequence[Source], *, overlay: bool, probabilities: bool, force: bool = False) -> None:
    """Refuses results that would destroy something, be lost themselves, or could not be written.

    Args:
        sources: of `find_sources`, with the same `overlay` and `probabilities`.
        overlay: whether there will be overlays.
        probabilities: whether there will be probabilities.
        force: whether results that are there already may be written over; a source never.

    Raises:
        InputError: two sources have one result, its name is too long, it is there already, or it is a source itself.
    """
    inputs = {_identity(source.path) for source in sources}
    key = _key(sources[0].target.parent) if sources else str
    for index in _clashing(sources, key, overlay=overlay, probabilities=probabilities):
        clashing = sources[index]
        raise InputError(
            f"Another source's result has the place of {clashing.results(overlay=False, probabilities=False)[0]}. "
            f"Segment them apart. Received: {clashing.path}"
        )
    for source in sources:
        for file in source.results(overlay=overlay, probabilities=probabilities):
            if len(os.fsencode(file.name)) > max_name_length(file.parent):
                raise InputError(
                    f"The name of a result, {file.name}, is longer than files may have. Rename its source. "
                    f"Received: {source.path}"
                )
            if file.exists() and _identity(file) in inputs:
                raise InputError(
                    f"A source would be overwritten by a prediction. Name another folder. Received: {file}"
                )
            if file.exists() and not force and not _is_empty_folder(file):
                raise InputError(f"The result is there already. Write over it with --force. Received: {file}")


def make_folders(sources: Sequence[Source]) -> None:
    """Makes the folders of results; those of a video's frames are made with the first frame.

    Raises:
        InputError: one cannot be made, or written to.
    """
    for folder in dict.fromkeys(source.target.parent for source in sources):
        make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"The folder cannot be written to (Permission denied). Name another. Received: {folder}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # it leads nowhere
        return None
    return status.st_dev, status.st_ino


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
