"""An export of an annotation tool: its images and their regions, whatever the format."""

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from keras_crosscoop.data.findings import Finding
from keras_crosscoop.data.importing.regions import Region, Size
from keras_crosscoop.data.own.file_index import FileIndex
from keras_crosscoop.errors import InputError, join_names, reason
from keras_crosscoop.images.io import IMAGE_SUFFIXES
from keras_crosscoop.images.palettes import RGB

_HEAD = 1 << 16  # bytes of a file that tell its format
_SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
_SPLIT_WORDS |= {"test": "test", "testing": "test"}


class Remarks:
    """Counts what was left out or changed, by cause."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, cause: str, name: object, severity: Literal["warning", "note"] = "warning") -> None:
        """Adds an item.

        Args:
            cause: What happened to all items of this cause.
            name: The name of the item.
            severity: As of `Finding`.
        """
        self._names[severity, cause].append(str(name))

    def findings(self) -> list[Finding]:
        """Returns one finding per cause, warnings first."""
        return [
            Finding(severity, "", f"{cause}: {len(names):,} ({join_names(list(dict.fromkeys(names)))})", tuple(names))
            for (severity, cause), names in sorted(self._names.items(), key=lambda item: item[0][0] == "note")
        ]


@dataclass(frozen=True)
class EmbeddedImage:
    """An image inside an annotation file.

    Attributes:
        path: The path that the image would have.
        content: The image file.
    """

    path: Path
    content: bytes


@dataclass
class Sample:
    """An annotated image.

    Attributes:
        image: The image file.
        split: "train", "val" or "test".
        regions: Returns its regions; called once or more, in any thread.
        size: The size of the image when it was annotated, if known.
        labelled: Whether it was annotated, if only with an empty list.
    """

    image: Path | EmbeddedImage
    split: str
    regions: Callable[[], Sequence[Region]]
    size: Size | None = None
    labelled: bool = True

    @property
    def path(self) -> Path:
        """The path of the image."""
        return self.image.path if isinstance(self.image, EmbeddedImage) else self.image


@dataclass
class Export:
    """The content of an export.

    Attributes:
        samples: Its images.
        names: The names of its classes, in its order. Others may occur.
        colours: The colours of some classes.
        dense: Whether masks are meant to name the class of every pixel, so that other pixels are void.
    """

    samples: list[Sample] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    colours: dict[str, RGB] = field(default_factory=dict)
    dense: bool = False


class Source:
    """The files of an export.

    Args:
        path: The folder of the export, or its one annotation file.
        images: A folder with the images, if they are elsewhere.
    """

    def __init__(self, path: Path, images: Path | None = None) -> None:
        self.root = path if path.is_dir() else path.parent
        self.only = None if path.is_dir() else path
        self.index = FileIndex(self.root)
        self.remarks = Remarks()
        self._image_root = images or self.root

    def files(self, *suffixes: str) -> list[Path]:
        """Returns the files with one of these suffixes, in lower case, in order."""
        files = [self.only] if self.only else self.index.by_path.values()
        return [file for file in files if file.suffix.lower() in suffixes]

    def relative(self, path: Path) -> str:
        """Returns a path below the root with forward slashes, for messages and names of splits."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def head(self, path: Path) -> str:
        """Returns the beginning of a file."""
        try:
            with path.open("rb") as file:
                return file.read(_HEAD).decode("utf-8", "replace")
        except OSError:
            return ""

    def json(self, path: Path) -> Any:
        """Reads a JSON file.

        Raises:
            InputError: It cannot be read.
        """
        try:
            return json.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"An annotation file cannot be read ({reason(error)}). Received: {path}") from error

    @cached_property
    def images(self) -> list[Path]:
        """All image files."""
        index = self.index if self._image_root == self.root else FileIndex(self._image_root)
        return [file for file in index.by_path.values() if file.suffix.lower() in IMAGE_SUFFIXES]

    def image_at(self, folder: Path, stem: str) -> Path | None:
        """Returns the image of this name, without suffix, in a folder; a remark says if there is none."""
        relative = self.relative(folder / stem)
        files = [file for file in self.index.by_stem.get(relative, ()) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            self.remarks.add("Masks without an image were left out", relative)
            return None
        return files[0]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        files = defaultdict(list)
        for file in self.images:
            files[_normal(file.name)].append(file)
        return files

    def image(self, name: str, near: Path, hints: Iterable[str] = ()) -> Path | None:
        """Finds an image by the path in an annotation file, whose folders may be those of another machine.

        Of several files with this name, it takes the one whose folders agree with most of the path, then one beside
        the annotation file, then one in a folder of the split. A remark says what is missing or ambiguous.

        Args:
            name: The path, with slashes of any kind.
            near: The annotation file.
            hints: Names of folders that hold the images of this split.
        """
        parts = [part for part in re.split(r"[/\\]", name.split("?")[0]) if part not in ("", ".", "..")]
        candidates = self._by_name.get(_normal(parts[-1]), []) if parts else []
        hints = {hint.lower() for hint in hints}

        def rank(file: Path) -> tuple[int, bool, bool]:
            common = 0
            for mine, theirs in zip(reversed(file.parts), reversed(parts), strict=False):
                if mine != theirs:
                    break
                common += 1
            folders = {part.lower() for part in file.parent.parts[len(self._image_root.parts) :]}
            return common, file.parent == near.parent, bool(folders & hints)

        if not candidates:
            self.remarks.add("Images that annotations name are missing, and were left out", name)
            return None
        best = max(map(rank, candidates))
        files = [file for file in candidates if rank(file) == best]
        if len(files) > 1:
            self.remarks.add("Annotations name an image that exists several times, and were left out", name)
            return None
        return files[0]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


def split_word(text: str) -> str | None:
    """Returns the split whose name is the text or begins or ends it, such as "train2017"; None if there is none.

    Example:
        >>> split_word("instances_val2017"), split_word("validation"), split_word("trains")
        ('val', 'val', None)
    """
    words = [word for word in re.split(r"[^a-z]+", text.lower()) if word]
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def split_of(path: str) -> str:
    """Returns the split that the folders of a path name; "train" if they name none."""
    for part in reversed(PurePosixPath(path).parent.parts):
        if split := split_word(part):
            return split
    return "train"


def is_void(flags: Any) -> bool:
    """Returns whether attributes of an object, by name, mark it as difficult or as a crowd."""
    return isinstance(flags, dict) and any(
        name.lower().replace("_", "") in ("difficult", "crowd", "iscrowd")
        and str(value).lower() in ("true", "1", "yes")
        for name, value in flags.items()
    )
