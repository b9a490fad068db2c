"""What to predict on, and where the results go: all found and checked before anything is computed."""

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from keras_crosscoop.data.pairing import IMAGE_SUFFIXES
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import video
from keras_crosscoop.files import make_folder

IDS, OVERLAY, PROBABILITIES, VIDEO = ".png", "_overlay.png", ".npz", ".mp4"  # how the names of results end
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")


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


def find_sources(paths: Iterable[Path], folder: Path) -> list[Source]:
    """All images and videos of files, folders and globs, each with its place in the folder of results.

    Of a folder all images are taken, at any depth, but for hidden ones; of a glob such as `photos/**/*.jpg` the images
    and videos that it matches. Their results lie in the same subfolders, of a glob below its part without wildcards.
    Results of earlier times, where `folder` lies inside of what is searched, are no images.

    Raises:
        InputError: there is no such file, or a folder or glob gives nothing.
    """
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            files, root = _search(f"{glob.escape(str(path))}/**/*", path, folder, IMAGE_SUFFIXES), path
        elif _is_glob(path) and not path.exists():
            root = Path(*takewhile(lambda part: not _is_glob(part), path.parts))
            files = _search(str(path), root, folder, (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        else:
            files, root = [path], path.parent
            if not path.exists():
                raise InputError(f"There is no such file or folder. Is the path right? Received: {path}")
        if not files:
            raise InputError(f"No images are there ({', '.join(IMAGE_SUFFIXES)}). Is the path right? Received: {path}")
        sources += (Source(file, folder / file.relative_to(root).with_name(file.stem)) for file in files)
    return list(dict.fromkeys(sources))


def _is_glob(path: Path | str) -> bool:
    return glob.escape(str(path)) != str(path)


def _search(pattern: str, root: Path, results: Path, suffixes: Sequence[str]) -> list[Path]:
    results = results.resolve()
    inside = root.resolve() in results.parents
    found = (Path(name) for name in sorted(glob.glob(pattern, recursive=True)))  # noqa: PTH207 - a whole path, not parts
    return [
        path
        for path in found
        if path.suffix.lower() in suffixes and path.is_file() and not (inside and results in path.resolve().parents)
    ]


def check_targets(sources: Sequence[Source], *, overlay: bool, probabilities: bool, force: bool = False) -> None:
    """Refuses results that would destroy something, or be lost themselves.

    Args:
        sources: of `find_sources`.
        overlay: whether there will be overlays.
        probabilities: whether there will be probabilities.
        force: whether results that are there already may be written over; a source never.

    Raises:
        InputError: two sources have one result, a result is there already, or it is a source itself.
    """
    inputs = {_identity(source.path) for source in sources}
    taken: dict[Path, Source] = {}
    for source in sorted(sources, key=lambda source: not source.is_video):  # folders, before what might lie in them
        for file in source.results(overlay=overlay, probabilities=probabilities):
            for place in (file, *file.parents):
                if taken.get(place, source) != source:
                    raise InputError(
                        f"Two sources would be written to {file}. Segment them apart. "
                        f"Received: {taken[place].path} and {source.path}"
                    )
            taken[file] = source
            if file.exists() and _identity(file) in inputs:
                raise InputError(
                    f"A source would be overwritten by a prediction. Name another folder. Received: {file}"
                )
            if file.exists() and not force and not _is_empty_folder(file):
                raise InputError(f"The result is there already. Write over it with --force. Received: {file}")


def make_folders(sources: Sequence[Source]) -> None:
    """Makes the folders of results.

    Raises:
        InputError: one cannot be made.
    """
    for source in sources:
        make_folder(source.target if source.is_video else source.target.parent)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
